"""Results as text, CSV, TSV or JSON Lines.

CSV follows RFC 4180 (quoted where needed, CR LF after each record) and keeps a path's bytes as they are; TSV and
text write backslash, tab, CR and LF as `\\\\ \\t \\r \\n`; JSON writes undecodable bytes as `\\udcXX`. Knows
nothing of models, of where rows go, or of reading them back.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from capcli.errors import UsageError
from capcli.outputs.affixes import Affixes
from capcli.verdicts import TAKEN

FORMATS = ("text", "csv", "tsv", "jsonl")
_SUFFIXES = {".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".txt": "text"}
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\r": "\\r", "\n": "\\n"})
# What spreadsheets take for the start of a formula (OWASP, "CSV Injection"), apostrophes added earlier in front.
FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# No record that capcli writes is as long: a path has at most 4 KiB, or six times that where JSON escapes each byte.
LONGEST_RECORD = 65536
# What to say of rows that `holds_raw_bytes`.
RAW_BYTES_NOTE = (
    "holds a name that is not UTF-8, as its own bytes; Python and pandas read them with "
    'encoding="utf-8", errors="surrogateescape" (pandas: encoding_errors)'
)
TEXT_COLUMNS = frozenset({"path", "caption", "error", "note"})
NUMBER_COLUMNS = frozenset({"score", "confidence"})
_COLUMNS = ("path", "caption", "score", "error", "confidence", "note")
# What rows had in earlier versions, whose files are gone on with as they are.
_EARLIER_COLUMNS = (("path", "caption", "score", "error"),)


@dataclass(frozen=True, init=False)
class Row:
    """One caption of one path, or the reason why there is none. `rank` counts from 1 where several were asked for.

    A row with both was captioned, but the caption could not be delivered everywhere it was to go. `confidence`: the
    probability that the caption is right. `note`: what was left undone on purpose, which is no failure. `words`: each
    with its log-probability, the end of the sentence last, as "". `review`: what a person has decided, one
    of the `verdicts`; None where nobody has told.
    """

    path: str
    caption: str | None
    score: float | None
    error: str | None
    rank: int | None = None
    confidence: float | None = None
    note: str | None = None
    words: tuple[tuple[str, float], ...] | None = None
    review: str | None = None

    def __init__(
        self,
        path: str,
        caption: str | None,
        score: float | None,
        error: str | None,
        rank: int | None = None,
        confidence: float | None = None,
        note: str | None = None,
        words: tuple[tuple[str, float], ...] | None = None,
        review: str | None = None,
    ) -> None:
        # That of frozen data classes takes several times as long, and files have millions of rows.
        self.__dict__.update(
            path=path,
            caption=caption,
            score=score,
            error=error,
            rank=rank,
            confidence=confidence,
            note=note,
            words=words,
            review=review,
        )

    @property
    def approved(self) -> bool:
        """Whether a person has looked at the caption and wants it so."""
        return self.review in TAKEN


class RowFormat(Protocol):
    """How rows become bytes.

    `name` is one of `FORMATS`, by which they are read back; `columns` what a record holds; `affixes` what stands around
    each caption. `named`: what a record says, by the names that a row has for it.
    """

    @property
    def name(self) -> str: ...

    @property
    def columns(self) -> Sequence[str]: ...

    @property
    def spreadsheet_safe(self) -> bool: ...

    @property
    def affixes(self) -> Affixes: ...

    def with_columns(self, columns: Sequence[str]) -> RowFormat: ...

    def header(self) -> bytes: ...

    def record(self, row: Row) -> bytes: ...

    def named(self, values: Mapping[str, object]) -> Mapping[str, object]: ...


def format_of(path: Path | None, chosen: str | None, default: str = "text", formats: Sequence[str] = FORMATS) -> str:
    """The format's name: the one chosen, of `formats`; else by the file's suffix.

    Raises:
        UsageError: no such format, or the suffix says nothing.
    """
    if chosen is not None:
        if chosen not in formats:
            raise UsageError(f"no format {chosen!r}; choose one of {', '.join(formats)}")
        return chosen
    if path is None:
        return default
    named = format_by_suffix(path)
    if named is None:
        raise UsageError(f"{path}: its suffix names no format; use .csv, .tsv, .jsonl or .txt, or --format")
    return named


def format_by_suffix(path: Path) -> str | None:
    """The format's name that a file's suffix tells; None where it tells none."""
    return _SUFFIXES.get(path.suffix.lower())


def row_format(
    name: str,
    *,
    ranked: bool,
    with_path: bool = True,
    spreadsheet_safe: bool = False,
    bom: bool = False,
    words: bool = False,
) -> RowFormat:
    """The format with this name.

    Args:
        name: one of `FORMATS`.
        ranked: whether rows have a rank.
        with_path: False prints text captions alone, for a single photo.
        spreadsheet_safe: an apostrophe goes before cells that a spreadsheet would run as a formula.
        bom: the header begins with a byte order mark, without which Excel does not take a file for UTF-8.
        words: rows have their words one by one.
    Raises:
        UsageError: `spreadsheet_safe` or `bom` for a format that no spreadsheet opens, `words` for one without lists.
    """
    if words and name != "jsonl":
        raise UsageError(f"--words is for JSON Lines (--json), not for {name}")
    for option, wanted in (("--spreadsheet-safe", spreadsheet_safe), ("--bom", bom)):
        if wanted and name not in ("csv", "tsv"):
            raise UsageError(f"{option} is for csv and tsv, not for {name}")
    columns = (*(_ranked(_COLUMNS) if ranked else _COLUMNS), *(("words",) if words else ()))
    if name == "csv":
        return _CsvFormat(columns, spreadsheet_safe, bom)
    if name == "tsv":
        return _TsvFormat(columns, spreadsheet_safe, bom)
    if name == "jsonl":
        return _JsonFormat(columns)
    return _TextFormat(with_path)


def format_as_in(first_line: bytes, form: RowFormat) -> RowFormat:
    """The format with the columns of an earlier version, if a file begins with such a line; else as it is."""
    for columns in _EARLIER_COLUMNS if form.name != "text" else ():
        earlier = form.with_columns(_ranked(columns) if "rank" in form.columns else columns)
        if form.name == "jsonl" and _keys(first_line) == set(earlier.columns):
            return form.with_columns([*earlier.columns, *(("words",) if "words" in form.columns else ())])
        header = earlier.header().removeprefix(BYTE_ORDER_MARK).rstrip(b"\r\n")
        # Without its end it may be the beginning of today's header.
        is_whole = first_line.endswith(b"\n")
        if header and is_whole and first_line.removeprefix(BYTE_ORDER_MARK).rstrip(b"\r\n") == header:
            return earlier
    return form


def _keys(line: bytes) -> set[str]:
    """What a JSON object names; nothing where it is none."""
    try:
        values = json.loads(line.removeprefix(BYTE_ORDER_MARK))
    except (ValueError, RecursionError):
        return set()
    return set(values) if isinstance(values, dict) else set()


def _ranked(columns: tuple[str, ...]) -> tuple[str, ...]:
    return ("path", "rank", *columns[1:])


class _BareRows:
    """What formats have alike whose records are rows as they are."""

    affixes = Affixes()

    def named(self, values: Mapping[str, object]) -> Mapping[str, object]:
        return values


@dataclass(frozen=True)
class _CsvFormat(_BareRows):
    columns: Sequence[str]
    spreadsheet_safe: bool
    bom: bool
    name: str = "csv"

    def with_columns(self, columns: Sequence[str]) -> RowFormat:
        return replace(self, columns=columns)

    def header(self) -> bytes:
        return (BYTE_ORDER_MARK if self.bom else b"") + self._line(self.columns)

    def record(self, row: Row) -> bytes:
        return self._line(_cells(row, self.columns, self.spreadsheet_safe))

    def _line(self, cells: Sequence[str]) -> bytes:
        line = io.StringIO()
        csv.writer(line, lineterminator="\r\n").writerow(cells)
        return line.getvalue().encode("utf-8", "surrogateescape")


@dataclass(frozen=True)
class _TsvFormat(_BareRows):
    columns: Sequence[str]
    spreadsheet_safe: bool
    bom: bool
    name: str = "tsv"

    def with_columns(self, columns: Sequence[str]) -> RowFormat:
        return replace(self, columns=columns)

    def header(self) -> bytes:
        return (BYTE_ORDER_MARK if self.bom else b"") + ("\t".join(self.columns) + "\n").encode()

    def record(self, row: Row) -> bytes:
        return tsv_line(_cells(row, self.columns, self.spreadsheet_safe))


@dataclass(frozen=True)
class _JsonFormat(_BareRows):
    columns: Sequence[str]
    spreadsheet_safe: bool = False
    name: str = "jsonl"

    def with_columns(self, columns: Sequence[str]) -> RowFormat:
        return replace(self, columns=columns)

    def header(self) -> bytes:
        return b""

    def record(self, row: Row) -> bytes:
        values = {column: getattr(row, column) for column in self.columns}
        for column in NUMBER_COLUMNS & values.keys():
            values[column] = None if values[column] is None else round(values[column], 4)
        if values.get("words") is not None:
            values["words"] = [[word, round(log_prob, 4)] for word, log_prob in values["words"]]
        # Undecodable bytes are lone surrogates here; JSON has an escape for them, UTF-8 has no bytes.
        texts = (row.path, row.caption or "", row.error or "", row.note or "")
        odd = any(0xD800 <= ord(char) <= 0xDFFF for text in texts for char in text)
        return (json.dumps(values, ensure_ascii=odd) + "\n").encode("utf-8")


@dataclass(frozen=True)
class _TextFormat(_BareRows):
    with_path: bool
    columns: Sequence[str] = ("path", "caption")
    spreadsheet_safe: bool = False
    name: str = "text"

    def with_columns(self, columns: Sequence[str]) -> RowFormat:
        return self

    def header(self) -> bytes:
        return b""

    def record(self, row: Row) -> bytes:
        # Errors are told on stderr; a line without a caption would only confuse what reads the lines.
        if row.caption is None:
            return b""
        cells = [row.path, row.caption] if self.with_path else [row.caption]
        return tsv_line(cells)


def tsv_line(cells: Sequence[str]) -> bytes:
    """One line of TSV: what would end a cell or the line is an escape."""
    return ("\t".join(cell.translate(_ESCAPES) for cell in cells) + "\n").encode("utf-8", "surrogateescape")


def _cells(row: Row, columns: Sequence[str], spreadsheet_safe: bool) -> list[str]:
    cells = []
    for column in columns:
        value = getattr(row, column)
        cell = "" if value is None else f"{value:.4f}" if column in NUMBER_COLUMNS else str(value)
        # Cells that already begin with apostrophes get one more, so that all can be read back.
        if spreadsheet_safe and column in TEXT_COLUMNS and FORMULA.match(cell):
            cell = f"'{cell}"
        cells.append(cell)
    return cells


def holds_raw_bytes(form: RowFormat, rows: Sequence[Row]) -> bool:
    """Whether rows hold a name that is not UTF-8, in a format that writes its bytes as they are."""
    texts = [text for row in rows for text in (row.path, row.error or "", row.note or "")]
    return form.name != "jsonl" and any(0xDC80 <= ord(char) <= 0xDCFF for text in texts for char in text)
