"""Which images are trained on and which are held back: split files, split fields, or a hash of the name.

Of captions files and images it knows only the names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from capcli.dataset.captions import CaptionedImage, DataReport
from capcli.dataset.lookup import NameIndex, spellings_of, without_caption_number
from capcli.dataset.text import lines_of, read_text
from capcli.errors import DataError
from capcli.messages import first_few, printable


@dataclass(frozen=True)
class NamedImages:
    """What a split file names.

    `images`: those with a file and a caption, in the order of the data set. `unfound`: names of the captions file whose
    image is missing or ambiguous. `unknown`: names that are not in the captions file. `ambiguous`: names that fit
    several of its images. Images that are there and have no caption are in none of them.
    """

    images: list[CaptionedImage]
    unfound: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    ambiguous: tuple[str, ...] = ()

    def notes(self, file: Path) -> list[str]:
        """One line each for names that are unknown and names that are ambiguous."""
        kinds = (
            (self.unknown, "name is not in the captions", "names are not in the captions"),
            (self.ambiguous, "name fits several images", "names fit several images"),
        )
        return [f"{file}: {_count(len(names), *what)}: {first_few(names)}" for names, *what in kinds if names]


@dataclass(frozen=True)
class Split:
    """Images to train on, to validate on, and to leave alone because their split field is "test".

    `notes` holds one line for each oddity, meant for a person.
    """

    train: list[CaptionedImage]
    val: list[CaptionedImage]
    test: list[CaptionedImage]
    notes: tuple[str, ...] = ()


def images_named_in(items: Sequence[CaptionedImage], file: Path, report: DataReport | None = None) -> NamedImages:
    """The images that a split file names.

    A line is a name, with or without its suffix, folder or caption number (name.jpg#0).

    Args:
        items: one data set.
        file: one name a line.
        report: what `read_captions` left out of the data set; names of those images are not unknown.
    Raises:
        DataError: the file cannot be read, or names none of the images.
    """
    report = report or DataReport()
    unfound = dict.fromkeys((*report.missing_images, *report.ambiguous_images))
    # Missing images count when a name is looked up: what is meant must not depend on which files are there.
    names = _Names((*(item.name for item in items), *unfound))
    for item in items:
        names.add_path(item)
    without_caption = _Names((*report.images_without_captions, *report.failed_rows))
    wanted, unknown, ambiguous = dict[str, None](), dict[str, None](), dict[str, None]()
    for line in lines_of(read_text(file)):
        name = line.strip()
        if not name:
            continue
        meant = names.find(name)
        if len(meant) == 1:
            wanted[meant[0]] = None
        elif meant:
            ambiguous[name] = None
        elif not without_caption.find(name):
            unknown[name] = None
    images = [item for item in items if item.name in wanted]
    gone = tuple(name for name in wanted if name in unfound)
    if not images and gone:
        raise DataError(f"{file}: no image that it names is found; the first is {printable(gone[0])}")
    if not images:
        first = next((f"; the first name is {printable(name)}" for name in (*unknown, *ambiguous)), "")
        raise DataError(f"{file}: names none of the {len(items)} images{first}")
    return NamedImages(images, gone, tuple(unknown), tuple(ambiguous))


def choose_split(
    items: Sequence[CaptionedImage],
    *,
    report: DataReport | None = None,
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
        report: what was left out of it.
        train_file: names the training images.
        val_file: names the validation images.
        val_fraction: part of the images to hold back where none are named, 0 to 1.
        seed: of the hash.
    Raises:
        DataError: a split file cannot be read or names no image.
    """
    notes: list[str] = []
    val = None if val_file is None else _named(items, val_file, report, notes)
    if train_file is not None:
        train = _named(items, train_file, report, notes)
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
    train = [item for item in train if item.name not in held]
    used = held.union(item.name for item in train)
    test = [item for item in items if item.split == "test" and item.name not in used]
    return Split(train, val, test, tuple(notes))


def _named(
    items: Sequence[CaptionedImage], file: Path, report: DataReport | None, notes: list[str]
) -> list[CaptionedImage]:
    named = images_named_in(items, file, report)
    notes += named.notes(file)
    return named.images


def _held_back(name: str, fraction: float, seed: int) -> bool:
    # Decided by each name alone: images that are added later move no other from one side to the other.
    digest = hashlib.sha256(f"{seed}:{name}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") < fraction * 2**64


class _Names:
    """Names of images, found by what a line of a split file makes of them."""

    def __init__(self, names: Iterable[str]) -> None:
        self._exact = set(names)
        self._index = NameIndex()
        for name in self._exact:
            self._index.add(name, name)

    def add_path(self, item: CaptionedImage) -> None:
        self._index.add(str(item.path.absolute()), item.name)

    def find(self, line: str) -> tuple[str, ...]:
        """The names that the line may mean: none, one, or several."""
        several: tuple[str, ...] = ()
        for name in dict.fromkeys((line, without_caption_number(line))):
            for spelling in spellings_of(name):
                if spelling in self._exact:
                    return (spelling,)
                values = self._index.find(spelling).values
                if len(values) == 1:
                    return values
                several = several or values
        return several


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
