"""A tar, plain or packed with gzip -> its members, one after the other, in bounded memory.

Nothing is unpacked to disk, and what a tar claims is never believed before it is there. Headers are read by `tarfile`,
but not the tar: it reads a header of any size into memory, keeps all members, and takes a damaged header in the middle
for the end. Knows nothing of photos.
"""

from __future__ import annotations

import gzip
import os
import tarfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from capcli.errors import ImageError
from capcli.inputs.tars import GZIP

# A larger member is not read: all of it would have to be in memory. As much as of a file that is mended.
MOST_BYTES = 1 << 30
# Headers of headers (long names, times) take some hundred bytes.
_MOST_HEADER = 1 << 20
# So much is looked at after the end: tars are filled up to 10 KiB.
_MOST_AFTER = 1 << 16
_CHUNK = 1 << 16
_EXTENDED = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
_SKIPPED = (tarfile.XGLTYPE, tarfile.GNUTYPE_LONGLINK)
# The bytes that say whether an old GNU header of a file with holes goes on in another block, and that one in a next.
_GOES_ON, _GOES_ON_AGAIN = 482, 504


class TarError(Exception):
    """A tar that cannot be read any further. The message does not name it."""


class Member:
    """One member.

    `name` as it is stored, bytes that are not UTF-8 as surrogates. `kind`: "file", "folder", "link", "file with holes"
    or "other". `changed`: when the file was, in seconds since 1970.
    """

    def __init__(self, name: str, kind: str, size: int, changed: float, stream: _Stream) -> None:
        self.name = name
        self.kind = kind
        self.size = size
        self.changed = changed
        self._stream = stream
        self._start = stream.place
        self._held: bytes | None = None

    def hold(self) -> None:
        """Reads what a packed tar cannot be sure to hold, and a plain one never fails to.

        Raises:
            TarError: the tar ends within it, or is damaged there.
        """
        if self._stream.packed and self.size <= MOST_BYTES:
            self._held = self._stream.read(self.size)

    def read(self) -> bytes:
        """Its bytes, once, and before the next member is asked for.

        Raises:
            ImageError: it is too large, or the tar was changed meanwhile.
        """
        if self.size > MOST_BYTES:
            raise ImageError(
                f"is too large: {self.size} bytes, more than the {MOST_BYTES} that are read of one in a tar"
            )
        content, self._held = self._held, None
        if content is not None:
            return content
        if self._stream.place != self._start:
            raise ImageError("was not read when its turn came: a tar is read from its start to its end")
        try:
            return self._stream.read(self.size)
        except TarError as error:
            raise ImageError(f"cannot be read: the tar {error}") from error


def read_members(path: str) -> Iterator[Member]:
    """The members of a tar, in their order.

    Raises:
        TarError: it is no tar, ends too early, is damaged, or cannot be read; after the members that come before that.
    """
    try:
        with open(path, "rb") as file:
            packed = file.read(len(GZIP)) == GZIP
            file.seek(0)
            if packed:
                with gzip.GzipFile(fileobj=file) as unpacked:
                    yield from _members(_Stream(unpacked, None))
            else:
                yield from _members(_Stream(file, os.fstat(file.fileno()).st_size))
    except OSError as error:
        raise TarError(f"cannot be read ({error.strerror or error})") from error


class _Stream:
    """The bytes of a tar, from its start to its end. `length` is None where only reading tells it."""

    def __init__(self, file: BinaryIO | gzip.GzipFile, length: int | None) -> None:
        self._file = file
        self._length = length
        self.packed = length is None
        self.place = 0

    def read(self, count: int) -> bytes:
        """Exactly so many bytes.

        Raises:
            TarError: there are fewer.
        """
        content = self.read_up_to(count)
        if len(content) < count:
            raise TarError("ends too early")
        return content

    def read_up_to(self, count: int) -> bytes:
        try:
            content = self._file.read(count)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            if isinstance(error, EOFError):
                raise TarError("ends too early") from error
            raise TarError("is damaged: what gzip has packed cannot be unpacked") from error
        except OSError as error:
            raise TarError(f"cannot be read any further ({error.strerror or error})") from error
        except MemoryError as error:
            raise TarError("holds a file that does not fit into memory") from error
        self.place += len(content)
        return content

    def check(self, count: int) -> None:
        """Raises TarError where so many bytes are known not to be there."""
        if self._length is not None and self.place + count > self._length:
            raise TarError("ends too early")

    def go_to(self, place: int) -> None:
        if self._length is not None:
            self.check(place - self.place)
            self._file.seek(place)
            self.place = place
        while self.place < place:
            self.read(min(_CHUNK, place - self.place))


