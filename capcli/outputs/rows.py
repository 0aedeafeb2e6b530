"""Results as text, CSV, TSV or JSON Lines, and back.

CSV follows RFC 4180 (quoted where needed, CR LF after each record) and keeps a path's bytes as they are; TSV and
text write backslash, tab, CR and LF as `\\\\ \\t \\r \\n`; JSON writes undecodable bytes as `\\udcXX`. Knows
nothing of models, or of where rows go.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from capcli.errors import UsageError

FORMATS = ("text", "csv", "tsv", "jsonl")
_SUFFIXES = {".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".txt": "text"}
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\r": "\\r", "\n": "\\n"})
# What spreadsheets take for the start of a formula (OWASP, "CSV Injection"), apostrophes added earlier in front.
_FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_TEXT_COLUMNS = frozenset({"path", "caption", "error"})


@dataclass(frozen=True)
class Row:
    """One caption of one path, or the reason why there is none. `rank` counts from 1 where several were asked for.

    A row with both was captioned, but the caption could not be delivered everywhere it was to go.
    """

    path: str
    caption: str | None
    score: float | None
    error: str | None
    rank: int | None = None


@dataclass(frozen=True)
class Record:
    """A row as it lies in a file: bytes `start` to `end`, from line `line` on, counted from 1."""

    row: Row
    start: int
    end: int
    line: int


class RecordError(ValueError):
    """A record is none that capcli wrote. `line` counts from 1."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {reason}")
        self.line = line


class RowFormat(Protocol):
    """How rows become bytes. `name` is one of `FORMATS`; `columns` what a record holds."""

    @property
    def name(self) -> str: ...

    @property
    def columns(self) -> Sequence[str]: ...

    @property
    def spreadsheet_safe(self) -> bool: ...

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


def row_format(name: str, *, ranked: bool, with_path: bool = True, spreadsheet_safe: bool = False) -> RowFormat:
    """The format with this name.

    Args:
        name: one of `FORMATS`.
        ranked: whether rows have a rank.
        with_path: False prints text captions alone, for a single photo.
        spreadsheet_safe: an apostrophe goes before cells that a spreadsheet would run as a formula.
    Raises:
        UsageError: `spreadsheet_safe` for a format that no spreadsheet opens.
    """
    if spreadsheet_safe and name not in ("csv", "tsv"):
        raise UsageError(f"--spreadsheet-safe is for csv and tsv, not for {name}")
    columns: tuple[str, ...] = ("path", "caption", "score", "error")
    if ranked:
        columns = ("path", "rank", "caption", "score", "error")
    if name == "csv":
        return _CsvFormat(columns, spreadsheet_safe)
    if name == "tsv":
        return _TsvFormat(columns, spreadsheet_safe)
    if name == "jsonl":
        return _JsonFormat(columns)
    return _TextFormat(with_path)


@dataclass(frozen=True)
class _CsvFormat:
    columns: Sequence[str]
    spreadsheet_safe: bool
    name: str = "csv"

    def header(self) -> bytes:
        return self._line(self.columns)

    def record(self, row: Row) -> bytes:
        return self._line(_cells(row, self.columns, self.spreadsheet_safe))

    def _line(self, cells: Sequence[str]) -> bytes:
        line = io.StringIO()
        csv.writer(line, lineterminator="\r\n").writerow(cells)
        return line.getvalue().encode("utf-8", "surrogateescape")


@dataclass(frozen=True)
class _TsvFormat:
    columns: Sequence[str]
    spreadsheet_safe: bool
    name: str = "tsv"

    def header(self) -> bytes:
        return ("\t".join(self.columns) + "\n").encode()

    def record(self, row: Row) -> bytes:
        cells = [cell.translate(_ESCAPES) for cell in _cells(row, self.columns, self.spreadsheet_safe)]
        return ("\t".join(cells) + "\n").encode("utf-8", "surrogateescape")


@dataclass(frozen=True)
class _JsonFormat:
    columns: Sequence[str]
    spreadsheet_safe: bool = False
    name: str = "jsonl"

    def header(self) -> bytes:
        return b""

    def record(self, row: Row) -> bytes:
        values = {column: getattr(row, column) for column in self.columns}
        if row.score is not None:
            values["score"] = round(row.score, 4)
        # Undecodable bytes are lone surrogates here; JSON has an escape for them, UTF-8 has no bytes.
        texts = (row.path, row.caption or "", row.error or "")
        odd = any(0xD800 <= ord(char) <= 0xDFFF for text in texts for char in text)
        return (json.dumps(values, ensure_ascii=odd) + "\n").encode("utf-8")


