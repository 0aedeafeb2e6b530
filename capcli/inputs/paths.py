"""Arguments, folders, tars and standard input -> a stream of inputs to caption.

Folders are walked lazily, one listing at a time, in natural order (photo 9 before photo 10); tars are read from their
start to their end. A path is the argument as typed joined with the part below it; nothing is resolved, and names that
are not UTF-8 pass through unharmed. Knows nothing of images but their suffixes.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from capcli.inputs.stdin import read_stdin as read
from capcli.inputs.tars import is_tar
from capcli.messages import printable, shortened

if TYPE_CHECKING:
    from capcli.inputs.tar_members import Member

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

_NUMBER = re.compile("[0-9]+")
# Kinds in a listing: f and d, in capitals what is a symbolic link.
_FOLDERS, _LINKS = "dD", "FD"

# The longest path of any system, in bytes; what is longer is the name of no file.
_LONGEST_PATH = 4096

# Photos, drawings and videos that cannot be read: left out of folders, and counted.
_RAW = ".3fr .arw .cr2 .cr3 .crw .dcr .dng .erf .kdc .mrw .nef .nrw .orf .pef .raf .raw .rw2 .rwl .sr2 .srf .srw .x3f"
_DRAWN = ".eps .exr .hdr .jxl .psb .psd .svg .xcf"
_MOVING = ".3gp .avi .m4v .mkv .mov .mp4 .mpg .mts .webm .wmv"
RAW_SUFFIXES = frozenset(_RAW.split())
UNREAD_SUFFIXES = RAW_SUFFIXES | frozenset(f"{_DRAWN} {_MOVING}".split())


@dataclass(frozen=True)
class InputItem:
    """One input: a path to read, or an image's bytes, or an error found on the way.

    `content`: the bytes of an image from standard input; or what reads those of a photo in a tar, to be called once,
    before the next input is taken, and raising an ImageError. `from_folder`: it was found in a folder or a tar, not
    named by the user. `linked_in`: the folder that was walked, where a symbolic link below it is on the way to the
    file. `finished`: this is no input, but the news that all of a tar has been read, whatever an earlier run met there.
    `changed`: when a photo in a tar was, in seconds since 1970.
    """

    path: str
    content: bytes | Callable[[], bytes] | None = None
    error: str | None = None
    from_folder: bool = False
    linked_in: str | None = None
    finished: bool = False
    changed: float | None = None

    @property
    def is_file(self) -> bool:
        """Whether it is a file of its own, beside which there is a place for others."""
        return self.content is None and self.error is None

    @property
    def is_nameless(self) -> bool:
        """Whether it came from standard input as bytes."""
        return isinstance(self.content, bytes)


@dataclass(frozen=True)
class FolderRules:
    """What is taken from folders and tars. `include` and `exclude` are globs on the path below it or on the name."""

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
    """All inputs in order: files as named, photos of folders and tars, and for "-" what standard input holds.

    A tar is one only where it is named; in a folder, and on standard input, it is a file like others.

    Args:
        arguments: paths, or "-".
        rules: what is taken from folders and tars.
        read_stdin: reads at most that many bytes, as soon as there are any; b"" at the end.
        nul_separated: paths on standard input end with NUL instead of a newline.
        left_out: counts, by suffix, the files of folders and tars whose kind cannot be read.
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
        elif is_tar(argument):
            yield from _unpack(argument, rules, left_out)
        else:
            yield from _expand(argument, rules, left_out)


def natural_key(name: str) -> tuple[str, str]:
    """Orders names as people do: numbers by value, letters without regard to case; then by the exact name."""
    return _NUMBER.sub(_by_value, name.casefold()), name


def _by_value(digits: re.Match[str]) -> str:
    """A number as text that is in order: before all letters, and the one with more digits is the larger one."""
    value = digits[0].lstrip("0")
    return f"\0{chr(1 + len(value))}{value}"


def _expand(path: str, rules: FolderRules, left_out: Counter[str] | None) -> Iterator[InputItem]:
    if os.path.isdir(path):
        yield from _walk(path, rules, left_out)
    else:
        yield InputItem(path)