def _members(stream: _Stream) -> Iterator[Member]:
    long_name: str | None = None
    records: dict[bytes, bytes] = {}
    while (header := _next_header(stream)) is not None:
        size = header.size
        if header.type in _EXTENDED or header.type == tarfile.GNUTYPE_LONGNAME:
            content = _extra(stream, size)
            if header.type == tarfile.GNUTYPE_LONGNAME:
                long_name = os.fsdecode(content.partition(b"\0")[0])
            else:
                records = _records(content)
            continue
        if header.type in _SKIPPED:
            stream.go_to(stream.place + _padded(size))
            continue
        name = header.name if long_name is None else long_name
        if b"path" in records:
            name = records[b"path"].decode("utf-8", "surrogateescape")
        if header.isreg() and b"size" in records:
            size = _whole_number(records[b"size"])
        kind = _kind(header, name, records)
        # As `tarfile` has it: what it does not know has content, what it knows and is no file has none.
        has_content = header.isreg() or header.type not in tarfile.SUPPORTED_TYPES
        end = stream.place + (_padded(size) if has_content else 0)
        if has_content:
            stream.check(size)
        long_name, records = None, {}
        yield Member(name, kind, size, header.mtime, stream)
        stream.go_to(end)


def _next_header(stream: _Stream) -> tarfile.TarInfo | None:
    """The next header; None at the end."""
    first = stream.place == 0
    # What is shorter than its first block is no tar at all.
    block = stream.read_up_to(tarfile.BLOCKSIZE) if first else stream.read(tarfile.BLOCKSIZE)
    try:
        header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        if len(block) == tarfile.BLOCKSIZE and not any(block):
            # With gzip this also reads, and checks, the sum of what was packed.
            if any(stream.read_up_to(_MOST_AFTER)):
                raise TarError(
                    "goes on after its end, as tars do that were joined; what follows is not read"
                ) from error
            return None
        raise TarError(
            "is no tar, plain or packed with gzip" if first else "is damaged: the next header cannot be read"
        ) from error
    if header.size < 0:
        raise TarError("is damaged: a member has a negative size")
    if header.type == tarfile.GNUTYPE_SPARSE:
        goes_on = block[_GOES_ON]
        while goes_on:
            goes_on = stream.read(tarfile.BLOCKSIZE)[_GOES_ON_AGAIN]
    return header


def _kind(header: tarfile.TarInfo, name: str, records: dict[bytes, bytes]) -> str:
    # As other readers have it, whatever the header says of a name that ends so.
    if header.isdir() or name.endswith("/"):
        return "folder"
    if header.issym() or header.islnk():
        return "link"
    if header.type == tarfile.GNUTYPE_SPARSE or any(key.startswith(b"GNU.sparse.") for key in records):
        return "file with holes"
    return "file" if header.isreg() else "other"


def _extra(stream: _Stream, size: int) -> bytes:
    """What belongs to the header of the next member."""
    if size > _MOST_HEADER:
        raise TarError(f"is damaged: a header of {size} bytes")
    content = stream.read(size)
    stream.go_to(stream.place + _padded(size) - size)
    return content


def _records(content: bytes) -> dict[bytes, bytes]:
    """The records "LENGTH KEY=VALUE\\n" of an extended header (POSIX.1-2001, pax)."""
    records: dict[bytes, bytes] = {}
    place = 0
    while place < len(content) and content[place]:
        digits = content[place : place + 8].partition(b" ")[0]
        end = place + _whole_number(digits)
        record = content[place + len(digits) + 1 : end]
        key, equals, value = record[:-1].partition(b"=")
        if end > len(content) or not record.endswith(b"\n") or not equals:
            raise TarError("is damaged: a header cannot be read")
        records[key] = value
        place = end
    return records


def _whole_number(digits: bytes) -> int:
    if not digits.isdigit() or len(digits) > 20:
        raise TarError("is damaged: a header cannot be read")
    return int(digits)


def _padded(size: int) -> int:
    return -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
