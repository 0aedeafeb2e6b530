"""Text files of uncertain encoding -> text and lines. Knows nothing of what they say."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from capcli.errors import DataError

_HEAD_BYTES = 4096


@dataclass(frozen=True)
class Line:
    """A line of a file; the first has the number 1."""

    number: int
    text: str


def read_text(path: Path) -> str:
    """The text of a file in UTF-8 or, with its mark, UTF-16.

    Bytes that are not UTF-8 become surrogate escapes, as in Python's paths: they may be part of one. What turns out
    to be a sentence goes through `mend_bytes`.

    Raises:
        DataError: the file cannot be read, or holds no text.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
            wide = head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
            if b"\0" in head and not wide:
                raise DataError(f"{path}: a binary file, not text")
            data = head + file.read()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    return data.decode("utf-16", "replace") if wide else data.decode("utf-8-sig", "surrogateescape")


def lines_of(text: str) -> Iterator[str]:
    """Lines without their ends; unlike str.splitlines, only at line feeds and carriage returns."""
    return (line.rstrip("\n") for line in io.StringIO(text, newline=None))


def first_line(text: str) -> Line | None:
    """The first line that is not blank; None where all are."""
    return next((Line(number, line) for number, line in enumerate(lines_of(text), 1) if line.strip()), None)


def mend_bytes(text: str) -> str:
    """Reads the bytes of `text` that are not UTF-8 (surrogate escapes) as Windows-1252; text without them is kept."""
    if text.isascii():
        return text
    return "".join(_mended(character) if "\ud800" <= character <= "\udfff" else character for character in text)


def _mended(surrogate: str) -> str:
    if not "\udc80" <= surrogate <= "\udcff":
        return "\N{REPLACEMENT CHARACTER}"
    byte = bytes([ord(surrogate) - 0xDC00])
    try:
        return byte.decode("cp1252")
    except UnicodeDecodeError:
        return byte.decode("latin-1")
