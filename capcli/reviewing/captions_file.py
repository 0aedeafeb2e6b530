"""A file of captions, as it is reviewed: every row with all of its cells, and photos in the order of review.

Knows nothing of pages or pictures.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from capcli.errors import UsageError
from capcli.outputs.records import RecordError, read_records
from capcli.outputs.rows import BYTE_ORDER_MARK, NUMBER_COLUMNS, Row
from capcli.verdicts import COLUMN, verdict_of


@dataclass(frozen=True)
class ReviewRow:
    """A row of the file. `number` is its place among the rows, from 0; `cells` are its texts, one for each column."""

    number: int
    row: Row
    cells: tuple[str, ...]

    @property
    def confidence(self) -> float | None:
        """The row's; None where somebody's file has no number there."""
        known = self.row.confidence
        return known if known is not None and math.isfinite(known) else None


@dataclass(frozen=True)
class CaptionsFile:
    """What is reviewed.

    `columns`: the file's, and last, where it lacks that, `review`. `sha256`: of its bytes. `marked`: it begins with a
    byte order mark.
    """

    path: Path
    columns: tuple[str, ...]
    rows: tuple[ReviewRow, ...]
    sha256: str
    marked: bool

    def photos(self) -> list[list[ReviewRow]]:
        """The rows that have no error instead of a caption, photo by photo, the least sure first.

        Where rows have no confidence, they are ordered by score and come before the others.
        """
        photos: dict[str, list[ReviewRow]] = {}
        for row in self.rows:
            if not is_failure(row.row):
                photos.setdefault(row.row.path, []).append(row)
        return sorted(photos.values(), key=_how_sure)

    def failures(self) -> list[ReviewRow]:
        """The rows that have an error instead of a caption."""
        return [row for row in self.rows if is_failure(row.row)]


def read_captions_file(path: Path, format_name: str) -> CaptionsFile:
    """Reads a file that capcli wrote, in any version; people may have edited it, and it may have been reviewed before.

    Args:
        path: the file.
        format_name: one of `FORMATS`.
    Raises:
        UsageError: it cannot be read, or is no such file; the message names it.
    """
    try:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0)
            marked = file.read(len(BYTE_ORDER_MARK)) == BYTE_ORDER_MARK
            file.seek(0)
            records = [(record.row, record.values, record.line) for record in read_records(file, format_name, path)]
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from error
    except RecordError as error:
        raise UsageError(f"{path}: {error}; a file of captions that capcli wrote is wanted") from error
    # Lines of JSON need not all name the same.
    columns = dict.fromkeys(column for _, values, _ in records for column in values if column != COLUMN)
    rows = []
    for number, (row, values, line) in enumerate(records):
        try:
            verdict = verdict_of(values.get(COLUMN))
        except ValueError as error:
            raise UsageError(f"{path}: line {line}: {error}") from error
        cells = tuple(_cell(column, values.get(column)) for column in columns)
        rows.append(ReviewRow(number, row, (*cells, verdict)))
    if not rows:
        raise UsageError(f"{path}: holds no captions")
    return CaptionsFile(path, (*columns, COLUMN), tuple(rows), sha256, marked)


def is_failure(row: Row) -> bool:
    """Whether a row says why there is no caption."""
    return row.caption is None and row.error is not None


def _how_sure(rows: Sequence[ReviewRow]) -> tuple[bool, float, int]:
    # The best caption of the photo, whichever order its rows have.
    best = min(rows, key=lambda each: (each.row.rank or 0, each.number))
    known = best.row.score if best.confidence is None else best.confidence
    sure = -math.inf if known is None or math.isnan(known) else known
    return best.confidence is not None, sure, best.number


def _cell(column: str, value: object) -> str:
    """A value of JSON as CSV has it."""
    if value is None or isinstance(value, str):
        return value or ""
    return f"{value:.4f}" if column in NUMBER_COLUMNS and isinstance(value, float) else json.dumps(value)
