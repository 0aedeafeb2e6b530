"""What a job is to caption: local inputs and URLs -> a list of photos, each once, and how an actor gets at each.

Rows hold a path as it was typed; actors read an absolute one, as bytes, so that any name will do. Knows nothing of Ray.
"""

from __future__ import annotations

import functools
import itertools
import os
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from capcli.errors import ImageError, UsageError
from capcli.inputs.paths import FolderRules, InputItem
from capcli.messages import shortened

if TYPE_CHECKING:
    from pyarrow.fs import FileInfo, FileSystem

    from capcli.inputs.ages import Newer

_URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
# As much as of a member of a tar: it is held in memory.
_MOST_BYTES = 1 << 30
_LOCAL = -1
_AT_ONCE = 10_000
SCHEMA = pa.schema([("path", pa.string()), ("place", pa.binary()), ("source", pa.int32()), ("problem", pa.string())])


@dataclass(frozen=True, slots=True)
class Photo:
    """One photo. `path` is what its rows hold; `place` where it lies in the file system number `source`, -1 for the
    local one. `problem` is the reason why it cannot be read, where that is known."""

    path: str
    place: bytes
    source: int = _LOCAL
    problem: str | None = None


def is_url(argument: str) -> bool:
    """Whether an argument names something that is not in the local file system."""
    return _URL.match(argument) is not None


def in_rows(path: str) -> str:
    """A path as a column of text may have it: bytes that are not UTF-8 as escapes `\\udcXX`, as JSON writes them."""
    return "".join(f"\\u{ord(char):04x}" if 0xD800 <= ord(char) <= 0xDFFF else char for char in path)


def local_photos(items: Iterable[InputItem]) -> Iterator[Photo]:
    """Photos of this machine, or of a disk that all nodes have.

    Raises:
        UsageError: an image has no file of its own, on standard input or in a tar.
    """
    here = os.getcwd()
    for item in items:
        if item.is_nameless:
            raise UsageError("a picture on standard input has no name; give its path")
        if item.finished or item.content is not None:
            raise UsageError(
                f"{shortened(item.path)}: lies in a tar, which capcli ray does not read; capcli caption does, and so "
                "does capcli.scale_out.caption_dataset on ray.data.read_webdataset"
            )
        # Not shortened: only the file system knows what "link/.." is.
        yield Photo(in_rows(item.path), os.fsencode(os.path.join(here, item.path)), problem=item.error)


def remote_photos(
    url: str, source: int, filesystem: FileSystem, root: str, rules: FolderRules, newer: Newer | None = None
) -> Iterator[Photo]:
    """Photos at a URL: it itself where it names a file, else what is below it, in the order of their names.

    Args:
        url: as it was typed; rows hold what comes before its query, joined with the part below.
        source: the number of its file system.
        filesystem, root: what the URL names.
        rules: what is taken from folders.
        newer: takes those that are new enough, by the file system's times; None takes all.
    Raises:
        UsageError: it cannot be listed.
    """
    from pyarrow.fs import FileSelector, FileType

    shown = url.partition("?")[0].rstrip("/")
    try:
        itself = filesystem.get_file_info(root)
        if itself.type == FileType.File:
            if _is_new(itself, newer):
                yield Photo(in_rows(shown), root.encode(), source)
            return
        found = filesystem.get_file_info(FileSelector(root, recursive=rules.recursive))
    except OSError as error:
        raise UsageError(f"{shortened(url)}: cannot be listed ({_first_line(error)})") from error
    for info in sorted(found, key=lambda each: each.path):
        below = posixpath.relpath(info.path, root)
        *folders, name = below.split("/")
        entered = all(rules.enters(folder, "/".join(folders[:depth])) for depth, folder in enumerate(folders, 1))
        if info.type == FileType.File and entered and rules.wants(name, below) and _is_new(info, newer):
            yield Photo(in_rows(f"{shown}/{below}"), info.path.encode(), source)


def _is_new(info: FileInfo, newer: Newer | None) -> bool:
    return newer is None or newer.takes(None if info.mtime_ns is None else info.mtime_ns / 1e9)


def filesystem_of(url: str) -> tuple[FileSystem, str]:
    """The file system that a URL names, and the path in it.

    Raises:
        UsageError: there is no such.
    """
    from pyarrow.fs import FileSystem

    try:
        filesystem, root = FileSystem.from_uri(url)
    except (OSError, ValueError) as error:
        raise UsageError(f"{shortened(url)}: no place that can be read ({_first_line(error)})") from error
    return filesystem, root


def as_table(photos: Iterable[Photo]) -> pa.Table:
    """Photos as a table, which takes much less memory."""
    photos, tables = iter(photos), [SCHEMA.empty_table()]
    while some := list(itertools.islice(photos, _AT_ONCE)):
        tables.append(pa.table({name: [getattr(each, name) for each in some] for name in SCHEMA.names}, SCHEMA))
    return pa.concat_tables(tables)


def images_of(table: pa.Table, filesystems: Sequence[FileSystem]) -> list[Any]:
    """What `CaptionImages.rows` takes for each line of such a table."""
    columns = (table.column(name).to_pylist() for name in ("place", "source", "problem"))
    return [_image(place, source, problem, filesystems) for place, source, problem in zip(*columns, strict=True)]


def _image(place: bytes, source: int, problem: str | None, filesystems: Sequence[FileSystem]) -> Any:
    if problem is not None:
        return functools.partial(_fail, problem)
    if source == _LOCAL:
        return os.fsdecode(place)
    fetch: Callable[[], bytes] = functools.partial(_fetch, filesystems[source], place.decode())
    return fetch


def _fail(problem: str) -> bytes:
    raise ImageError(problem)


def _fetch(filesystem: FileSystem, path: str) -> bytes:
    try:
        with filesystem.open_input_file(path) as file:
            if file.size() > _MOST_BYTES:
                raise ImageError(f"is too large: {file.size()} bytes, more than the {_MOST_BYTES} that are fetched")
            content: bytes = file.read()
            return content
    except FileNotFoundError as error:
        raise ImageError("no such file") from error
    except (OSError, MemoryError) as error:
        raise ImageError(f"cannot be fetched ({_first_line(error)})") from error


def _first_line(error: BaseException) -> str:
    return shortened(str(error).partition("\n")[0] or type(error).__name__)
