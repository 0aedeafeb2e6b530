"""CSV files with a header -> rows of image name and captions.

Any of four delimiters, the headings people use, and what spreadsheets and text editors do to such files.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from capcli.dataset.rows import (
    CAPTION_COLUMNS,
    IMAGE_COLUMNS,
    CaptionRow,
    CaptionRows,
    column_of,
    split_of,
    verdict_in,
)
from capcli.dataset.text import Line, lines_of
from capcli.errors import DataError
from capcli.verdicts import COLUMN as REVIEW

_DELIMITERS = (",", ";", "\t", "|")
_LONGEST_HEADER = 10_000


@dataclass(frozen=True)
class _Columns:
    """How a CSV file is laid out: its header line, and where the columns are that matter."""

    line: int
    delimiter: str
    spaced: bool
    width: int
    image: int
    caption: int
    split: int | None
    error: int | None
    review: int | None
    caller_paths: bool


def is_csv(text: str) -> bool:
    """Whether the first line is a header that names an image and a caption."""
    return _find_columns(text) is not None


def read_csv(path: Path, text: str) -> CaptionRows:
    """Reads the text of a CSV file.

    Args:
        path: what to call it in messages.
        text: its content, for which `is_csv` is true.
    Raises:
        DataError: its quotes are broken, or a field holds something else than a split or a verdict of a review.
    """
    columns = _find_columns(text)
    assert columns is not None
    rows, skipped = [], []
    for line, cells in _csv_rows(path, text, columns):
        if line <= columns.line:
            continue
        cells = _fitted(cells, columns)
        if len(cells) <= max(columns.image, columns.caption) or not cells[columns.image].strip():
            skipped.append(f"line {line}")
            continue
        cells += [""] * (columns.width - len(cells))
        caption = cells[columns.caption]
        failed = columns.error is not None and bool(cells[columns.error].strip()) and not caption.strip()
        split = split_of(None if columns.split is None else cells[columns.split], path, f"line {line}")
        verdict = None if columns.review is None else verdict_in(cells[columns.review], path, f"line {line}")
        rows.append(CaptionRow(cells[columns.image], (caption,), split, failed, verdict))
    return CaptionRows(rows, skipped, caller_paths=columns.caller_paths)


def header_line(text: str) -> Line | None:
    """The line that should be the header: the first that is neither blank nor Excel's `sep=;`."""
    lines = (Line(number, line) for number, line in enumerate(lines_of(text), 1))
    return next((line for line in lines if line.text.strip() and not _names_separator(line.text)), None)


def _find_columns(text: str) -> _Columns | None:
    header = header_line(text)
    if header is None or len(header.text) > _LONGEST_HEADER:
        return None
    line = header.text
    # What stands above the header and is not blank names the separator.
    above = [each[4:] for each in islice(lines_of(text), header.number - 1) if each.strip()]
    for delimiter in above[-1:] or _DELIMITERS:
        spaced = f"{delimiter} " in line
        names = [column_of(cell) for cell in next(csv.reader([line], delimiter=delimiter, skipinitialspace=spaced))]
        image, caption = _first(IMAGE_COLUMNS, names), _first(CAPTION_COLUMNS, names)
        if image is not None and caption is not None:
            return _Columns(
                line=header.number,
                delimiter=delimiter,
                spaced=spaced,
                width=len(names),
                image=image,
                caption=caption,
                split=_first(("split",), names),
                error=_first(("error",), names),
                review=_first((REVIEW,), names),
                caller_paths=names[image] == "path",
            )
    return None


def _names_separator(line: str) -> bool:
    # Excel writes and heeds such a line.
    return line.startswith("sep=") and line[4:] in _DELIMITERS


def _csv_rows(path: Path, text: str, columns: _Columns) -> Iterator[tuple[int, list[str]]]:
    """Rows that are not blank, each with the number of its first line."""
    # Kaggle's Flickr30k separates by "|" and leaves quotes as they are; everyone else quotes.
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=columns.delimiter,
        skipinitialspace=columns.spaced,
        quoting=csv.QUOTE_NONE if columns.delimiter == "|" else csv.QUOTE_MINIMAL,
        # Otherwise a lone quote swallows the rows up to the next one without a word.
        strict=True,
    )
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise DataError(
                f"{path}: line {line}: not proper CSV, a quote is open or not doubled ({error}); "
                'write a caption with quotes as "say ""hello"""'
            ) from error
        if any(cell.strip() for cell in cells):
            yield line, cells


def _fitted(cells: list[str], columns: _Columns) -> list[str]:
    """Cells cut to the header's width: commas of an unquoted last caption are its own; [] where it cannot be said."""
    while len(cells) > columns.width and not cells[-1].strip():
        cells = cells[:-1]
    if len(cells) <= columns.width:
        return list(cells)
    last = columns.width - 1
    return [*cells[:last], columns.delimiter.join(cells[last:])] if columns.caption == last else []


def _first(wanted: tuple[str, ...], names: list[str]) -> int | None:
    return next((names.index(name) for name in wanted if name in names), None)
