"""The photos of rows, found and made small: in the order asked for, a few at a time, also those that lie in tars.

Knows nothing of captions or pages.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from capcli.dataset.lookup import ImageLookup
from capcli.errors import ImageError
from capcli.inputs.images import MAX_PIXELS, load_image
from capcli.inputs.paths import FolderRules, find_inputs
from capcli.inputs.sources import ImageSource
from capcli.inputs.tars import is_tar
from capcli.outputs.rows import FORMULA
from capcli.pages.rendering import picture_uri

SIDE = 192
# With that side, about 6 KB a data URI.
QUALITY = 60
# Everything that is named, by whatever suffix.
_ALL = FolderRules(hidden=True, include=("*",))

_Given = TypeVar("_Given")
_Made = TypeVar("_Made")


@dataclass(frozen=True)
class Thumbnail:
    """A small picture; `width` and `height` in pixels."""

    uri: str
    width: int
    height: int


class Thumbnails:
    """Makes thumbnails of photos that rows name.

    A path is looked for from the working directory, or where there is a folder of photos below that, under its whole
    name or the end of it; and beside the file of captions.

    Args:
        photos: the folder to look in; None for the working directory.
        beside: the folder of the file of captions.
        workers: threads that read and decode.
        max_pixels: larger photos are refused.
    """

    def __init__(
        self, photos: Path | None, beside: Path, *, workers: int = 2, max_pixels: int | None = MAX_PIXELS
    ) -> None:
        self._lookup = ImageLookup(photos, beside, caller_first=photos is None)
        self._bases = (photos or Path(), beside)
        self._workers = workers
        self._max_pixels = max_pixels

    def of(self, paths: Sequence[str]) -> Generator[Thumbnail | ImageError]:
        """A thumbnail for each path, in their order, or why there is none.

        Closing the generator ends its threads.
        """
        places = {path: self._find(path) for path in paths}
        # A tar is read from its start to its end, whatever the order of the rows.
        held = dict(self._from_tars([path for path, place in places.items() if place is None]))

        def make(path: str) -> Thumbnail | ImageError:
            place = places[path]
            return held.pop(path, None) or self._make(path if place is None else place)

        yield from _in_order(make, paths, self._workers)

    def _find(self, path: str) -> Path | None:
        # With --spreadsheet-safe an apostrophe stands before some names.
        for name in (path, path[1:]) if path.startswith("'") and FORMULA.match(path) else (path,):
            found = self._lookup.find(name).path
            if found is not None:
                return found
        return None

    def _make(self, image: ImageSource) -> Thumbnail | ImageError:
        try:
            pixels = load_image(image, size=(SIDE, SIDE), keep_aspect=True, max_pixels=self._max_pixels)
        except ImageError as error:
            return error
        height, width = pixels.shape[:2]
        return Thumbnail(picture_uri(pixels, QUALITY), width, height)

    def _from_tars(self, paths: Iterable[str]) -> Iterator[tuple[str, Thumbnail | ImageError]]:
        """Thumbnails of the photos that lie in tars, by path."""
        tars: dict[str, dict[str, str]] = {}
        for path in paths:
            found = self._tar_of(path)
            if found is not None:
                place, inside = found
                tars.setdefault(place, {})[inside] = path

        def make(given: tuple[str, bytes | ImageError]) -> tuple[str, Thumbnail | ImageError]:
            path, content = given
            return path, content if isinstance(content, ImageError) else self._make(content)

        for tar, wanted in tars.items():
            yield from _in_order(make, _members(tar, wanted), self._workers)

    def _tar_of(self, path: str) -> tuple[str, str] | None:
        """The tar that a path leads into, where it is found, and the whole path of what lies in it."""
        cut = path.find("/", 1)
        while cut > 0:
            for base in self._bases:
                place = os.path.join(base, path[:cut])
                if is_tar(place):
                    return place, place + path[cut:]
            cut = path.find("/", cut + 1)
        return None


def _members(tar: str, wanted: dict[str, str]) -> Iterator[tuple[str, bytes | ImageError]]:
    """The path of each wanted photo of a tar, with its bytes."""
    for item in find_inputs([tar], _ALL):
        if item.path not in wanted:
            continue
        if item.error is not None:
            yield wanted[item.path], ImageError(item.error)
        elif callable(item.content):
            try:
                yield wanted[item.path], item.content()
            except ImageError as error:
                yield wanted[item.path], error


def _in_order(make: Callable[[_Given], _Made], given: Iterable[_Given], workers: int) -> Iterator[_Made]:
    """What is made of each, in their order, by a few threads that run no further ahead than twice their number."""
    waiting: deque[Future[_Made]] = deque()
    with ThreadPoolExecutor(workers, "capcli-thumbnail") as pool:
        try:
            for each in given:
                waiting.append(pool.submit(make, each))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for each_waiting in waiting:
                each_waiting.cancel()
