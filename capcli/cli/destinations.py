"""Where a run's results go: standard output or a file, text files beside the photos, the photos' own metadata."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from capcli.cli.terminal import ReaderGoneError
from capcli.errors import OutputError
from capcli.outputs import Row, RowFormat

if TYPE_CHECKING:
    from capcli.pipeline import Result


class RowSink(Protocol):
    """Takes the rows of one result."""

    def write(self, rows: Sequence[Row]) -> None: ...


class CaptionSink(Protocol):
    """Puts captions to where a photo is.

    Returns None, or the reason why they are not there now.
    """

    def put(self, path: str, captions: Sequence[str]) -> str | None: ...


class Stdout:
    """Standard output: a record out as soon as it is known."""

    def __init__(self, rows: RowFormat) -> None:
        self._rows = rows
        header = rows.header()
        if header:
            self._put(header)

    def write(self, rows: Sequence[Row]) -> None:
        self._put(b"".join(map(self._rows.record, rows)))

    def _put(self, record: bytes) -> None:
        try:
            sys.stdout.buffer.write(record)
            sys.stdout.buffer.flush()
        except BrokenPipeError as error:
            raise ReaderGoneError from error
        except OSError as error:
            raise OutputError(f"standard output cannot be written ({error.strerror})") from error


@dataclass
class Destinations:
    """All places a result goes to.

    Args:
        rows: standard output or a file; None where photos get their captions and nothing else is wanted.
        photos: sidecars, metadata.
        ranked: rows have a rank.
        raw: captions as bare words.
    """

    rows: RowSink | None
    photos: list[CaptionSink] = field(default_factory=list)
    ranked: bool = False
    raw: bool = False

    def deliver(self, result: Result) -> str | None:
        """Delivers one result. Rows go last: where one is, all is done.

        Returns:
            Why the input counts as failed, None if it does not.
        Raises:
            OutputError: standard output or the file cannot be written.
        """
        error = result.error
        if error is None:
            captions = [found.raw if self.raw else found.text for found in result.captions]
            reasons = [reason for sink in self.photos if (reason := sink.put(result.path, captions)) is not None]
            error = "; ".join(reasons) or None
        if self.rows is not None:
            self.rows.write(list(self._rows(result, error)))
        return error

    def _rows(self, result: Result, error: str | None) -> Iterator[Row]:
        if not result.captions:
            yield Row(result.path, None, None, error)
        for rank, found in enumerate(result.captions, start=1):
            text = found.raw if self.raw else found.text
            yield Row(result.path, text, found.score, error, rank if self.ranked else None)
