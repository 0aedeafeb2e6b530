"""What an output file that a run goes on with holds: which paths have their rows, where, and where it was torn off.

Of each path it keeps a digest and a place, not the captions, so that a million of them fit into memory. Nothing is
forgotten but what a kill can have left (`torn_rows`). Knows nothing of models, locks or writing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from capcli.outputs.path_keys import PathKeys
from capcli.outputs.records import Record, Records
from capcli.outputs.replaced import UNFINISHED, replaced_in
from capcli.outputs.rows import BYTE_ORDER_MARK, Row, RowFormat
from capcli.outputs.torn_rows import check_torn_header, check_torn_row, whole_row, without_nuls

# In the place of rows that hold none, or that are not written yet.
NO_CAPTIONS = -1


@dataclass(frozen=True)
class FailedRow:
    """The bytes of a path's rows that say why it failed; `captioned` if they hold captions all the same.

    `again`: it is tried again.
    """

    start: int
    end: int
    captioned: bool
    again: bool


class EarlierRows:
    """Reads a file's rows, if it is to be gone on with.

    `places`: by `key`, the start of each answered path's rows, or `NO_CAPTIONS`. `failed`: rows that tell a failure.
    `outdated`: bytes that newer rows have replaced. `kept`: paths with rows. `end`: where the file's whole part ends,
    and `missing`: what has to follow there before another row, be it the header or a line end. `unproven`: the only
    bytes of a file, of which a coming row alone can show that a run wrote them. `notes`: what the user should know.

    Args:
        path: the file; None for one that is written anew.
        form: the format that it must have.
        retry_failed: failed paths are not answered.
        captions: rows a path has.
    Raises:
        RecordError: it holds what capcli did not write, or what a kill cannot have torn.
        OSError: it cannot be read.
    """

    def __init__(self, path: Path | None, form: RowFormat, *, retry_failed: bool, captions: int) -> None:
        self._path = path
        self._form = form
        self._retry_failed = retry_failed
        self._captions = captions
        self._widest = 0
        # What a path is known by, however it is spelled.
        self.key = PathKeys().key
        self.places: dict[bytes, int] = {}
        self.failed: dict[bytes, FailedRow] = {}
        self.outdated: list[tuple[int, int]] = []
        self.kept = 0
        self.end = 0
        self.missing = form.header()
        self.unproven = b""
        self.notes: list[str] = []
        if path is not None:
            with path.open("rb") as file:
                self._read(file)

    def rows_of(self, path: str) -> list[Row]:
        """A path's rows that hold captions, best first; none where an earlier run did not leave any.

        Raises:
            OSError: the file cannot be read.
        """
        key = self.key(path)
        failed = self.failed.get(key)
        start = failed.start if failed is not None and failed.again else self.places.get(key, NO_CAPTIONS)
        rows = [row for row in self._rows_at(start) if row.caption is not None] if start >= 0 else []
        return sorted(rows, key=lambda row: row.rank or 0)

    def has_captions(self, path: str) -> bool:
        """Whether `rows_of` a path may find some; failures that are kept as they are do not count."""
        key = self.key(path)
        failed = self.failed.get(key)
        if failed is not None:
            return failed.again and failed.captioned
        return self.places.get(key, NO_CAPTIONS) >= 0

    def _read(self, file: BinaryIO) -> None:
        form = self._form
        records = Records(
            file, form.name, columns=form.columns, spreadsheet_safe=form.spreadsheet_safe, named=form.named
        )
        group: list[Record] = []
        for record in records:
            group = self._add(group, record)
        self.end, self.missing = records.end, b"" if records.has_header else form.header()
        start = _start_of(file)
        # What the file was to have, it gets: a part of a byte order mark tells too.
        if not records.has_header and start and BYTE_ORDER_MARK.startswith(start):
            self.missing = BYTE_ORDER_MARK + self.missing.removeprefix(BYTE_ORDER_MARK)
        if records.has_header and form.header().startswith(BYTE_ORDER_MARK) and start != BYTE_ORDER_MARK:
            self.notes.append("has no byte order mark; --bom begins a new file with one, and adds none to this")
        tail = without_nuls(records.tail, records.tail_line)
        if len(tail) < len(records.tail):
            self.notes.append(f"line {records.tail_line} ends in NUL bytes, as a crash leaves them; they are dropped")
        row = whole_row(form.name, records, tail, records.tail_line)
        if row is not None:
            self.end += len(tail)
            self.missing = b"\n" if tail.endswith(b"\r") or form.name != "csv" else b"\r\n"
            group = self._add(group, Record(row, records.end, self.end, records.tail_line))
        elif tail and not records.has_header:
            check_torn_header(form.header(), tail)
        elif tail:
            check_torn_row(form.name, form.columns, tail, records.tail_line)
            if form.name == "text" and not group:
                self.unproven = tail
            else:
                self._note_done_again(records.tail_line)
        if group and self._is_cut(group):
            self.end, self.missing = group[0].start, b""
            self._note_done_again(group[0].line)
        elif group:
            self._keep(group)

    def _note_done_again(self, line: int) -> None:
        note = f"line {line} was not written to its end; that photo is done again"
        self.notes = [other for other in self.notes if "done again" not in other] + [note]

    def _add(self, group: list[Record], record: Record) -> list[Record]:
        if group and record.row.path != group[0].row.path:
            self._keep(group)
            group = []
        return [*group, record]

    def _is_cut(self, group: Sequence[Record]) -> bool:
        """Whether the last path's rows lack some that a kill has kept from being written."""
        rows = [record.row for record in group]
        wanted = min(self._captions, self._widest or self._captions)
        if len(rows) >= wanted or rows[0].caption is None or self.key(rows[0].path) in self.places:
            return False
        # Rows that a person has sorted otherwise are no part of what a run was writing.
        return [row.rank or place for place, row in enumerate(rows, 1)] == list(range(1, len(rows) + 1))

    def _keep(self, group: Sequence[Record]) -> None:
        group = self._newest(group)
        key = self.key(group[0].row.path)
        captioned = any(record.row.caption is not None for record in group)
        start, end = group[0].start, group[-1].end
        self._widest = max(self._widest, len(group) if captioned else 0)
        if key in self.failed or (captioned and self._tells_more(key, group)):
            # A run that retried this path, or delivered it again, was killed; its row is the newer one.
            self.outdate(key)
            self.places.pop(key, None)
            self.kept -= 1
        elif key in self.places:
            # Twice the same is once too much; other words are somebody's, and stay.
            if captioned and self._says_the_same(self.places[key], group):
                self.outdated.append((start, end))
            return
        self.kept += 1
        error = group[-1].row.error
        again = self._retry_failed or error == UNFINISHED
        if error is not None:
            self.failed[key] = FailedRow(start, end, captioned, again)
        if error is None or not again:
            self.places[key] = start if captioned else NO_CAPTIONS

    def _newest(self, group: Sequence[Record]) -> Sequence[Record]:
        """A path's rows that lie together, without those that a killed run had already written others for."""
        last = max((place for place, record in enumerate(group) if record.row.error == UNFINISHED), default=-1)
        first = last
        while first > 0 and group[first].row.rank not in (None, 1):
            first -= 1
        if last < 0 or len(group) - last - 1 >= last + 1 - first:
            newest = [record for record in group if record.row.error != UNFINISHED]
        else:
            # Nothing whole came after it: it tells what the photo said, and is done again.
            newest = list(group[first : last + 1])
        half = len(newest) // 2
        if _tells_replaced(newest[half:]) and _said(newest[:half], notes=False) == _said(newest[half:], notes=False):
            newest = newest[half:]
        self.outdated += [(record.start, record.end) for record in group if record not in newest]
        return newest

    def _tells_more(self, key: bytes, group: Sequence[Record]) -> bool:
        """Whether rows say what older ones do, and what a photo said before besides."""
        older = self.places.get(key, NO_CAPTIONS)
        return _tells_replaced(group) and self._says_the_same(older, group, notes=False)

    def outdate(self, key: bytes) -> None:
        """Learns that newer rows take the place of a path's."""
        failed = self.failed.pop(key, None)
        start = self.places.get(key, NO_CAPTIONS)
        if failed is not None:
            self.outdated.append((failed.start, failed.end))
        elif start >= 0:
            self.outdated.append((start, self._records_at(start)[-1].end))
            self.places[key] = NO_CAPTIONS

    def _says_the_same(self, start: int, group: Sequence[Record], *, notes: bool = True) -> bool:
        return start >= 0 and _said(group, notes=notes) == _said(self._records_at(start), notes=notes)

    def _rows_at(self, start: int) -> list[Row]:
        return [record.row for record in self._records_at(start)]

    def _records_at(self, start: int) -> list[Record]:
        """The rows of one path, which begin there."""
        assert self._path is not None
        form = self._form
        rows: list[Record] = []
        with self._path.open("rb") as file:
            file.seek(start)
            records = Records(
                file,
                form.name,
                columns=form.columns,
                spreadsheet_safe=form.spreadsheet_safe,
                below_header=True,
                named=form.named,
            )
            for record in records:
                # What this run has added stands for itself.
                if rows and (record.row.path != rows[0].row.path or record.start == self.end):
                    return rows
                rows.append(record)
            last = whole_row(form.name, records, records.tail, records.tail_line)
            if last is not None and (not rows or last.path == rows[0].row.path):
                rows.append(Record(last, records.end, records.end + len(records.tail), records.tail_line))
        return rows


def _tells_replaced(group: Sequence[Record]) -> bool:
    return bool(group) and replaced_in(group[0].row.note) is not None


def _said(group: Sequence[Record], *, notes: bool) -> list[Row]:
    """Rows without what may differ from run to run; without `notes`, also without what became of their photo."""
    rows = [replace(each.row, score=None) for each in group]
    return rows if notes else [replace(row, note=None, error=None) for row in rows]


def _start_of(file: BinaryIO) -> bytes:
    """As many of a file's first bytes as a byte order mark has."""
    file.seek(0)
    return file.read(len(BYTE_ORDER_MARK))
