"""Rows read back from a file of them, each with its place. People may have edited the file.

Paths come back byte for byte. Knows nothing of which rows are done, or of models.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from operator import itemgetter
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO, NamedTuple

from capcli.outputs.cells import CsvSplitter, split_tsv
from capcli.outputs.image_folder import is_image_folder, named_in
from capcli.outputs.rows import BYTE_ORDER_MARK, FORMULA, LONGEST_RECORD, TEXT_COLUMNS, Row

_NEEDED = frozenset({"path", "caption"})
_DELIMITERS = (",", ";", "\t")
# What a row takes from cells; where a column is missing, it is the cell that is put after the last one.
_CELLS = ("path", "caption", "score", "error", "rank", "confidence", "note")
_MISSING = -1
_NO_VALUES: Mapping[str, object] = MappingProxyType({})
_JSON = json.JSONDecoder()


class Record(NamedTuple):
    """A row as it lies in a file: bytes `start` to `end`, from line `line` on, counted from 1.

    `values`: all that the file says of it, by column, columns that are no part of a row too; texts, and with JSON Lines
    whatever JSON has.
    """

    row: Row
    start: int
    end: int
    line: int
    values: Mapping[str, object] = _NO_VALUES


class RecordError(ValueError):
    """A record is none that capcli wrote. `line` counts from 1."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {reason}")
        self.line = line


