"""Captioned images for training and evaluation: a captions file and a folder of images, joined.

Knows nothing of torch, of pixels, or of words: captions are given as people wrote them.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from capcli.dataset.formats import read_caption_file
from capcli.dataset.lookup import FoundImage, ImageLookup
from capcli.dataset.rows import CaptionRow, CaptionRows
from capcli.dataset.text import mend_bytes
from capcli.dataset.text_folder import read_caption_folder
from capcli.errors import DataError
from capcli.messages import first_few, printable
from capcli.verdicts import NOT_REVIEWED, REJECTED

_METADATA = "metadata.jsonl"


@dataclass(frozen=True)
class CaptionedImage:
    """One image and the captions people gave it.

    `name` is its name in the captions file, unique within a data set; `split` is "train", "val" or "test" where the
    file says so. Captions are stripped, with single spaces, otherwise as written. `data_set` is the number of
    its data set among those of a training run, from 0.
    """

    path: Path
    name: str
    captions: tuple[str, ...]
    split: str | None = None
    data_set: int = 0


@dataclass(frozen=True)
class DataReport:
    """What was read, and what was left out and why, by name.

    `skipped_rows` holds places ("line 3"), `unreadable` text files, the others names of images; `rejected` and
    `not_reviewed` are of files that a person has reviewed. `unfound_splits` says which split the missing and the
    ambiguous ones are in, for those with a split field.
    """

    images: int = 0
    captions: int = 0
    missing_images: tuple[str, ...] = ()
    ambiguous_images: tuple[str, ...] = ()
    images_without_captions: tuple[str, ...] = ()
    empty_captions: tuple[str, ...] = ()
    failed_rows: tuple[str, ...] = ()
    rejected: tuple[str, ...] = ()
    not_reviewed: tuple[str, ...] = ()
    skipped_rows: tuple[str, ...] = ()
    not_utf8: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()
    unfound_splits: Mapping[str, str] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """One line for each problem there is, with the first few names."""
        problems: tuple[tuple[Sequence[str], str, str], ...] = (
            (self.missing_images, "image is not found", "images are not found"),
            (self.ambiguous_images, "image name is ambiguous", "image names are ambiguous"),
            (self.images_without_captions, "image has no caption", "images have no caption"),
            (self.empty_captions, "caption is empty", "captions are empty"),
            (self.failed_rows, "row holds an error and no caption", "rows hold an error and no caption"),
            (self.rejected, "caption was rejected in review", "captions were rejected in review"),
            (self.not_reviewed, "caption is not reviewed yet", "captions are not reviewed yet"),
            (self.skipped_rows, "row is not understood", "rows are not understood"),
            (self.unreadable, "file cannot be read", "files cannot be read"),
        )
        lines = [
            f"{len(names)} {one if len(names) == 1 else many}, left out: {first_few(names)}"
            for names, one, many in problems
            if names
        ]
        if self.not_utf8:
            what = "caption is" if len(self.not_utf8) == 1 else "captions are"
            lines.append(f"{len(self.not_utf8)} {what} not UTF-8, read as Windows-1252: {first_few(self.not_utf8)}")
        return lines


def read_captions(images: Path, captions: Path | None = None) -> tuple[list[CaptionedImage], DataReport]:
    """Reads a data set.

    Names in the captions file are looked for below `images`, then beside the captions file; a capcli CSV's paths
    first from the working directory. Rows of one image are merged, in the order of the file.

    Args:
        images: the folder of images.
        captions: a captions file, or a folder of NAME.txt laid out like `images`; None for NAME.txt beside each
            image, or the metadata.jsonl in `images`.
    Returns:
        The images that exist and have a caption, and what was left out.
    Raises:
        DataError: the captions cannot be read or are not understood, or no image is left.
    """
    # Path.is_dir raises for a name that is too long or lies in a folder one may not enter; os.path says no.
    if not os.path.isdir(images):
        raise DataError(f"{images}: {'not a folder' if os.path.exists(images) else 'no such folder'} of images")
    if captions is None:
        captions = images / _METADATA if os.path.isfile(images / _METADATA) else images
    found = read_caption_folder(images, captions) if os.path.isdir(captions) else read_caption_file(captions)
    items, report = _join(images, captions, found)
    if not items:
        raise DataError(_nothing_left(images, captions, found, report))
    return items, report


class _Gathered:
    """Images and their captions as they come together, row by row."""

    def __init__(self, source: Path) -> None:
        self._source = source
        self._images: dict[str, CaptionedImage] = {}
        self.empty: list[str] = []
        self.not_utf8: list[str] = []

    def add(self, name: str, path: Path, rows: list[CaptionRow]) -> None:
        key = _identity(path)
        known = self._images.get(key, CaptionedImage(path, name, ()))
        captions, split = list(known.captions), known.split
        for row in rows:
            captions += [caption for text in row.captions if (caption := self._clean(name, text, row.failed))]
            if split is not None and row.split is not None and row.split != split:
                raise DataError(f"{self._source}: {printable(name)} is in two splits, {split} and {row.split}")
            split = split or row.split
        self._images[key] = CaptionedImage(known.path, known.name, tuple(captions), split)

    def images(self, *, captioned: bool) -> list[CaptionedImage]:
        return [image for image in self._images.values() if bool(image.captions) == captioned]

    def _clean(self, name: str, text: str, failed: bool) -> str:
        mended = mend_bytes(text)
        caption = " ".join(mended.split())
        if mended != text:
            self.not_utf8.append(name)
        if not caption and not failed:
            self.empty.append(name)
        return caption


def _join(images: Path, captions: Path, found: CaptionRows) -> tuple[list[CaptionedImage], DataReport]:
    """Joins rows to the files they mean, image by image."""
    rows: dict[str, list[CaptionRow]] = {}
    left_out = [row for row in found.rows if not row.is_taken and not row.failed]
    for row in found.rows:
        if row.is_taken or row.failed:
            rows.setdefault(row.name, []).append(row)
    # An image whose rows all hold errors is reported as failed, whether or not its file exists.
    wanted = [name for name, told in rows.items() if not all(row.failed for row in told)]
    lookup = ImageLookup(images, captions.parent, caller_first=found.caller_paths)
    places = {name: lookup.find(name) for name in wanted}
    ambiguous = _ambiguous(places)
    gathered, missing = _Gathered(captions), []
    for name, place in places.items():
        if name in ambiguous:
            continue
        if place.path is None:
            missing.append(name)
        else:
            gathered.add(place.name, place.path, rows[name])
    items = gathered.images(captioned=True)
    return items, DataReport(
        images=len(items),
        captions=sum(len(item.captions) for item in items),
        missing_images=tuple(missing),
        ambiguous_images=tuple(ambiguous),
        images_without_captions=tuple(item.name for item in gathered.images(captioned=False)),
        empty_captions=tuple(gathered.empty),
        failed_rows=tuple(row.name for row in found.rows if row.failed),
        rejected=tuple(row.name for row in left_out if row.verdict == REJECTED),
        not_reviewed=tuple(row.name for row in left_out if row.verdict == NOT_REVIEWED),
        skipped_rows=tuple(found.skipped),
        not_utf8=tuple(gathered.not_utf8),
        unreadable=tuple(found.unreadable),
        unfound_splits={
            name: split
            for name in (*missing, *ambiguous)
            if (split := next((row.split for row in rows[name] if row.split is not None), None)) is not None
        },
    )


def _ambiguous(places: dict[str, FoundImage]) -> dict[str, None]:
    """Names that fit several files, and names that fit a file only if moved there when another name fits it too.

    The second keeps val/1.jpg, when it is missing, from lending its captions to train/1.jpg.
    """
    claims = Counter(_identity(place.path) for place in places.values() if place.path is not None)
    return {
        name: None
        for name, place in places.items()
        if place.ambiguous or (place.moved and place.path is not None and claims[_identity(place.path)] > 1)
    }


def _identity(path: Path) -> str:
    # Not resolved: two links to one file are two images to whoever made them.
    return os.path.normpath(path.absolute())


def _nothing_left(images: Path, captions: Path, found: CaptionRows, report: DataReport) -> str:
    if os.path.isdir(captions) and not found.rows:
        return f"{images}: no image in this folder"
    if os.path.isdir(captions) and not report.empty_captions and not report.unreadable:
        return f"{captions}: no image has its captions in a text file beside it (NAME.txt); give a captions file"
    if not found.rows and not found.skipped:
        return f"{captions}: holds no captions"
    if found.rows and len(report.missing_images) == len({row.name for row in found.rows}):
        count = len(report.missing_images)
        return (
            f"{captions}: none of its {count} images is in {images}; the first is {printable(report.missing_images[0])}"
        )
    return f"{captions}: no image with a caption is left: {'; '.join(report.lines())}"
