"""Arguments, folders and standard input -> a stream of inputs to caption.

Folders are walked lazily, one listing at a time, in natural order (photo 9 before photo 10). A path is the argument
as typed joined with the part below it; nothing is resolved, and names that are not UTF-8 pass through unharmed.
Knows nothing of images but their suffixes and first bytes.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

# What in a folder is a photo. For files named by the user, and on standard input, first bytes decide instead.
PHOTO_SUFFIXES = frozenset(
    [
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".png",
        ".webp",
        ".gif",
        ".bmp",
        ".dib",
        ".tif",
        ".tiff",
        ".avif",
        ".heic",
        ".heif",
        ".mpo",
        ".jp2",
    ]
)
# Folders that programs keep beside photos: thumbnails, recycle bins, archive leftovers.
JUNK_FOLDERS = frozenset({"@eadir", "#recycle", "$recycle.bin", "__macosx", "system volume information", "lost+found"})

_CHUNK = 65536
_LOOK_AHEAD = 64


@dataclass(frozen=True)
class InputItem:
    """One input: a path to read, or the bytes of an image from standard input, or an error found on the way.

    `from_folder`: it was found in a folder, not named by the user.
    """

    path: str
    content: bytes | None = None
    error: str | None = None
    from_folder: bool = False


@dataclass(frozen=True)
class FolderRules:
    """What is taken from folders. `include` and `exclude` are globs on the path below the folder or on the name."""

    recursive: bool = True
    hidden: bool = False
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def wants(self, name: str, below: str) -> bool:
        """Whether a file of a folder is a photo to take."""
        if not self.hidden and name.startswith("."):
            return False
        if self.include:
            if not _matches(self.include, name, below):
                return False
        elif not is_photo(name):
            return False
        return not _matches(self.exclude, name, below)

    def enters(self, name: str, below: str) -> bool:
        """Whether a folder is walked."""
        if not self.hidden and (name.startswith(".") or name.lower() in JUNK_FOLDERS):
            return False
        return not _matches(self.exclude, name, below)


def is_photo(name: str) -> bool:
    """Whether a file found in a folder is taken for a photo: by its suffix, in any case."""
    return os.path.splitext(name)[1].lower() in PHOTO_SUFFIXES


def find_inputs(
    arguments: Iterable[str],
    rules: FolderRules,
    *,
    read_stdin: Callable[[int], bytes],
    is_image: Callable[[bytes], bool],
    nul_separated: bool = False,
) -> Iterator[InputItem]:
    """All inputs in order: files as named, photos of folders, and for "-" what standard input holds.

    Args:
        arguments: paths, or "-".
        rules: what is taken from folders.
        read_stdin: reads at most that many bytes, as soon as there are any; b"" at the end.
        is_image: whether bytes look like the start of an image.
        nul_separated: paths on standard input end with NUL instead of a newline.
    """
    for argument in arguments:
        if argument == "-":
            yield from _from_stdin(read_stdin, is_image, nul_separated, rules)
        else:
            yield from _expand(argument, rules)


def natural_key(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """Orders names as people do: numbers by value, letters without regard to case; then by the exact name."""
    parts = [
        (0, int(part), "") if part.isdecimal() and part.isascii() else (1, 0, part)
        for part in re.split(r"([0-9]+)", name.casefold())
        if part
    ]
    return parts, name


def _expand(path: str, rules: FolderRules) -> Iterator[InputItem]:
    try:
        is_folder = os.path.isdir(path)
    except ValueError:
        is_folder = False
    if is_folder:
        yield from _walk(path, "", rules, frozenset())
    else:
        yield InputItem(path)


def _walk(folder: str, below: str, rules: FolderRules, above: frozenset[tuple[int, int]]) -> Iterator[InputItem]:
    try:
        status = os.stat(folder)
        here = (status.st_dev, status.st_ino)
        # A link to a folder that holds it would be walked for ever.
        if here in above:
            return
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=lambda entry: natural_key(entry.name))
    except OSError as error:
        yield InputItem(folder, error=f"the folder cannot be read ({error.strerror})")
        return
    folders = []
    for entry in entries:
        inside = f"{below}{entry.name}"
        if _is_folder(entry):
            if rules.recursive and rules.enters(entry.name, inside):
                folders.append((entry.path, inside))
        elif rules.wants(entry.name, inside):
            yield InputItem(entry.path, from_folder=True)
    for path, inside in folders:
        yield from _walk(path, f"{inside}/", rules, above | {here})


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _matches(globs: tuple[str, ...], name: str, below: str) -> bool:
    return any(fnmatch.fnmatchcase(name, glob) or fnmatch.fnmatchcase(below, glob) for glob in globs)


def _from_stdin(
    read: Callable[[int], bytes], is_image: Callable[[bytes], bool], nul_separated: bool, rules: FolderRules
) -> Iterator[InputItem]:
    buffer = read(_CHUNK)
    # A path could come in pieces, but no path begins like a picture, so a short first piece settles it too.
    if is_image(buffer):
        content = bytearray(buffer)
        while piece := read(_CHUNK):
            content += piece
        yield InputItem("-", bytes(content))
        return
    separator = b"\0" if nul_separated else b"\n"
    piece = buffer
    while piece:
        *lines, buffer = buffer.split(separator)
        for line in lines:
            yield from _from_line(line, nul_separated, rules)
        piece = read(_CHUNK)
        buffer += piece
    yield from _from_line(buffer, nul_separated, rules)


def _from_line(line: bytes, nul_separated: bool, rules: FolderRules) -> Iterator[InputItem]:
    # Lists written on Windows end their lines with CR LF; a name that really ends in CR can be given with NUL.
    path = os.fsdecode(line if nul_separated else line.removesuffix(b"\r"))
    if path:
        yield from _expand(path, rules)
