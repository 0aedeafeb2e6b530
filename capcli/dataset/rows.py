"""Rows of image name and captions: what every format of captions files is read into. Knows no format."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from capcli.errors import DataError
from capcli.verdicts import TAKEN, verdict_of

# Columns and keys, in lower case; where a file has several, the first one listed here is meant.
IMAGE_COLUMNS = (
    *("file_name", "filename", "file", "path", "image_path", "file_path", "filepath"),
    *("image_name", "image", "img", "image_id"),
)
CAPTION_COLUMNS = ("caption", "captions", "text", "sentence", "sentences", "comment", "raw")
_SPLITS = {
    **dict.fromkeys(("train", "training", "restval"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


@dataclass(frozen=True)
class CaptionRow:
    """An image's name and the captions one row gives it, as written.

    `failed`: the row of an earlier capcli run that holds an error where the caption would be. `verdict`: what a person
    decided in review; None where the file was not reviewed.
    """

    name: str
    captions: tuple[str, ...]
    split: str | None = None
    failed: bool = False
    verdict: str | None = None

    @property
    def is_taken(self) -> bool:
        """Whether somebody stands for its captions: of a reviewed file, only what was accepted or edited."""
        return self.verdict is None or self.verdict in TAKEN


@dataclass(frozen=True)
class CaptionRows:
    """The rows of a captions file; `skipped` says where the rows are that hold no image or no caption.

    `caller_paths`: names are paths as a capcli run prints them, relative to where it was called.
    """

    rows: list[CaptionRow]
    skipped: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    caller_paths: bool = False


def column_of(heading: str) -> str:
    """A heading as `IMAGE_COLUMNS` and `CAPTION_COLUMNS` spell it."""
    return re.sub(r"[\s-]+", "_", heading.strip().lower())


def split_of(value: Any, path: Path, place: str) -> str | None:
    """Which split a split field means: "train", "val" or "test"; None where it is empty.

    Raises:
        DataError: it means none of them.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    split = _SPLITS.get(value.strip().lower()) if isinstance(value, str) else None
    if split is None:
        raise DataError(f"{path}: {place}: the split {value!r} is not train, val or test")
    return split


def verdict_in(value: Any, path: Path, place: str) -> str:
    """What a field says that a review has decided.

    Raises:
        DataError: it is no verdict.
    """
    try:
        return verdict_of(value)
    except ValueError as error:
        raise DataError(f"{path}: {place}: {error}") from error
