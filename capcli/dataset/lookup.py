"""Names written in captions and split files -> image files. Knows nothing of captions or of pixels.

Names come from other machines and other hands: without their folder, without their suffix, in another case. A name
is taken for an image only where no second image fits it as well.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from capcli.dataset.text import mend_bytes
from capcli.inputs.paths import JUNK_FOLDERS, is_photo

_CAPTION_NUMBER = re.compile(r"#\d+$")


@dataclass(frozen=True)
class Match:
    """What a name may mean: no value (unknown), one, or several (ambiguous).

    `moved`: the name has folders that the value lacks, so it fits only if a whole folder was moved.
    """

    values: tuple[str, ...]
    moved: bool = False


@dataclass(frozen=True)
class _Known:
    folders: tuple[str, ...]
    above: tuple[str, ...]
    name: str
    value: str


class NameIndex:
    """Finds values by file names that may lack folders or a suffix, or differ in case."""

    def __init__(self) -> None:
        self._files: dict[str, list[_Known]] = {}
        self._stems: dict[str, list[_Known]] = {}

    def add(self, name: str, value: str, *, above: tuple[str, ...] = ()) -> None:
        """Makes `value` known under `name`.

        Args:
            name: a path with slashes, relative or absolute.
            value: what `find` gives for it.
            above: folders above `name`, from `folders_of`; a name may begin with some of them, and need not.
        """
        *folders, base = _parts(name)
        known = _Known(tuple(map(_fold, folders)), above, base, value)
        self._files.setdefault(_fold(base), []).append(known)
        if is_photo(base):
            self._stems.setdefault(_fold(base.rpartition(".")[0]), []).append(known)

    def find(self, name: str) -> Match:
        """The values that fit best: the right folder counts for more than the right case or suffix."""
        parts = _parts(name)
        if not parts:
            return Match(())
        *given, base = parts
        folders = tuple(map(_fold, given))
        named, stems = self._files.get(_fold(base), []), self._stems.get(_fold(base), [])
        levels = ([known for known in named if known.name == base], named, stems)
        for same_place, moved in ((_exactly, False), (_ends_with, False), (_moved, True)):
            for level in levels:
                values = tuple(dict.fromkeys(known.value for known in level if same_place(known, folders)))
                if values:
                    return Match(values, moved)
        return Match(())


@dataclass(frozen=True)
class FoundImage:
    """The result of looking up a name.

    `name` is the spelling under which it was found, `path` None unless exactly one file fits.
    """

    name: str
    path: Path | None
    ambiguous: bool = False
    moved: bool = False


class ImageLookup:
    """Finds the files that a captions file names.

    A folder is listed once when it is first needed; no file is touched.

    Args:
        images: the folder of images; None for none, so that no folder is searched.
        captions: the folder of the captions file, where names are looked for after `images`.
        caller_first: names are tried relative to the working directory before `images`.
    """

    def __init__(self, images: Path | None, captions: Path | None = None, *, caller_first: bool = False) -> None:
        self._images = images
        bases = (Path() if caller_first else None, images, captions)
        self._bases = [base for base in bases if base is not None]
        self._listings: dict[str, frozenset[str]] = {}
        self._index: NameIndex | None = None

    def find(self, name: str) -> FoundImage:
        """The file meant by `name`."""
        spellings = spellings_of(name)
        for spelling in spellings:
            for base in self._bases:
                path = base / spelling
                if self.has_file(path):
                    return FoundImage(spelling, path)
        if self._images is None:
            return FoundImage(spellings[0], None)
        if self._index is None:
            self._index = _index_folder(self._images)
        for spelling in spellings:
            match = self._index.find(spelling)
            if len(match.values) == 1:
                return FoundImage(spelling, self._images / match.values[0], moved=match.moved)
            if match.values:
                return FoundImage(spelling, None, ambiguous=True)
        return FoundImage(spellings[0], None)

    def has_file(self, path: Path) -> bool:
        """Whether a file of exactly this name exists, from the listing of its folder."""
        folder, name = os.path.split(path)
        if folder not in self._listings:
            try:
                with os.scandir(folder or os.curdir) as entries:
                    self._listings[folder] = frozenset(entry.name for entry in entries if entry.is_file())
            except (OSError, ValueError):  # ValueError: no file system takes such a name
                self._listings[folder] = frozenset()
        return name in self._listings[folder]


def folder_files(root: Path) -> Iterator[str]:
    """Names of all files below `root`, relative to it, with slashes; hidden files and junk left out.

    Links to folders are followed, each folder is visited once.
    """
    waiting, seen = [""], set[tuple[int, int]]()
    while waiting:
        folder = waiting.pop()
        try:
            status = (root / folder).stat()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(root / folder) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if entry.is_file():
                        yield folder + entry.name
                    elif entry.is_dir() and entry.name.lower() not in JUNK_FOLDERS:
                        waiting.append(f"{folder}{entry.name}/")
        except OSError:
            # A folder that may not be read; its images are then reported missing one by one.
            continue


def without_caption_number(name: str) -> str:
    """A name without the number that Flickr's files put after it, one for each caption: name.jpg for name.jpg#0."""
    return _CAPTION_NUMBER.sub("", name)


def spellings_of(name: str) -> list[str]:
    """The name as written, then without blanks around it, from Windows, and from a file that is not UTF-8."""
    spellings = [name, name.strip(), name.strip().replace("\\", "/"), mend_bytes(name.strip())]
    return list(dict.fromkeys(spellings))


def _index_folder(images: Path) -> NameIndex:
    index = NameIndex()
    above = folders_of(images)
    for name in folder_files(images):
        index.add(name, name, above=above)
    return index


def folders_of(folder: Path) -> tuple[str, ...]:
    """The folders of an absolute path in the form `NameIndex.add` takes."""
    return tuple(map(_fold, _parts(str(folder.absolute()).replace(os.sep, "/"))))


def _exactly(known: _Known, folders: tuple[str, ...]) -> bool:
    return known.folders == folders


def _ends_with(known: _Known, folders: tuple[str, ...]) -> bool:
    return _is_tail(folders, known.above + known.folders)


def _moved(known: _Known, folders: tuple[str, ...]) -> bool:
    return _is_tail(known.folders, folders)


def _is_tail(tail: tuple[str, ...], whole: tuple[str, ...]) -> bool:
    return whole[len(whole) - len(tail) :] == tail if len(tail) <= len(whole) else False


def _parts(name: str) -> list[str]:
    return [part for part in name.split("/") if part not in ("", ".")]


def _fold(name: str) -> str:
    # macOS hands out decomposed accents where everyone else writes composed ones.
    return name.lower() if name.isascii() else unicodedata.normalize("NFC", name).casefold()
