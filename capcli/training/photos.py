"""Photos that an export looks at: evenly chosen of folders or lists, and read. Knows nothing of what they are for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from capcli.captioner import Captioner
from capcli.dataset.captions import CaptionedImage
from capcli.errors import ImageError
from capcli.inputs.images import load_image
from capcli.inputs.paths import FolderRules, find_inputs
from capcli.pipeline import Pipeline, PipelineInput, PipelineSettings

Item = TypeVar("Item")


@dataclass(frozen=True)
class Photos:
    """Their paths, and pixels uint8 [N, S, S, 3]."""

    paths: tuple[str, ...]
    pixels: np.ndarray


def photos_of(places: Iterable[Path]) -> list[str]:
    """All photos of folders and their sub-folders, and single ones; what does not exist is left out.

    A photo of a folder is known by its suffix; where no file has one, all files are taken.
    """
    return [path for place in places if place.exists() for path in _images_of(place)]


def evenly(items: Sequence[Item], count: int) -> list[Item]:
    """Up to `count` of them, evenly spaced over all: several data sets, one after the other, are all there."""
    some = min(count, len(items))
    return [items[row * len(items) // some] for row in range(some)]


def read_evenly(paths: Sequence[str], count: int, size: int) -> Photos | None:
    """Reads up to `count` photos, chosen by `evenly`. None if none can be read.

    Args:
        size: width and height in pixels that they are resized to.
    """
    read: list[str] = []
    pixels: list[np.ndarray] = []
    # The others stand in for those that cannot be read.
    for path in dict.fromkeys([*evenly(paths, count), *paths]):
        try:
            pixels.append(load_image(path, size=(size, size)))
        except ImageError:
            continue
        read.append(path)
        if len(read) == count:
            break
    return Photos(tuple(read), np.stack(pixels)) if read else None


def _images_of(place: Path) -> list[str]:
    for rules in (FolderRules(), FolderRules(include=("*",))):
        if found := list(_walk(place, rules)):
            return found
    return []


def _walk(place: Path, rules: FolderRules) -> Iterator[str]:
    inputs = find_inputs([str(place)], rules)
    return (item.path for item in inputs if item.error is None)


def look_at_each(
    captioner: Captioner, images: Sequence[CaptionedImage], look: Callable[[list[np.ndarray]], Iterable[Item]]
) -> Iterator[Item | None]:
    """What is found of each image, in their order and in flat memory; None for one that cannot be read.

    Args:
        look: given what the captioner's `encode` returned, finds something of each of its images.
    """

    def found(pixels: np.ndarray) -> list[list[Item]]:
        return [[each] for each in look(captioner.encode(pixels))]

    pipeline = Pipeline(captioner.load, found, PipelineSettings(captioner.batch_size))
    for result in pipeline.run(PipelineInput(image.path, image.path) for image in images):
        yield result.captions[0] if result.error is None else None
