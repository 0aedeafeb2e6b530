"""What an output file that a run goes on with holds: which paths have their rows, where, and where it was torn off.

Of each path it keeps a digest and a place, not the captions, so that a million of them fit into memory. Nothing is
forgotten but what a kill can have left (`torn_rows`). Knows nothing of models, locks or writing.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from capcli.outputs.compaction import Gaps
from capcli.outputs.path_keys import PathKeys
from capcli.outputs.path_table import PathTable
from capcli.outputs.records import Record, RecordError, Records
from capcli.outputs.replaced import UNFINISHED, replaced_in
from capcli.outputs.rows import BYTE_ORDER_MARK, Row, RowFormat
from capcli.outputs.torn_rows import check_torn_header, check_torn_row, whole_row, without_nuls

# What is known of a path, in the last bits of its number in the table; above them is where its rows start, plus 1.
# It needs no more rows; the rows tell a failure; they hold captions; it is tried again.
_ANSWERED, _FAILED, _CAPTIONED, _AGAIN = 1, 2, 4, 8
_FLAGS = 4
# After so many paths it is guessed how many the file has.
_GUESSED_BY = 4096


class EarlierRows:
    """Reads a file's rows, if it is to be gone on with.

    `kept`: paths with rows, and `failures`: those of them whose rows tell a failure. `outdated`: bytes that newer rows
    have replaced. `end`: where the file's whole part ends, and `missing`: what has to follow there before another row,
    be it the header or a line end. `unproven`: the only bytes of a file, of which a coming row alone can show that a
    run wrote them. `notes`: what the user should know.

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
        self._key = PathKeys().key
        self._paths = PathTable()
        self.outdated = Gaps()
        self.kept = self.failures = 0
        self.end = 0
        self.missing = form.header()
        self.unproven = b""
        self.notes: list[str] = []
        if path is not None:
            with path.open("rb") as file:
                self._read(file)

    def claim(self, path: str) -> bool:
        """Whether a path has no answer yet; from now on it has."""
        key = self._key(path)
        known = self._paths.add(key, _ANSWERED)
        if known & _ANSWERED:
            return False
        if known:
            self._paths.put(key, known | _ANSWERED)
        return True

    def has_failed(self, path: str) -> bool:
        """Whether a path's rows tell a failure."""
        return bool(self._paths.get(self._key(path)) & _FAILED)

    def rows_of(self, path: str) -> list[Row]:
        """A path's rows that hold captions, best first; none where an earlier run did not leave any.

        Raises:
            OSError: the file cannot be read.
        """
        known = self._paths.get(self._key(path))
        rows = [record.row for record in self._records_at(_start(known))] if known & _CAPTIONED else []
        return sorted((row for row in rows if row.caption is not None), key=lambda row: row.rank or 0)

    def has_captions(self, path: str) -> bool:
        """Whether `rows_of` a path may find some; failures that are kept as they are do not count."""
        known = self._paths.get(self._key(path))
        return bool(known & _CAPTIONED) and (not known & _FAILED or bool(known & _AGAIN))

    def _read(self, file: BinaryIO) -> None:
        form = self._form
        records = Records(
            file,
            form.name,
            columns=form.columns,
            spreadsheet_safe=form.spreadsheet_safe,
            named=form.named,
            with_values=False,
        )
        size = os.fstat(file.fileno()).st_size
        group: list[Record] = []
        path = ""
        for record in records:
            if group and record.row.path != path:
                self._keep(group)
                if self.kept == _GUESSED_BY:
                    self._paths.make_room(_GUESSED_BY * size // record.start)
                group = []
            path = record.row.path
            group.append(record)
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
            last = Record(row, records.end, self.end, records.tail_line)
            if group and row.path != group[0].row.path:
                self._keep(group)
                group = []
            group.append(last)
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

    def _is_cut(self, group: Sequence[Record]) -> bool:
        """Whether the last path's rows lack some that a kill has kept from being written."""
        rows = [record.row for record in group]
        wanted = min(self._captions, self._widest or self._captions)
        if len(rows) >= wanted or rows[0].caption is None or self._paths.get(self._key(rows[0].path)) & _ANSWERED:
            return False
        # Rows that a person has sorted otherwise are no part of what a run was writing.
        return [row.rank or place for place, row in enumerate(rows, 1)] == list(range(1, len(rows) + 1))

    def _keep(self, group: Sequence[Record]) -> None:
        group = self._newest(group) if len(group) > 1 else group
        first, error = group[0], group[-1].row.error
        number = (first.start + 1) << _FLAGS
        captioned = first.row.caption is not None or any(record.row.caption is not None for record in group)
        if captioned:
            number |= _CAPTIONED
            if len(group) > self._widest:
                self._widest = len(group)
        if error is not None:
            number |= _FAILED
        if error is not None and (self._retry_failed or error == UNFINISHED):
            number |= _AGAIN
        else:
            number |= _ANSWERED
        key = self._key(first.row.path)
        known = self._paths.add(key, number)
        if known and (known & _FAILED or (captioned and self._tells_more(known, group))):
            # A run that retried this path, or delivered it again, was killed; its row is the newer one.
            self._outdate(known)
            self._paths.put(key, number)
        elif known:
            # Twice the same is once too much; other words are somebody's, and stay.
            if captioned and self._says_the_same(known, group):
                self.outdated.add(first.start, group[-1].end)
            return
        else:
            self.kept += 1
        if error is not None:
            self.failures += 1

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
        for record in group:
            if record not in newest:
                self.outdated.add(record.start, record.end)
        return newest

    def _tells_more(self, known: int, group: Sequence[Record]) -> bool:
        """Whether rows say what older ones do, and what a photo said before besides."""
        return _tells_replaced(group) and self._says_the_same(known, group, notes=False)

    def outdate(self, path: str) -> None:
        """Learns that newer rows take the place of a path's, or none.

        Raises:
            OSError: the file cannot be read any more.
            RecordError: it is another one by now.
        """
        key = self._key(path)
        known = self._paths.get(key)
        if known & (_FAILED | _CAPTIONED):
            self._outdate(known)
            # No place and no failure is left; one that is tried again has no answer yet.
            self._paths.put(key, known & _ANSWERED or _AGAIN)

    def _outdate(self, known: int) -> None:
        start = _start(known)
        rows = self._records_at(start)
        if not rows:
            raise RecordError(1, "there is no row where one was")
        self.outdated.add(start, rows[-1].end)
        if known & _FAILED:
            self.failures -= 1

    def _says_the_same(self, known: int, group: Sequence[Record], *, notes: bool = True) -> bool:
        older = self._records_at(_start(known)) if known & _CAPTIONED else []
        return bool(older) and _said(group, notes=notes) == _said(older, notes=notes)

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
                with_values=False,
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


def _start(known: int) -> int:
    """Where the rows begin that a path's number tells of."""
    return (known >> _FLAGS) - 1


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
