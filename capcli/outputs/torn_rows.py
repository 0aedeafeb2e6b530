"""What the end of a file of rows can be: torn off by a kill, whole but for its line end, or somebody's own.

A kill leaves at most a part of the header or of one record; a crashed file system may put NUL bytes after that. All
else was put there by a person and is never cut away. Knows nothing of files: it looks at the bytes after the last
record.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Sequence

from capcli.outputs.records import RecordError, Records
from capcli.outputs.rows import BYTE_ORDER_MARK, LONGEST_RECORD, Row

# As many rows as a system that writes them back every 30 seconds can lose.
_MOST_NULS = 1 << 20
# What the writer of CSV puts into a line: quotes only around whole cells, doubled within.
_CELL = rb'(?:"(?:[^"]|"")*+"|[^",\r\n]*+)'
_TORN_CSV = re.compile(rb'((?:%s,)*)(?:%s\r?|("(?:[^"]|"")*+))' % (_CELL, _CELL))
_CR_ALONE = "its lines end with CR alone; save the file with LF or CR LF"


def without_nuls(tail: bytes, line: int) -> bytes:
    """A tail without the NUL bytes that a crash may leave after it.

    Raises:
        RecordError: there are too many of them.
    """
    rest = tail.rstrip(b"\0")
    if len(tail) - len(rest) > _MOST_NULS:
        raise RecordError(line, f"{len(tail) - len(rest)} NUL bytes follow, more than a crash leaves")
    return rest


def whole_row(name: str, records: Records, tail: bytes, line: int) -> Row | None:
    """The row that a tail certainly holds, only without its line end; None where it may be a part of one.

    JSON shows its end. In CSV and TSV an empty last cell, the note or the error, does, where there is a caption and no
    error: no record goes on after it but with a note, and losing that is better than losing a row that a person wrote.
    Text never shows it.
    """
    content = tail.removesuffix(b"\r")
    if name == "text" or not records.has_header or not content or b"\n" in content or b"\r" in content:
        return None
    if name != "jsonl" and not content.endswith((b",", b"\t", b',""')):
        return None
    try:
        row = records.parse(content, line)
    except RecordError:
        return None
    return row if name == "jsonl" or (row is not None and row.caption is not None and row.error is None) else None


def check_torn_row(name: str, columns: Sequence[str], tail: bytes, line: int) -> None:
    """Takes a tail that may be the beginning of one record.

    Args:
        name: the format's.
        columns: of a record.
        tail: without line end and NUL bytes.
        line: its first line, counted from 1.
    Raises:
        RecordError: a kill cannot have left it.
    """
    if name == "csv":
        reason = _no_torn_csv(columns, tail)
    elif b"\r" in tail[:-1]:
        reason = _CR_ALONE
    elif name == "jsonl":
        start = f'{{"{columns[0]}": '.encode()
        torn = tail.startswith(start) or start.startswith(tail)
        reason = None if torn and not _is_json(tail) else "is no row, and has no end"
    else:
        cells = tail.count(b"\t") + 1
        reason = None if cells <= len(columns) else f"{cells} cells instead of {len(columns)}"
    if len(tail) >= LONGEST_RECORD:
        reason = reason or "is longer than any row, and has no end"
    if reason is not None:
        raise RecordError(line, reason)


def check_torn_header(header: bytes, tail: bytes) -> None:
    """Takes a tail, with nothing before it, that may be the beginning of the header.

    Raises:
        RecordError: a kill cannot have left it.
    """
    start = tail.removeprefix(BYTE_ORDER_MARK)
    if header.removeprefix(BYTE_ORDER_MARK).startswith(start.removesuffix(b"\r")) or BYTE_ORDER_MARK.startswith(tail):
        return
    raise RecordError(1, _CR_ALONE if b"\r" in start[:-1] else "is no header that capcli wrote, and has no end")


def _no_torn_csv(columns: Sequence[str], tail: bytes) -> str | None:
    """Why a tail cannot be the beginning of a record of CSV; None if it can."""
    match = _TORN_CSV.fullmatch(tail)
    if match is None:
        outside = re.sub(rb'"(?:[^"]|"")*+"?', b"", tail)
        return _CR_ALONE if b"\r" in outside[:-1] else "a quote stands within a cell, or is never closed"
    whole, opened = match[1], match[2]
    before = len(re.findall(rb"%s," % _CELL, whole))
    if before >= len(columns):
        return f"{before + 1} cells instead of {len(columns)}"
    if opened is None or b"\n" not in opened:
        return None
    # Only paths, errors and notes hold line ends. One whose lines are rows was opened by a slip of somebody's hand.
    first, *others = opened[1:].split(b"\n")
    lines = [first, *others] if columns[before] == "path" else others
    if columns[before] not in ("path", "error", "note") or any(_is_row(columns, line) for line in lines):
        return "a quote is never closed"
    return None


def _is_json(tail: bytes) -> bool:
    """Whether it is whole, which a torn record never is."""
    try:
        json.loads(tail.decode("utf-8", "surrogateescape"))
    except ValueError:
        return False
    return True


def _is_row(columns: Sequence[str], line: bytes) -> bool:
    """Whether a line is a row by itself."""
    try:
        cells = next(csv.reader([line.decode("utf-8", "surrogateescape").removesuffix("\r")]), [])
    except csv.Error:  # a CR within the line, or a cell longer than any
        return False
    if len(cells) != len(columns):
        return False
    try:
        float(cells[list(columns).index("score")] or "0")
    except ValueError:
        return False
    return True