def _unpack(path: str, rules: FolderRules, left_out: Counter[str] | None) -> Iterator[InputItem]:
    """The photos of a tar, and last what is wrong with the tar, or that nothing is."""
    from capcli.inputs.tar_members import TarError, read_members

    wrong, last, photos, refused, one_refused = "", "", 0, 0, ""
    try:
        for member in read_members(path):
            last, whole = member.name, f"{path}/{member.name}"
            parts = [part for part in last.split("/") if part not in ("", os.curdir)]
            if member.kind == "folder" or not parts:
                continue
            # Such a path would be that of another file, or of none.
            if os.pardir in parts or "\0" in last or len(os.fsencode(whole)) > _LONGEST_PATH:
                if is_photo(last):
                    refused, one_refused = refused + 1, one_refused or last
                continue
            if not _takes(rules, parts, left_out):
                continue
            photos += 1
            if member.kind != "file":
                yield InputItem(whole, error=_not_read(member), from_folder=True, changed=member.changed)
            else:
                member.hold()
                yield InputItem(whole, member.read, from_folder=True, changed=member.changed)
    except TarError as error:
        after = f"; nothing after {shortened(printable(last))} was read" if last else ""
        wrong = f"{error}{after}"
    if refused:
        left = f"{refused} left out whose names are no paths below it, such as {shortened(printable(one_refused))}"
        wrong = f"{wrong}; {left}" if wrong else left
    if not wrong and not photos:
        wrong = "holds no photo"
    yield InputItem(path, error=wrong or None, finished=not wrong)


def _takes(rules: FolderRules, parts: list[str], left_out: Counter[str] | None) -> bool:
    """Whether a member of a tar would be taken if it lay so in a folder."""
    *folders, name = parts
    below = "/".join(parts)
    walked = (rules.enters(folder, "/".join(parts[:depth])) for depth, folder in enumerate(folders, 1))
    if (folders and not rules.recursive) or not all(walked):
        return False
    if rules.wants(name, below):
        return True
    if left_out is not None and (suffix := rules.unread(name, below)) is not None:
        left_out[suffix] += 1
    return False


def _not_read(member: Member) -> str:
    what = {"link": "is a link within the tar", "file with holes": "is stored as a file with holes"}
    return f"{what.get(member.kind, 'is no regular file')}, which is not read"


def _walk(root: str, rules: FolderRules, left_out: Counter[str] | None) -> Iterator[InputItem]:
    """Each folder once, by its own name if it has one below `root`: what only links lead to comes last."""
    seen: set[tuple[int, int]] = set()
    # What is still to be walked, the next one last: a folder's path, its path below the root, whether that has links.
    folders, links = [(root, "", False)], deque[tuple[str, str, bool]]()
    while folders or links:
        if not folders:
            folders.append(links.popleft())
        folder, below, linked = folders.pop()
        try:
            status = os.stat(folder)
            here = (status.st_dev, status.st_ino)
            if here in seen:
                continue
            seen.add(here)
            entries = _listing(folder)
        except OSError as error:
            yield InputItem(folder, error=f"the folder cannot be read ({error.strerror})")
            continue
        inner: list[tuple[str, str, bool]] = []
        for entry in entries:
            name, kind = entry[:-2].rpartition("\0\0")[2], entry[-1]
            path, inside = os.path.join(folder, name), f"{below}{name}"
            by_link = linked or kind in _LINKS
            if kind in _FOLDERS:
                if rules.recursive and rules.enters(name, inside):
                    (links if kind in _LINKS else inner).append((path, f"{inside}/", by_link))
            elif rules.wants(name, inside):
                yield InputItem(path, from_folder=True, linked_in=root if by_link else None)
            elif left_out is not None and (suffix := rules.unread(name, inside)) is not None:
                left_out[suffix] += 1
        folders += reversed(inner)


def _listing(folder: str) -> list[str]:
    """What is in a folder, in natural order: each as one text, of its key, its name and its kind.

    A folder may hold a million files; entries and keys of several parts would take seven times the memory.
    """
    with os.scandir(folder) as entries:
        listing = ["\0\0".join(natural_key(entry.name)) + f"\0{_kind(entry)}" for entry in entries]
    listing.sort()
    return listing


def _kind(entry: os.DirEntry[str]) -> str:
    try:
        return "fFdD"[2 * entry.is_dir() + entry.is_symlink()]
    except OSError:
        return "f"


def _matches(globs: tuple[str, ...], name: str, below: str) -> bool:
    return any(fnmatch.fnmatchcase(name, glob) or fnmatch.fnmatchcase(below, glob) for glob in globs)
