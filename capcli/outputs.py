"""Results as text, CSV, TSV or JSON Lines, and the file they go to.

CSV follows RFC 4180 (quoted where needed, CR LF after each record) and keeps a
path's bytes as they are; TSV and text write backslash, tab, CR and LF as `\\\\ \\t \\r \\n`; JSON writes undecodable
bytes as `\\udcXX`. Every record is written whole and at once. Knows nothing of models.
"""

from __future__ import annotations

import contextlib
import csv
import errno
import io
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Protocol

from capcli.errors import OutputError, UsageError

FORMATS = ("text", "csv", "tsv", "jsonl")
_SUFFIXES = {".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".txt": "text"}
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\r": "\\r", "\n": "\\n"})


@dataclass(frozen=True)
class Row:
    """One caption of one path, or the reason why there is none. `rank` counts from 1 where several were asked for."""

    path: str
    caption: str | None
    score: float | None
    error: str | None
    rank: int | None = None


class RowFormat(Protocol):
    """How rows become bytes."""

    def header(self) -> bytes: ...

    def record(self, row: Row) -> bytes: ...


def format_of(path: Path | None, chosen: str | None, default: str = "text") -> str:
    """The format's name: the one chosen, else by the file's suffix.

    Raises:
        UsageError: no such format, or the suffix says nothing.
    """
    if chosen is not None:
        if chosen not in FORMATS:
            raise UsageError(f"no format {chosen!r}; choose one of {', '.join(FORMATS)}")
        return chosen
    if path is None:
        return default
    try:
        return _SUFFIXES[path.suffix.lower()]
    except KeyError:
        raise UsageError(f"{path}: its suffix names no format; use .csv, .tsv, .jsonl or .txt, or --format") from None


def row_format(name: str, *, ranked: bool, with_path: bool = True) -> RowFormat:
    """The format with this name.

    Args:
        name: one of `FORMATS`.
        ranked: whether rows have a rank.
        with_path: False prints text captions alone, for a single photo.
    """
    columns = ["path", "caption", "score", "error"]
    if ranked:
        columns.insert(1, "rank")
    if name == "csv":
        return _CsvFormat(columns)
    if name == "tsv":
        return _TsvFormat(columns)
    if name == "jsonl":
        return _JsonFormat(columns)
    return _TextFormat(with_path)


@dataclass(frozen=True)
class _CsvFormat:
    columns: Sequence[str]

    def header(self) -> bytes:
        return self._line(self.columns)

    def record(self, row: Row) -> bytes:
        return self._line([_cell(row, column) for column in self.columns])

    def _line(self, cells: Sequence[str]) -> bytes:
        line = io.StringIO()
        csv.writer(line, lineterminator="\r\n").writerow(cells)
        return line.getvalue().encode("utf-8", "surrogateescape")


@dataclass(frozen=True)
class _TsvFormat:
    columns: Sequence[str]

    def header(self) -> bytes:
        return ("\t".join(self.columns) + "\n").encode()

    def record(self, row: Row) -> bytes:
        cells = [_cell(row, column).translate(_ESCAPES) for column in self.columns]
        return ("\t".join(cells) + "\n").encode("utf-8", "surrogateescape")


@dataclass(frozen=True)
class _JsonFormat:
    columns: Sequence[str]

    def header(self) -> bytes:
        return b""

    def record(self, row: Row) -> bytes:
        values = {column: getattr(row, column) for column in self.columns}
        if row.score is not None:
            values["score"] = round(row.score, 4)
        # Undecodable bytes are lone surrogates here; JSON has an escape for them, UTF-8 has no bytes.
        text = json.dumps(values, ensure_ascii=any(0xD800 <= ord(char) <= 0xDFFF for char in row.path))
        return (text + "\n").encode("utf-8")


@dataclass(frozen=True)
class _TextFormat:
    with_path: bool

    def header(self) -> bytes:
        return b""

    def record(self, row: Row) -> bytes:
        # Errors are told on stderr; a line without a caption would only confuse what reads the lines.
        if row.caption is None:
            return b""
        path = row.path.translate(_ESCAPES) + "\t" if self.with_path else ""
        return f"{path}{row.caption}\n".encode("utf-8", "surrogateescape")


def _cell(row: Row, column: str) -> str:
    value = getattr(row, column)
    if value is None:
        return ""
    return f"{value:.4f}" if column == "score" else str(value)


def read_rows(path: Path, format_name: str) -> Iterator[Row]:
    """Rows of a file that this module wrote, paths byte for byte."""
    # A spreadsheet that saved the file may have put a byte order mark before the header.
    with path.open("r", encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        if format_name == "jsonl":
            for line in file:
                yield _row(json.loads(line))
        elif format_name == "csv":
            for cells in csv.DictReader(file):
                yield _row(cells)
        else:
            columns = file.readline().rstrip("\n").split("\t")
            for line in file:
                values = [_unescape(cell) for cell in line.rstrip("\n").split("\t")]
                yield _row(dict(zip(columns, values, strict=True)))


def _row(values: dict[str, str | None]) -> Row:
    score, rank = values.get("score"), values.get("rank")
    return Row(
        path=str(values["path"]),
        caption=values.get("caption") or None,
        score=float(score) if score not in (None, "") else None,
        error=values.get("error") or None,
        rank=int(rank) if rank not in (None, "") else None,
    )


def _unescape(cell: str) -> str:
    plain = {"t": "\t", "r": "\r", "n": "\n", "\\": "\\"}
    characters = iter(cell)
    try:
        return "".join(plain[next(characters, "")] if char == "\\" else char for char in characters)
    except KeyError as error:
        raise ValueError(f"{cell!r} holds a backslash that begins no escape") from error


class OutputFile:
    """A new file that rows go to, held by the operating system's lock while it is written.

    Args:
        path: the file; an existing one is replaced with `overwrite` only, when the first row is ready.
        rows: how rows become bytes.
        overwrite: replace an existing file.
    Raises:
        UsageError: the file exists and `overwrite` is false.
        OutputError: it cannot be written, or another run writes it.
    """

    def __init__(self, path: Path, rows: RowFormat, *, overwrite: bool) -> None:
        self._path = path
        self._rows = rows
        self._started = False
        if path.is_dir():
            raise OutputError(f"{path}: is a folder; name a file to write to")
        if not overwrite and (path.exists() or path.is_symlink()):
            raise UsageError(f"{path}: exists; use --overwrite to replace it, or choose another file")
        self._existed = path.exists()
        try:
            self._file = path.open("ab" if self._existed else "xb", buffering=0)
        except FileExistsError as error:
            raise UsageError(f"{path}: exists; use --overwrite to replace it, or choose another file") from error
        except OSError as error:
            raise self._failed(error) from error
        try:
            _lock(self._file)
        except OSError as error:
            self._file.close()
            raise OutputError(f"{path}: is being written by another run of capcli") from error

    def write(self, row: Row) -> None:
        """Writes one record.

        Raises:
            OutputError: it cannot be written; what was written before stays.
        """
        record = self._rows.record(row)
        if not self._started:
            self._start()
        self._append(record)

    def close(self) -> None:
        """Ends the file; one without a row gets its header all the same."""
        if not self._file.closed:
            if not self._started:
                self._start()
            self._file.close()

    def discard(self) -> None:
        """Leaves things as they were if no row was written."""
        self._file.close()
        if not self._started and not self._existed:
            self._path.unlink(missing_ok=True)

    def __enter__(self) -> OutputFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    def _start(self) -> None:
        self._started = True
        try:
            if os.fstat(self._file.fileno()).st_size:
                self._file.truncate(0)
        except OSError as error:
            raise self._failed(error) from error
        self._append(self._rows.header())

    def _append(self, record: bytes) -> None:
        start = os.fstat(self._file.fileno()).st_size
        try:
            rest = memoryview(record)
            while rest:
                # Unbuffered, so that a record is on its way whole before the next image is looked at.
                rest = rest[self._file.write(rest) or 0 :]
        except OSError as error:
            # Half a record would be read as a whole one; this may fail too, on a disk that is gone.
            with contextlib.suppress(OSError):
                os.ftruncate(self._file.fileno(), start)
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> OutputError:
        reasons = {errno.ENOSPC: "no space is left on the disk", errno.EROFS: "it is on a read-only disk"}
        reason = reasons.get(error.errno or 0, (error.strerror or str(error)).lower())
        return OutputError(f"{self._path}: cannot be written: {reason}")


def _lock(file: FileIO) -> None:
    """Takes the operating system's lock, which ends with the process, however it ends."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        return
    import fcntl

    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        # Some network disks and pipes know no locks; that is no reason not to write.
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            raise
