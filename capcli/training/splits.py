"""Which images are trained on and which are held back: split files, split fields, or a hash of the name.

Knows nothing of files of captions or images but their names.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from capcli.errors import DataError
from capcli.training.captions import CaptionedImage, first_few
from capcli.training.image_lookup import NameIndex, spellings_of
from capcli.training.text_files import lines_of, read_text

_NUMBER = re.compile(r"#\d+$")


@dataclass(frozen=True)
class NamedImages:
    """The images a split file names, in the order of the data set, and the names it has that fit no image."""

    images: list[CaptionedImage]
    unknown: tuple[str, ...]


@dataclass(frozen=True)
class Split:
    """Images to train on and images to validate on; `notes` holds one line for each oddity, meant for a person."""

    train: list[CaptionedImage]
    val: list[CaptionedImage]
    notes: tuple[str, ...] = ()


def images_named_in(items: Sequence[CaptionedImage], file: Path) -> NamedImages:
    """The images that a split file names.

    A line is a name, with or without its suffix, folder or caption number (name.jpg#0).

    Args:
        items: one data set.
        file: one name a line.
    Raises:
        DataError: the file cannot be read, or names none of the images.
    """
    exact = {item.name for item in items}
    index = NameIndex()
    for item in items:
        index.add(item.name, item.name)
        index.add(str(item.path.absolute()), item.name)
    wanted: set[str] = set()
    unknown: dict[str, None] = {}
    for line in lines_of(read_text(file)):
        name = line.strip()
        if not name:
            continue
        known = _meant(name, exact, index)
        if known is None:
            unknown[name] = None
        else:
            wanted.add(known)
    if not wanted:
        told = f"; the first name is {first_few(list(unknown)[:1])}" if unknown else ""
        raise DataError(f"{file}: names none of the {len(items)} images{told}")
    return NamedImages([item for item in items if item.name in wanted], tuple(unknown))


def choose_split(
    items: Sequence[CaptionedImage],
    *,
    train_file: Path | None = None,
    val_file: Path | None = None,
    val_fraction: float = 0.1,
    seed: int = 0,
) -> Split:
    """Splits one data set into images to train on and images to validate on.

    Split files come first, then the split fields of the captions file, then a seeded hash of the names. Images that a
    train file leaves out, or that are marked "test", are in neither part. Where validation images are not named, a
    fraction of the training images is held back; where only they are named, all others are trained on.

    Args:
        items: the data set.
        train_file: names the training images.
        val_file: names the validation images.
        val_fraction: part of the images to hold back where none are named, 0 to 1.
        seed: of the hash.
    Raises:
        DataError: a split file cannot be read or names no image.
    """
    notes: list[str] = []
    val = None if val_file is None else _named(items, val_file, notes)
    if train_file is not None:
        train = _named(items, train_file, notes)
    elif val_file is not None:
        train = [item for item in items if item.split in (None, "train")]
    elif any(item.split is not None for item in items):
        train = [item for item in items if item.split in (None, "train")]
        val = [item for item in items if item.split == "val"] or None
    else:
        train = list(items)
    if val is None:
        val = [item for item in train if _held_back(item.name, val_fraction, seed)]
    held = {item.name for item in val}
    if train_file is not None and val_file is not None:
        both = [item.name for item in train if item.name in held]
        if both:
            notes.append(
                f"{_count(len(both), 'image is', 'images are')} in both {train_file} and {val_file}, "
                f"used for validation only: {first_few(both)}"
            )
    return Split([item for item in train if item.name not in held], val, tuple(notes))


def _named(items: Sequence[CaptionedImage], file: Path, notes: list[str]) -> list[CaptionedImage]:
    named = images_named_in(items, file)
    if named.unknown:
        notes.append(
            f"{file}: {_count(len(named.unknown), 'name fits', 'names fit')} no captioned image, or several: "
            f"{first_few(named.unknown)}"
        )
    return named.images


def _held_back(name: str, fraction: float, seed: int) -> bool:
    # Decided by each name alone: images that are added later move no other from one side to the other.
    digest = hashlib.sha256(f"{seed}:{name}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") < fraction * 2**64


def _meant(line: str, exact: set[str], index: NameIndex) -> str | None:
    for name in dict.fromkeys((line, _NUMBER.sub("", line))):
        for spelling in spellings_of(name):
            if spelling in exact:
                return spelling
            match = index.find(spelling)
            if len(match.values) == 1:
                return match.values[0]
    return None


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
