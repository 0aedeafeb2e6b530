"""A line of CSV or TSV -> its cells. Knows nothing of what they say, or of where lines begin and end."""

from __future__ import annotations

import csv

_PLAIN = {"t": "\t", "r": "\r", "n": "\n", "\\": "\\"}


class CsvSplitter:
    """Splits records of CSV, one after the other: a reader for each would take longer to make than to use."""

    def __init__(self, delimiter: str) -> None:
        self._delimiter = delimiter
        self._begin()

    def split(self, text: str) -> list[str]:
        """The cells of one record.

        Args:
            text: without the line end.
        Raises:
            ValueError: it is none, or several.
        """
        if '"' not in text and "\r" not in text and "\n" not in text:
            return text.split(self._delimiter)
        self._texts.append(text)
        try:
            return next(self._reader)
        except (csv.Error, StopIteration) as error:
            # It remembers what it has begun.
            self._begin()
            raise ValueError("a quote is not closed, or stands within a cell") from error

    def _begin(self) -> None:
        # It takes the text from the end of the list, and None, the end of all, where it asks for more.
        self._texts: list[str | None] = [None]
        self._reader = csv.reader(iter(self._texts.pop, None), delimiter=self._delimiter, strict=True)


def split_tsv(text: str) -> list[str]:
    """The cells of a line, without its end.

    Raises:
        ValueError: a backslash begins no escape.
    """
    cells = text.split("\t")
    return [_unescape(cell) for cell in cells] if "\\" in text else cells


def _unescape(cell: str) -> str:
    characters = iter(cell)
    try:
        return "".join(_PLAIN[next(characters, "")] if char == "\\" else char for char in characters)
    except KeyError as error:
        raise ValueError(f"{cell!r} holds a backslash that begins no escape") from error
