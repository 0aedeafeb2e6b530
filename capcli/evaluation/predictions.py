"""Captions that are already there: capcli's own outputs, or the results JSON of the COCO evaluation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from capcli.errors import DataError
from capcli.outputs import format_of, read_rows


def read_predictions(path: Path) -> dict[str, str]:
    """Reads captions by image.

    Args:
        path: .csv, .tsv or .jsonl as `capcli caption -o` writes them (the best caption of each image), or .json as
            the COCO evaluation reads it: [{"image_id": ..., "caption": ...}].
    Returns:
        The caption of each image, empty where captioning it failed.
    Raises:
        DataError: the file cannot be read or is of another kind.
    """
    try:
        if path.suffix.lower() == ".json":
            return {str(entry["image_id"]): str(entry["caption"]) for entry in json.loads(path.read_text("utf-8"))}
        rows = read_rows(path, format_of(path, None))
        return {row.path: row.caption or "" for row in rows if row.rank in (None, 1)}
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: not a predictions file: .csv, .tsv, .jsonl or COCO .json ({error})") from error


def match_predictions(predictions: Mapping[str, str], names: Mapping[str, str]) -> dict[str, str]:
    """Captions by the images of a data set.

    Args:
        predictions: captions by path, file name or image id.
        names: for each image its key here and its name in the captions file.
    Returns:
        The caption of each image that has one: by path, then by file name, then by file name without suffix.
    Raises:
        DataError: two predictions with the same file name could be meant.
    """
    by_name: dict[str, str] = {}
    for path, caption in predictions.items():
        for short in {Path(path).name, Path(path).stem}:
            if by_name.setdefault(short, caption) != caption and short in {Path(name).name for name in names.values()}:
                raise DataError(f"two predictions are named {short!r}; the file must give whole paths")
    found = {}
    for key, name in names.items():
        for short in (key, name, Path(name).name, Path(name).stem):
            said = predictions[short] if short in predictions else by_name.get(short)
            if said is not None:
                found[key] = said
                break
    return found
