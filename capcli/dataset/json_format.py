"""COCO's, Karpathy's and plain JSON, and JSON Lines -> rows of image name and captions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from capcli.dataset.rows import (
    CAPTION_COLUMNS,
    IMAGE_COLUMNS,
    CaptionRow,
    CaptionRows,
    column_of,
    split_of,
    verdict_in,
)
from capcli.dataset.text import lines_of
from capcli.errors import DataError
from capcli.verdicts import COLUMN as REVIEW


def is_json(text: str) -> bool:
    """Whether the text begins like a JSON object or list."""
    return text.lstrip()[:1] in ("{", "[")


def is_json_lines(text: str) -> bool:
    """Whether the first line is a whole JSON object and another line follows."""
    lines = (line for line in lines_of(text) if line.strip())
    first = next(lines, "")
    # A file of one line is left to `is_json`: all of COCO may stand in it, and would be parsed twice.
    if not first.lstrip().startswith("{") or next(lines, None) is None:
        return False
    try:
        json.loads(first)
    except (ValueError, RecursionError):
        return False
    return True


def read_json(path: Path, text: str) -> CaptionRows:
    """Reads the text of a JSON file.

    Args:
        path: what to call it in messages.
        text: its content.
    Raises:
        DataError: it is not JSON, or holds no images with captions.
    """
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: line {error.lineno}: not JSON ({error.msg})") from error
    except (ValueError, RecursionError) as error:  # numbers without end, brackets without bottom
        raise DataError(f"{path}: JSON that is not captions ({error})") from error
    if isinstance(values, list):
        return _read_records(path, ((f"entry {n}", value) for n, value in enumerate(values, 1)))
    images, annotations = values.get("images"), values.get("annotations")
    if isinstance(images, list) and isinstance(annotations, list):
        return _read_coco(path, images, annotations)
    if isinstance(images, list):
        return _read_records(path, ((f"image {n}", value) for n, value in enumerate(images, 1)))
    return _read_records(path, [("line 1", values)])


def read_json_lines(path: Path, text: str) -> CaptionRows:
    """Reads the text of a JSON Lines file.

    Args:
        path: what to call it in messages.
        text: its content.
    Raises:
        DataError: a line is not JSON, or no line holds an image with captions.
    """
    return _read_records(path, _json_lines(path, text))


def _json_lines(path: Path, text: str) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(lines_of(text), 1):
        if line.strip():
            try:
                yield f"line {number}", json.loads(line)
            except (ValueError, RecursionError) as error:
                reason = error.msg if isinstance(error, json.JSONDecodeError) else error
                raise DataError(f"{path}: line {number}: not JSON ({reason})") from error


def _read_coco(path: Path, images: list[Any], annotations: list[Any]) -> CaptionRows:
    captions: dict[Any, list[str]] = {}
    names: dict[Any, str] = {}
    for image in images:
        if isinstance(image, dict) and isinstance(image.get("file_name"), str) and _is_id(image.get("id")):
            names[image["id"]] = image["file_name"]
    skipped = []
    for number, note in enumerate(annotations, 1):
        caption = note.get("caption") if isinstance(note, dict) else None
        if isinstance(caption, str) and _is_id(note.get("image_id")) and note["image_id"] in names:
            captions.setdefault(note["image_id"], []).append(caption)
        else:
            skipped.append(f"annotation {number}")
    if not captions:
        raise DataError(f"{path}: COCO annotations without captions of its images; the file wanted is captions_*.json")
    return CaptionRows([CaptionRow(name, tuple(captions.get(key, ()))) for key, name in names.items()], skipped)


def _read_records(path: Path, records: Iterable[tuple[str, Any]]) -> CaptionRows:
    """Objects with an image's name and its captions: JSON Lines, or the images of a Karpathy file."""
    rows: list[CaptionRow] = []
    skipped: list[str] = []
    caller_paths = False
    for place, record in records:
        values = {column_of(key): value for key, value in record.items()} if isinstance(record, dict) else {}
        key = next((key for key in IMAGE_COLUMNS if isinstance(values.get(key), str) and values[key].strip()), None)
        texts = _texts(next((values[name] for name in CAPTION_COLUMNS if name in values), None))
        if key is None or texts is None:
            skipped.append(place)
            continue
        name = values[key]
        if key == "filename" and isinstance(values.get("filepath"), str) and values["filepath"]:
            name = f"{values['filepath'].rstrip('/')}/{name}"
        caller_paths = caller_paths or key == "path"
        failed = bool(values.get("error")) and not any(text.strip() for text in texts)
        verdict = verdict_in(values[REVIEW], path, place) if REVIEW in values else None
        rows.append(CaptionRow(name, texts, split_of(values.get("split"), path, place), failed, verdict))
    if skipped and not rows:
        raise DataError(f"{path}: {skipped[0]}: no image name and captions here (file_name, text)")
    return CaptionRows(rows, skipped, caller_paths=caller_paths)


def _texts(value: Any) -> tuple[str, ...] | None:
    """Captions of a JSON value: a string, a list of them, Karpathy's objects; None where it is something else."""
    if value is None:
        return ()
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list):
        return None
    found = [each.get("raw", each.get("caption")) if isinstance(each, dict) else each for each in value]
    texts = tuple(text for text in found if isinstance(text, str))
    return texts if len(texts) == len(found) else None


def _is_id(value: Any) -> bool:
    return isinstance(value, (int, str))
