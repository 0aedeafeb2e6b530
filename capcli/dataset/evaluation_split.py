"""Which images of a data set an evaluation is over, and whether they are all there. Knows nothing of scores."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from capcli.dataset.captions import CaptionedImage, DataReport, read_captions
from capcli.dataset.splits import images_named_in
from capcli.errors import DataError
from capcli.messages import first_few

_NAMES = ("test", "val", "train")


@dataclass(frozen=True)
class EvaluationImages:
    """The images to evaluate on.

    `all_images`: those of the whole data set, by which two images of one name are told apart. `data`: how a result
    names them. `notes`: a line for each choice made and each kind of image left out.
    """

    images: list[CaptionedImage]
    all_images: list[CaptionedImage]
    data: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Part:
    images: list[CaptionedImage]
    unfound: tuple[str, ...]
    data: str
    notes: tuple[str, ...] = ()


def read_evaluation_images(
    images: Path, captions: Path | None, split: str | None, *, allow_missing: bool = False
) -> EvaluationImages:
    """Reads a data set and takes the part to evaluate on.

    Args:
        images: the folder of images.
        captions: as `read_captions` takes it.
        split: a file of names; or "test", "val" or "train" where no file is called so. None for "test" where the
            captions have split fields, and for all images elsewhere.
        allow_missing: go on without images that are missing or ambiguous.
    Raises:
        DataError: the data cannot be read, the split is not there or empty, or images are missing or ambiguous.
    """
    items, report = read_captions(images, captions)
    source = str(captions or images)
    splits = [item.split for item in items] + list(report.unfound_splits.values())
    if split is not None and (os.path.isfile(split) or split not in _NAMES):
        part = _named_in_file(items, report, split)
    elif any(splits):
        part = _with_field(items, report, split, source)
    elif split is None:
        part = _Part(items, (*report.missing_images, *report.ambiguous_images), source)
    else:
        raise DataError(
            f"--split {split}: there is no file of this name, and {source} has no split fields; "
            "give a file that names the images"
        )
    unfound = _told_unfound(part, report)
    if unfound and not (allow_missing and part.images):
        raise DataError(f"{unfound}{'; --allow-missing evaluates without them' if part.images else ''}")
    rest = replace(report, missing_images=(), ambiguous_images=())
    notes = [f"{images}: {line}" for line in rest.lines()] + [*part.notes]
    if unfound:
        notes.append(f"{unfound}; evaluated without them")
    return EvaluationImages(part.images, items, part.data, tuple(notes))


def _named_in_file(items: Sequence[CaptionedImage], report: DataReport, split: str) -> _Part:
    if not os.path.exists(split):
        raise DataError(f"--split {split}: no such file, and it is not test, val or train")
    file = Path(split)
    named = images_named_in(items, file, report)
    return _Part(named.images, named.unfound, split, tuple(named.notes(file)))


def _with_field(items: Sequence[CaptionedImage], report: DataReport, split: str | None, source: str) -> _Part:
    name = split or "test"
    chosen = [item for item in items if _field(item.split) == name]
    unfound = tuple(
        image
        for image in (*report.missing_images, *report.ambiguous_images)
        if _field(report.unfound_splits.get(image)) == name
    )
    counts = Counter(_field(item.split) for item in items)
    others = ", ".join(f"{counts[other]} {other}" for other in _NAMES if counts[other] and other != name)
    if not chosen and not unfound:
        raise DataError(f"{source}: no image of its split fields is {name} ({others}); choose with --split")
    left_out = sum(counts.values()) - len(chosen)
    why = "" if split else ", the default where captions have split fields"
    note = f"{source}: --split {name}{why}: {_images(len(chosen))}; {left_out} left out{others and f' ({others})'}"
    return _Part(chosen, unfound, f"{source} ({name})", (note,))


def _field(split: str | None) -> str:
    # As for training: an image whose field is empty is trained on.
    return split or "train"


def _told_unfound(part: _Part, report: DataReport) -> str:
    """The images that are not there and those whose name fits several files, in one line; "" where there are none."""
    several = frozenset(report.ambiguous_images)
    kinds = (
        ([name for name in part.unfound if name not in several], "missing, no such file"),
        ([name for name in part.unfound if name in several], "ambiguous, more than one name or file fits"),
    )
    total = _images(len(part.images) + len(part.unfound))
    told = [
        f"{len(names)} of {total} {'is' if len(names) == 1 else 'are'} {what}: {first_few(names)}"
        for names, what in kinds
        if names
    ]
    return f"{part.data}: {'; '.join(told)}" if told else ""


def _images(count: int) -> str:
    return f"{count} {'image' if count == 1 else 'images'}"
