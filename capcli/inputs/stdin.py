"""Standard input -> one image's bytes, or paths as soon as each is known.

What holds neither is told from its first bytes. Knows nothing of folders, and of images but how they begin.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator

from capcli.errors import UsageError
from capcli.inputs.kinds import HEAD_BYTES, is_foreign, is_text, name_foreign, sniff

_CHUNK = 65536
# No system takes a longer path; without this, a stream without line ends would be kept in memory, and be told, whole.
LONGEST_PATH = 65536
_UTF8_MARK = b"\xef\xbb\xbf"
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
# How JPEG, PNG, GIF, WEBP and any data URI begin in base64.
_BASE64 = re.compile(rb"(?:data:image/[\w.+-]+;base64,|(?:/9j/|iVBORw0KGgo|R0lGOD|UklGR)[A-Za-z0-9+/=]{40})")


def read_stdin(read: Callable[[int], bytes], *, nul_separated: bool) -> Iterator[str | bytes]:
    """What standard input holds: one image, as bytes, or paths, as text.

    Lines may end with CR LF. A byte order mark is no part of the first path.

    Args:
        read: returns up to so many bytes as soon as any are there, b"" at the end.
        nul_separated: paths end with NUL instead of a newline.
    Raises:
        UsageError: it holds neither an image nor paths, or paths that end otherwise.
    """
    separator = b"\0" if nul_separated else b"\n"
    # Asked no more after its end: a terminal would wait for another one.
    pieces = iter(lambda: read(_CHUNK), b"")
    buffer = next(pieces, b"")
    # It may come in small pieces, but a path is told as soon as it is known.
    while len(buffer) < HEAD_BYTES and not _is_image(buffer) and (separator not in buffer or sniff(buffer) is not None):
        piece = next(pieces, b"")
        if not piece:
            break
        buffer += piece
    if _is_image(buffer):
        yield b"".join([buffer, *pieces])
        return
    _refuse_others(buffer, nul_separated)
    buffer = buffer.removeprefix(_UTF8_MARK)
    ended = False
    piece = buffer
    while piece:
        *paths, buffer = buffer.split(separator)
        ended = ended or bool(paths)
        for path in paths:
            yield from _one(path, nul_separated)
        if len(buffer) > LONGEST_PATH:
            raise UsageError(_too_long(nul_separated))
        piece = next(pieces, b"")
        buffer += piece
    if nul_separated and not ended and b"\n" in buffer and not os.path.lexists(buffer):
        raise UsageError("standard input holds lines and no NUL byte; leave out -0")
    yield from _one(buffer, nul_separated)


def _one(path: bytes, nul_separated: bool) -> Iterator[str]:
    # Lists written on Windows end their lines with CR LF; a name that really ends in CR can be given with NUL.
    path = path if nul_separated else path.removesuffix(b"\r")
    if len(path) > LONGEST_PATH:
        raise UsageError(_too_long(nul_separated))
    if not nul_separated and b"\0" in path:
        raise UsageError(_HOLDS_NUL)
    if path:
        yield os.fsdecode(path)


_HOLDS_NUL = "standard input holds NUL bytes: add -0 if it is a list of paths that end with them"


def _too_long(nul_separated: bool) -> str:
    end = "NUL byte" if nul_separated else "line end"
    more = "; leave out -0 if it is a list of lines" if nul_separated else ""
    return f"standard input holds neither an image nor paths: {LONGEST_PATH} bytes without a {end}{more}"


def _refuse_others(start: bytes, nul_separated: bool) -> None:
    """Raises UsageError for what begins like something else, and not like a path that is there."""
    if start.startswith(_UTF16_MARKS) or (not nul_separated and _is_wide(start)):
        raise UsageError("standard input is text in UTF-16; save the list as UTF-8")
    first = start.removeprefix(_UTF8_MARK).split(b"\0" if nul_separated else b"\n", 1)[0].removesuffix(b"\r")
    if b"\0" not in first and len(first) < LONGEST_PATH and os.path.lexists(first):
        return
    if _BASE64.match(start) is not None:
        raise UsageError("standard input is an image in base64; decode it first: base64 -d")
    if is_foreign(start[:HEAD_BYTES]):
        raise UsageError(f"standard input {name_foreign(start[:HEAD_BYTES])}")
    if not nul_separated and b"\0" in start:
        raise UsageError(_HOLDS_NUL)
    if b"\r" in first and len(first) == len(start.removeprefix(_UTF8_MARK).removesuffix(b"\r")):
        raise UsageError("standard input's lines end with CR alone; save the list with LF or CR LF")


def _is_image(start: bytes) -> bool:
    """Whether it begins like an image; a list of GIF89a.gif and the like does, too, but is text."""
    return sniff(start) is not None and not is_text(start[:HEAD_BYTES])


def _is_wide(start: bytes) -> bool:
    """Whether every other byte of what else is text is 0, as in UTF-16 without a mark."""
    start = start[:HEAD_BYTES]
    halves = start[::2], start[1::2]
    return len(start) >= 8 and any(is_text(one) and not any(other) for one, other in (halves, halves[::-1]))
