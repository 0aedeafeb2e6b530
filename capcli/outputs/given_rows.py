"""The captions of a file that are to be written: rows that capcli wrote, corrected or not, or anybody's.

The file is read twice, as a stream: once to know that all of it can be understood, before anything is written, and
once for the rows. Of each path a key is kept, and no more. Knows nothing of photos or of where captions go.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from capcli.errors import UsageError
from capcli.outputs.files import why
from capcli.outputs.path_keys import PathKeys
from capcli.outputs.path_table import PathTable
from capcli.outputs.records import Record, RecordError, read_records
from capcli.outputs.replaced import replaced_in
from capcli.outputs.rows import Row, format_by_suffix
from capcli.verdicts import COLUMN, NOT_REVIEWED, REJECTED, verdict_of

# What is not taken, as the end of the run tells it: one, several.
_NO_CAPTION = ("row without a caption", "rows without a caption")
_REJECTED = ("rejected", "rejected")
_UNREVIEWED = ("not reviewed (--unreviewed takes such rows too)",) * 2
_NOTHING_REPLACED = ("row that tells nothing of what was replaced", "rows that tell nothing of what was replaced")
_AGAIN = ("row of a photo that an earlier row names", "rows of photos that earlier rows name")


class GivenRows:
    """Rows with a caption, the best of each photo; where the file has a column `review`, approved ones alone.

    Args:
        path: the file, in the format that its suffix tells.
        unreviewed: take rows whose `review` is empty, too.
        replaced: take rows whose note tells what their caption has replaced, and these alone, whatever a review says.
    Raises:
        UsageError: it cannot be read or understood, or no row of it is taken.

    `most`: as many rows are taken at most. `has_confidence`: rows tell how sure the model was; `reviewed`: or what a
    person decided.
    """

    def __init__(self, path: Path, *, unreviewed: bool = False, replaced: bool = False) -> None:
        self._path = path
        self._replaced = replaced
        self._unreviewed = unreviewed
        form = format_by_suffix(path)
        if form is None:
            raise UsageError(f"{path}: its suffix names no format; captions are taken from .csv, .tsv, .jsonl or .txt")
        # It is read twice; and a folder or a pipe would be told of in stranger words.
        if path.exists() and not path.is_file():
            raise UsageError(f"{path}: is no regular file; name a file of captions")
        self._form = form
        self._left_out: Counter[tuple[str, str]] = Counter()
        self.reviewed = False
        self.has_confidence = False
        self.most = sum(1 for _ in self._records())
        # Only the whole file tells whether rows of JSON have a review.
        if self.reviewed:
            self._left_out.clear()
            self.most = sum(1 for _ in self._records())
        if not self.most:
            told = self.left_out()
            raise UsageError(f"{path}: no caption is taken from it" + (f": {told}" if told else "; it holds none"))

    def __iter__(self) -> Iterator[Row]:
        """The rows, without what became of them when the file was written.

        Raises:
            UsageError: the file is another one than it was.
        """
        self._left_out.clear()
        key, seen = PathKeys().key, PathTable()
        for record in self._records():
            if seen.add(key(record.row.path), 1):
                self._left_out[_AGAIN] += 1
                continue
            yield replace(record.row, error=None, rank=None)

    def left_out(self) -> str | None:
        """What was not taken, in words; None if all was."""
        parts = [f"{count} {what[count > 1]}" for what, count in self._left_out.items()]
        return ", ".join(parts) or None

    def _records(self) -> Iterator[Record]:
        try:
            with self._path.open("rb") as file:
                for record in read_records(file, self._form, self._path):
                    self.reviewed = self.reviewed or COLUMN in record.values
                    self.has_confidence = self.has_confidence or "confidence" in record.values
                    yield from self._taken(record)
        except RecordError as error:
            raise UsageError(f"{self._path}: {error}; mend that line") from error
        except OSError as error:
            raise UsageError(f"{self._path}: cannot be read: {why(error)}") from error

    def _taken(self, record: Record) -> Iterator[Record]:
        row = record.row
        try:
            review = verdict_of(record.values.get(COLUMN))
        except ValueError as error:
            raise RecordError(record.line, str(error)) from error
        if row.rank is not None and row.rank != 1:
            return
        if not (row.caption or "").strip():
            self._left_out[_NO_CAPTION] += 1
        elif not row.path:
            raise RecordError(record.line, "it names no photo")
        elif self._replaced:
            if replaced_in(row.note) is None:
                self._left_out[_NOTHING_REPLACED] += 1
            else:
                yield record
        elif review == REJECTED:
            self._left_out[_REJECTED] += 1
        elif review == NOT_REVIEWED and self.reviewed and not self._unreviewed:
            self._left_out[_UNREVIEWED] += 1
        else:
            yield record._replace(row=replace(row, review=review))
