"""Arguments, folders and standard input -> a stream of inputs to caption.

Folders are walked lazily, one listing at a time, in natural order (photo 9 before photo 10). A path is the argument
as typed joined with the part below it; nothing is resolved, and names that are not UTF-8 pass through unharmed.
Knows nothing of images but their suffixes.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from capcli.inputs.stdin import read_stdin as read

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

# Photos, drawings and videos that cannot be read: left out of folders, and counted.
_RAW = ".3fr .arw .cr2 .cr3 .crw .dcr .dng .erf .kdc .mrw .nef .nrw .orf .pef .raf .raw .rw2 .rwl .sr2 .srf .srw .x3f"
_DRAWN = ".eps .exr .hdr .jxl .psb .psd .svg .xcf"
_MOVING = ".3gp .avi .m4v .mkv .mov .mp4 .mpg .mts .webm .wmv"
UNREAD_SUFFIXES = frozenset(f"{_RAW} {_DRAWN} {_MOVING}".split())


@dataclass(frozen=True)
class InputItem:
    """One input: a path to read, or the bytes of an image from standard input, or an error found on the way.

    `from_folder`: it was found in a folder, not named by the user. `linked_in`: the folder that was walked, where a
    symbolic link below it is on the way to the file.
    """

    path: str
    content: bytes | None = None
    error: str | None = None
    from_folder: bool = False
    linked_in: str | None = None


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

    def unread(self, name: str, below: str) -> str | None:
        """The suffix of a file that would be taken if its kind could be read."""
        suffix = os.path.splitext(name)[1].lower()
        hidden = name.startswith(".") and not self.hidden
        wanted = suffix in UNREAD_SUFFIXES and not self.include and not hidden
        return suffix if wanted and not _matches(self.exclude, name, below) else None

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
    read_stdin: Callable[[int], bytes] = lambda count: b"",
    nul_separated: bool = False,
    left_out: Counter[str] | None = None,
) -> Iterator[InputItem]:
    """All inputs in order: files as named, photos of folders, and for "-" what standard input holds.

    Args:
        arguments: paths, or "-".
        rules: what is taken from folders.
        read_stdin: reads at most that many bytes, as soon as there are any; b"" at the end.
        nul_separated: paths on standard input end with NUL instead of a newline.
        left_out: counts, by suffix, the files of folders whose kind cannot be read.
    Raises:
        UsageError: standard input holds neither an image nor paths.
    """
    for argument in arguments:
        if argument == "-":
            for held in read(read_stdin, nul_separated=nul_separated):
                if isinstance(held, bytes):
                    yield InputItem("-", held)
                else:
                    yield from _expand(held, rules, left_out)
        else:
            yield from _expand(argument, rules, left_out)


def natural_key(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """Orders names as people do: numbers by value, letters without regard to case; then by the exact name."""
    parts = [
        (0, int(part), "") if part.isdecimal() and part.isascii() else (1, 0, part)
        for part in re.split(r"([0-9]+)", name.casefold())
        if part
    ]
    return parts, name


def _expand(path: str, rules: FolderRules, left_out: Counter[str] | None) -> Iterator[InputItem]:
    try:
        is_folder = os.path.isdir(path)
    except ValueError:
        is_folder = False
    if is_folder:
        yield from _walk(path, rules, left_out)
    else:
        yield InputItem(path)


def _walk(root: str, rules: FolderRules, left_out: Counter[str] | None) -> Iterator[InputItem]:
    """Each folder once, by its own name if it has one below `root`: what only links lead to comes last."""
    seen: set[tuple[int, int]] = set()
    # What is still to be walked, the next one last: a folder's path, its path below the root, whether that has links.
    folders, links = [(root, "", False)], list[tuple[str, str, bool]]()
    while folders or links:
        if not folders:
            folders.append(links.pop(0))
        folder, below, linked = folders.pop()
        try:
            status = os.stat(folder)
            here = (status.st_dev, status.st_ino)
            if here in seen:
                continue
            seen.add(here)
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda entry: natural_key(entry.name))
        except OSError as error:
            yield InputItem(folder, error=f"the folder cannot be read ({error.strerror})")
            continue
        inner: list[tuple[str, str, bool]] = []
        for entry in entries:
            inside = f"{below}{entry.name}"
            if _is_folder(entry):
                if rules.recursive and rules.enters(entry.name, inside):
                    by_link = entry.is_symlink()
                    (links if by_link else inner).append((entry.path, f"{inside}/", linked or by_link))
            elif rules.wants(entry.name, inside):
                by_link = linked or entry.is_symlink()
                yield InputItem(entry.path, from_folder=True, linked_in=root if by_link else None)
            elif left_out is not None and (suffix := rules.unread(entry.name, inside)) is not None:
                left_out[suffix] += 1
        folders += reversed(inner)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _matches(globs: tuple[str, ...], name: str, below: str) -> bool:
    return any(fnmatch.fnmatchcase(name, glob) or fnmatch.fnmatchcase(below, glob) for glob in globs)