@dataclass(frozen=True)
class _TextFormat:
    with_path: bool
    columns: Sequence[str] = ("path", "caption")
    spreadsheet_safe: bool = False
    name: str = "text"

    def header(self) -> bytes:
        return b""

    def record(self, row: Row) -> bytes:
        # Errors are told on stderr; a line without a caption would only confuse what reads the lines.
        if row.caption is None:
            return b""
        path = row.path.translate(_ESCAPES) + "\t" if self.with_path else ""
        return f"{path}{row.caption}\n".encode("utf-8", "surrogateescape")


def _cells(row: Row, columns: Sequence[str], spreadsheet_safe: bool) -> list[str]:
    cells = []
    for column in columns:
        value = getattr(row, column)
        cell = "" if value is None else f"{value:.4f}" if column == "score" else str(value)
        # Cells that already begin with apostrophes get one more, so that all can be read back.
        if spreadsheet_safe and column in _TEXT_COLUMNS and _FORMULA.match(cell):
            cell = f"'{cell}"
        cells.append(cell)
    return cells


def read_rows(path: Path, format_name: str) -> Iterator[Row]:
    """Rows of a file that this module wrote, paths byte for byte; people may have edited it.

    Raises:
        RecordError: a record that cannot be understood.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        for record in read_records(file, format_name, last_may_be_open=True):
            yield record.row


def read_records(
    file: BinaryIO,
    format_name: str,
    *,
    columns: Sequence[str] | None = None,
    spreadsheet_safe: bool = False,
    last_may_be_open: bool = False,
) -> Iterator[Record]:
    """Rows of a file with their places.

    Args:
        file: at its start.
        format_name: one of `FORMATS`.
        columns: what the header must name; None takes any header with path and caption.
        spreadsheet_safe: whether it was written so.
        last_may_be_open: whether a last record without the end of its line counts. One that capcli did not finish
            writing has none.
    Raises:
        RecordError: a record, or the header, that cannot be understood.
    """
    header: list[str] | None = ["path", "caption"] if format_name == "text" else None
    for start, end, line, content in _pieces(file, format_name == "csv", last_may_be_open):
        try:
            text = content.decode("utf-8", "surrogateescape").removesuffix("\n").removesuffix("\r")
            if format_name == "jsonl":
                if text.strip():
                    yield Record(_row(json.loads(text)), start, end, line)
                continue
            cells = _split_csv(text) if format_name == "csv" else [_unescape(cell) for cell in text.split("\t")]
            if header is None:
                header = cells
                if columns is not None and header != list(columns):
                    raise ValueError(
                        f"the columns are {', '.join(header)} instead of {', '.join(columns)} (another --captions?)"
                    )
                if not {"path", "caption"} <= set(header):
                    raise ValueError("the header names no columns path and caption")
                continue
            if len(cells) != len(header):
                raise ValueError(f"{len(cells)} cells instead of {len(header)}")
            values = dict(zip(header, cells, strict=True))
            if spreadsheet_safe:
                for column in _TEXT_COLUMNS & values.keys():
                    if values[column].startswith("'") and _FORMULA.match(values[column]):
                        values[column] = values[column][1:]
            yield Record(_row(values), start, end, line)
        except (ValueError, KeyError, TypeError, AttributeError, csv.Error) as error:
            reason = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise RecordError(line, reason) from error


def _pieces(file: BinaryIO, quoted: bool, last_may_be_open: bool) -> Iterator[tuple[int, int, int, bytes]]:
    """Start, end, first line and bytes of each record: a line, or several while a quote is open."""
    lines: list[bytes] = []
    start, end, quotes = 0, 0, 0
    for number, line in enumerate(file, start=1):
        end += len(line)
        # A spreadsheet that saved the file may have put a byte order mark before the header.
        lines.append(line.removeprefix(_BYTE_ORDER_MARK) if number == 1 else line)
        quotes += line.count(b'"') if quoted else 0
        if line.endswith(b"\n") and quotes % 2 == 0:
            yield start, end, number + 1 - len(lines), b"".join(lines)
            start, lines = end, []
    if lines and last_may_be_open:
        yield start, end, number + 1 - len(lines), b"".join(lines)


def _split_csv(text: str) -> list[str]:
    cells = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    if len(cells) != 1:
        raise ValueError("no record")
    return cells[0]


def _row(values: Mapping[str, object]) -> Row:
    score, rank = values.get("score"), values.get("rank")
    caption, error = values["caption"], values.get("error")
    return Row(
        path=str(values["path"]),
        caption=str(caption) if caption else None,
        score=float(str(score)) if score not in (None, "") else None,
        error=str(error) if error else None,
        rank=int(str(rank)) if rank not in (None, "") else None,
    )


def _unescape(cell: str) -> str:
    plain = {"t": "\t", "r": "\r", "n": "\n", "\\": "\\"}
    characters = iter(cell)
    try:
        return "".join(plain[next(characters, "")] if char == "\\" else char for char in characters)
    except KeyError as error:
        raise ValueError(f"{cell!r} holds a backslash that begins no escape") from error
