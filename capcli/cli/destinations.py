"""Where a run's results go: standard output or a file, text files beside the photos, the photos' own metadata."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from capcli.cli.terminal import write_stdout
from capcli.errors import OutputError
from capcli.outputs.rows import Row, RowFormat

if TYPE_CHECKING:
    from capcli.captioner import Caption
    from capcli.outputs.files import Outcome
    from capcli.outputs.sidecars import Sidecars
    from capcli.pipeline import Result


class RowSink(Protocol):
    """Takes the rows of one result."""

    def write(self, rows: Sequence[Row]) -> None: ...


class CaptionSink(Protocol):
    """Puts captions to where a photo is."""

    def keeps(self, path: str) -> bool:
        """Whether it is known before a photo is looked at that what is there stays."""
        ...

    def put(self, path: str, captions: Sequence[str]) -> Outcome: ...


@dataclass(frozen=True)
class Delivered:
    """What became of a result: why its input counts as failed, or whether all its places had captions already."""

    error: str | None
    kept: bool = False


class Stdout:
    """Standard output: a record out as soon as it is known."""

    def __init__(self, rows: RowFormat) -> None:
        self._rows = rows
        self._started = False

    def write(self, rows: Sequence[Row]) -> None:
        header = b"" if self._started else self._rows.header()
        self._started = True
        write_stdout(header + b"".join(map(self._rows.record, rows)))


class SidecarSink:
    """Text files beside the photos."""

    def __init__(self, sidecars: Sidecars) -> None:
        self._sidecars = sidecars

    def keeps(self, path: str) -> bool:
        return self._sidecars.keeps(path)

    def put(self, path: str, captions: Sequence[str]) -> Outcome:
        return self._sidecars.write(path, captions)


class MetadataSink:
    """The photos' own descriptions, with the best of several captions."""

    def __init__(self, *, overwrite: bool) -> None:
        self._overwrite = overwrite

    def keeps(self, path: str) -> bool:
        return False

    def put(self, path: str, captions: Sequence[str]) -> Outcome:
        from capcli.outputs.metadata import write_description

        return write_description(path, captions[0], overwrite=self._overwrite)


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

    def keeps(self, path: str) -> bool:
        """Whether a path needs no caption: its places have one, and nothing else is wanted."""
        return self.rows is None and all(sink.keeps(path) for sink in self.photos)

    def deliver(self, result: Result) -> Delivered:
        """Delivers one result. Rows go last: where one is, all is done.

        Raises:
            OutputError: standard output or the file cannot be written.
        """
        error, kept = result.error, False
        # The bytes of an image on standard input have no place beside which, or into which, to write.
        if error is None and result.path != "-":
            captions = [self._text(found) for found in result.captions]
            outcomes = [self._put(sink, result.path, captions) for sink in self.photos]
            error = "; ".join(outcome.reason or "" for outcome in outcomes if outcome.failed) or None
            kept = self.rows is None and not any(outcome.written for outcome in outcomes)
        if self.rows is not None:
            self.rows.write(list(self._rows(result, error)))
        return Delivered(error, kept)

    @staticmethod
    def _put(sink: CaptionSink, path: str, captions: Sequence[str]) -> Outcome:
        try:
            return sink.put(path, captions)
        except OutputError as error:
            from capcli.outputs.files import Outcome

            return Outcome(False, str(error), failed=True)

    def _rows(self, result: Result, error: str | None) -> Iterator[Row]:
        if not result.captions:
            yield Row(result.path, None, None, error)
        for rank, found in enumerate(result.captions, start=1):
            yield Row(result.path, self._text(found), found.score, error, rank if self.ranked else None)

    def _text(self, found: Caption) -> str:
        return found.raw if self.raw else found.text