def read_rows(path: Path, format_name: str) -> Iterator[Row]:
    """Rows of a file that capcli wrote, paths byte for byte; people may have edited it.

    Raises:
        RecordError: a record that cannot be understood.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        for record in read_records(file, format_name, path):
            yield record.row


def read_records(file: BinaryIO, format_name: str, path: Path) -> Iterator[Record]:
    """The records of a whole file, from its start; the last one may lack its line end, as people leave it.

    JSON Lines may be those of an image folder: their `values` have the names of rows, too.

    Args:
        file: at its start.
        format_name: one of `FORMATS`.
        path: of the file; in its folder the names of an image folder begin.
    Raises:
        RecordError: one that cannot be understood.
        OSError: the file cannot be read.
    """
    records = Records(file, format_name)
    if format_name == "jsonl" and is_image_folder(_first_value(file)):
        records = Records(file, format_name, named=partial(named_in, folder=os.path.dirname(path)))
    yield from records
    if records.tail and (last := records.record(records.tail, records.tail_line, records.end)) is not None:
        yield last


class Records:
    """Rows of a file with their places: iterated over once, from where the file stands.

    `end` is where the last whole record, header or blank line ends. What follows it, at the end of the file, has no
    end of its own: `tail`, from line `tail_line` on. `has_header`: the header was there, or the format has none.

    Args:
        file: at its start, or at that of a record.
        format_name: one of `FORMATS`.
        columns: what the header must name; None takes any header with path and caption.
        spreadsheet_safe: whether it was written so.
        below_header: whether `columns` are known and no header comes.
        named: what an object of JSON says, by the names of a row's columns.
        with_values: whether records have their `values`.
    Raises (while iterating):
        RecordError: a record, or the header, that cannot be understood.
    """

    def __init__(
        self,
        file: BinaryIO,
        format_name: str,
        *,
        columns: Sequence[str] | None = None,
        spreadsheet_safe: bool = False,
        below_header: bool = False,
        named: Callable[[Mapping[str, object]], Mapping[str, object]] | None = None,
        with_values: bool = True,
    ) -> None:
        self._named = named
        self._with_values = with_values
        self._file = file
        self._name = format_name
        self._columns = columns
        self._spreadsheet_safe = spreadsheet_safe
        self._header: Sequence[str] | None = None
        self._split = CsvSplitter(",").split if format_name == "csv" else split_tsv
        if format_name == "text":
            self._take_header(("path", "caption"))
        elif below_header and columns is not None:
            self._take_header(columns)
        self.end = file.tell()
        self.tail = b""
        self.tail_line = 1

    def __iter__(self) -> Iterator[Record]:
        for start, end, line, content in self._pieces():
            record = self.record(content, line, start, end)
            if record is not None:
                yield record

    @property
    def has_header(self) -> bool:
        return self._header is not None or self._name == "jsonl"

    def parse(self, content: bytes, line: int) -> Row | None:
        """What the bytes of one record say; None where they are the header or blank.

        Raises:
            RecordError: they cannot be understood. It names the line.
        """
        record = self.record(content, line, 0)
        return None if record is None else record.row

    def record(self, content: bytes, line: int, start: int, end: int | None = None) -> Record | None:
        """As `parse`, with all that the bytes say, and their place.

        Args:
            content: the bytes.
            line: their first line.
            start, end: where they begin in the file, and end; by default as soon as they do.
        Raises:
            RecordError: they cannot be understood. It names the line.
        """
        try:
            # What comes before the first tab, a column or a path, holds no NUL; a caption of a text file may.
            if line == 1 and b"\0" in content[:4].partition(b"\t")[0] and not content.startswith(b"\0\0\0"):
                raise ValueError("the file is in UTF-16; save it as UTF-8")
            text = content.decode("utf-8", "surrogateescape").removesuffix("\n").removesuffix("\r")
            # A tab parts cells, and a path may be a space.
            if (not text or text.isspace()) and ("\t" not in text or self._name in ("csv", "jsonl")):
                return None
            end = start + len(content) if end is None else end
            if self._name == "jsonl":
                values = _json(text)
                if not isinstance(values, dict):
                    raise ValueError("is no JSON object")
                values = values if self._named is None else self._named(values)
                return Record(_row(values), start, end, line, values)
            if self._header is None:
                self._take_header(self._header_cells(text))
                return None
            cells = self._cells(text)
            named = dict(zip(self._header, cells, strict=False)) if self._with_values else _NO_VALUES
            return Record(self._row_of(cells), start, end, line, named)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            reason = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise RecordError(line, reason) from error

    def _header_cells(self, text: str) -> list[str]:
        cells = self._split(text)
        if self._name == "csv" and self._columns is None:
            # A spreadsheet writes what is usual where it runs.
            for splitter in map(CsvSplitter, _DELIMITERS):
                if set(found := splitter.split(text)) >= _NEEDED:
                    self._split, cells = splitter.split, found
                    break
        if self._columns is not None and cells != list(self._columns):
            raise ValueError(
                f"the columns are {', '.join(cells)} instead of {', '.join(self._columns)} (another --captions?)"
            )
        if not set(cells) >= _NEEDED:
            raise ValueError("the header names no columns path and caption")
        return cells

    def _take_header(self, cells: Sequence[str]) -> None:
        self._header = cells
        places = {name: place for place, name in enumerate(cells)}
        self._pick = itemgetter(*(places.get(name, _MISSING) for name in _CELLS))
        self._texts = [places[name] for name in TEXT_COLUMNS if name in places]

    def _cells(self, text: str) -> list[str]:
        """The cells of a line, and an empty one."""
        cells = self._split(text)
        assert self._header is not None
        if len(cells) != len(self._header):
            raise ValueError(f"{len(cells)} cells instead of {len(self._header)}")
        if self._spreadsheet_safe:
            for place in self._texts:
                if cells[place].startswith("'") and FORMULA.match(cells[place]):
                    cells[place] = cells[place][1:]
        cells.append("")
        return cells

    def _row_of(self, cells: list[str]) -> Row:
        path, caption, score, error, rank, confidence, note = self._pick(cells)
        return Row(
            path,
            caption or None,
            float(score) if score else None,
            error or None,
            int(rank) if rank else None,
            float(confidence) if confidence else None,
            note or None,
        )

    def _pieces(self) -> Iterator[tuple[int, int, int, bytes]]:
        """Start, end, first line and bytes of each record: a line, or several while a quote is open."""
        lines: list[bytes] = []
        is_csv = self._name == "csv"
        end, quotes, number = self.end, 0, 0
        for number, line in enumerate(self._file, start=1):
            end += len(line)
            # A spreadsheet or an editor that saved the file may have put a byte order mark before its first line.
            content = line.removeprefix(BYTE_ORDER_MARK) if end == len(line) else line
            if is_csv:
                quotes += line.count(b'"')
            if not line.endswith(b"\n"):
                lines.append(content)
            elif quotes % 2 == 0:
                start, self.end = self.end, end
                if lines:
                    yield start, end, number - len(lines), b"".join([*lines, content])
                    lines = []
                else:
                    yield start, end, number, content
            else:
                lines.append(content)
                if end - self.end >= LONGEST_RECORD:
                    raise RecordError(number + 1 - len(lines), "a quote is never closed")
        self.tail, self.tail_line = b"".join(lines), number + 1 - len(lines)


def _first_value(file: BinaryIO) -> object:
    """What the first line of JSON says; None where it is none. The file stands where it stood."""
    start = file.tell()
    line = file.readline(LONGEST_RECORD)
    file.seek(start)
    try:
        return json.loads(line.removeprefix(BYTE_ORDER_MARK))
    except (ValueError, RecursionError):
        return None


def _json(text: str) -> object:
    """As `json.loads`, which takes longer to be called than to do it."""
    try:
        value, end = _JSON.raw_decode(text)
    except ValueError:
        return json.loads(text)
    return value if end == len(text) else json.loads(text)


def _row(values: Mapping[str, object]) -> Row:
    rank = values.get("rank")
    return Row(
        str(values["path"]),
        _text(values["caption"]),
        _number(values.get("score")),
        _text(values.get("error")),
        int(str(rank)) if rank not in (None, "") else None,
        _number(values.get("confidence")),
        _text(values.get("note")),
    )


def _text(value: object) -> str | None:
    return str(value) if value else None


def _number(value: object) -> float | None:
    if value is None or value == "":
        return None
    return value if type(value) is float else float(str(value))
