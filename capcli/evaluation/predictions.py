"""Captions made earlier: capcli's own output files, or the results JSON of the COCO evaluation.

Reads them and finds which image of a data set each one belongs to. Knows nothing of scores.
"""

from __future__ import annotations

import csv
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import TypeVar

from capcli.errors import DataError, UsageError
from capcli.messages import first_few
from capcli.outputs.records import read_rows
from capcli.outputs.rows import format_of

_KINDS = ".csv, .tsv or .jsonl as capcli caption writes it, or COCO results .json"

_Prediction = TypeVar("_Prediction")


@dataclass(frozen=True)
class Prediction:
    """A caption and, where it is known, the model's own score of it. Equal captions are equal whatever their scores."""

    caption: str
    score: float | None = field(default=None, compare=False)


def read_predictions(path: Path) -> dict[str, Prediction]:
    """Reads captions by image.

    Args:
        path: .csv, .tsv or .jsonl as `capcli caption -o` writes them (the best caption of each image), or .json as
            the COCO evaluation reads it: [{"image_id": ..., "caption": ...}].
    Returns:
        Captions by path or image id; images that could not be captioned are left out.
    Raises:
        DataError: the file cannot be read, is of another kind, or holds two captions of one image.
    """
    captions: dict[str, Prediction] = {}
    try:
        for image, prediction in _entries(path):
            if captions.setdefault(image, prediction) != prediction:
                raise DataError(f"{path}: {image} is captioned twice; keep one of the two")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except KeyError as error:
        raise DataError(f"{path}: not a predictions file ({_KINDS}): there is no {error}") from error
    except (ValueError, TypeError, AttributeError, RuntimeError, csv.Error) as error:
        # RuntimeError: JSON nested beyond reason, or a TSV cell that ends in the middle of an escape.
        raise DataError(f"{path}: not a predictions file ({_KINDS}): {error}") from error
    return captions


def match_predictions(predictions: Mapping[str, _Prediction], names: Mapping[str, str]) -> dict[str, _Prediction]:
    """Finds the caption of each image of a data set.

    Args:
        predictions: captions, with or without a score, by path, file name or image id.
        names: for each image its key here and its name in the captions file.
    Returns:
        The caption of each image that has one: by its key or name, else by its file name, else by its file name
        without suffix. Where several images have the same file name, the folders of their names must agree too;
        where they only share what comes before the suffix, the suffix must agree.
    Raises:
        DataError: two different captions could be meant for one image.
    """
    files, stems = _by(predictions, _file), _by(predictions, _stem)
    file_count, stem_count = Counter(map(_file, names.values())), Counter(map(_stem, names.values()))
    found = {}
    for key, name in names.items():
        file, stem = _file(name), _stem(name)
        meant = [image for image in (key, name) if image in predictions][:1]
        if not meant:
            meant = files[file]
            if len(meant) > 1 or file_count[file] > 1:
                meant = [image for image in meant if _ends_in(image, name)]
        if not meant and stem_count[stem] == 1:
            meant = files[stem] or stems[stem]
        candidates = {predictions[image] for image in meant}
        if len(candidates) > 1:
            raise DataError(f"{name} could be any of {first_few(meant)} among the predictions; give whole paths")
        if candidates:
            found[key] = candidates.pop()
    return found


def _entries(path: Path) -> Iterator[tuple[str, Prediction]]:
    if path.suffix.lower() == ".json":
        for entry in json.loads(path.read_text("utf-8")):
            if not isinstance(entry["caption"], str):
                raise ValueError(f"the caption of image {entry['image_id']} is no text")
            yield str(entry["image_id"]), Prediction(entry["caption"])
        return
    try:
        form = format_of(path, None)
    except UsageError as error:
        raise ValueError("its suffix is none of these") from error
    if form == "text":
        raise ValueError("text does not say which image is meant")
    for row in read_rows(path, form):
        if row.caption is not None and row.rank in (None, 1):
            yield row.path, Prediction(row.caption, row.score)


def _by(images: Iterable[str], part: Callable[[str], str]) -> defaultdict[str, list[str]]:
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for image in images:
        groups[part(image)].append(image)
    return groups


def _file(image: str) -> str:
    return PurePath(image).name


def _stem(image: str) -> str:
    return PurePath(image).stem


def _ends_in(image: str, name: str) -> bool:
    parts = PurePath(name).parts
    return PurePath(image).parts[-len(parts) :] == parts
