"""Where the captions of `capcli caption` go: its options, as destinations of a run, and standard output as one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from capcli.cli.terminal import write_stdout
from capcli.errors import UsageError
from capcli.outputs.destinations import Destination, Outcome
from capcli.outputs.rows import RAW_BYTES_NOTE, Row, RowFormat, format_of, holds_raw_bytes, row_format

if TYPE_CHECKING:
    from capcli.inputs.paths import InputItem


class Stdout(Destination):
    """Standard output: each input is answered, however often it comes, as soon as its captions are known."""

    def __init__(self, form: RowFormat) -> None:
        self._form = form
        self._started = False
        self._told_of_bytes = False
        self._news: list[str] = []

    def wants(self, path: str) -> bool:
        return True

    def put(self, rows: Sequence[Row]) -> Outcome:
        header = b"" if self._started else self._form.header()
        self._started = True
        write_stdout(header, *map(self._form.record, rows))
        # Lines of text are for programs that take names as bytes.
        if not self._told_of_bytes and self._form.name != "text" and holds_raw_bytes(self._form, rows):
            self._told_of_bytes = True
            self._news.append(f"standard output {RAW_BYTES_NOTE}")
        return Outcome(True)

    def news(self) -> list[str]:
        news, self._news = self._news, []
        return news


@dataclass(frozen=True, kw_only=True)
class OutputOptions:
    """The options that say where captions go, each as the user gave it.

    Raises:
        UsageError: they do not go together, or name no format.
    """

    output: Path | None
    format_: str | None
    as_json: bool
    spreadsheet_safe: bool
    bom: bool
    resume: bool
    retry_failed: bool
    overwrite: bool
    sidecar: str | None
    write_metadata: bool
    captions: int

    def __post_init__(self) -> None:
        if self.resume and self.output is None:
            raise UsageError("--resume goes on with an output file; name it with -o FILE")
        if self.resume and self.overwrite:
            raise UsageError("--resume keeps what --overwrite would replace; give one of them")
        if self.retry_failed and not self.resume:
            raise UsageError("--retry-failed goes with --resume")
        if self.as_json and self.format_ not in (None, "jsonl"):
            raise UsageError("--json is --format jsonl; give one format")
        format_of(self.output, self.format_)

    @property
    def to_stdout(self) -> bool:
        """Whether rows go to standard output: beside captions for photos only where a format is named."""
        named = self.as_json or self.format_ is not None
        return self.output is None and (named or not (self.sidecar is not None or self.write_metadata))

    def photos(self) -> list[Destination]:
        """Sidecars and metadata, as asked for.

        Raises:
            UsageError: no suffix for sidecars.
            DependencyError: the library that writes metadata is not installed.
        """
        photos: list[Destination] = []
        if self.sidecar is not None:
            from capcli.outputs.sidecars import Sidecars

            photos.append(Sidecars(self.sidecar, overwrite=self.overwrite))
        if self.write_metadata:
            from capcli.outputs.metadata import PhotoMetadata

            photos.append(PhotoMetadata(overwrite=self.overwrite))
        return photos

    def rows(self, *, alone: bool) -> Destination | None:
        """The output file, standard output, or neither where only photos get their captions.

        Args:
            alone: there is one input, whose captions need no path beside them.
        Raises:
            UsageError: --spreadsheet-safe for another format.
        """
        form = row_format(
            format_of(self.output, "jsonl" if self.as_json else self.format_),
            ranked=self.captions > 1,
            # A file that is gone on with has its paths, or could not be gone on with.
            with_path=self.resume or not alone,
            spreadsheet_safe=self.spreadsheet_safe,
            bom=self.bom,
        )
        if self.output is None:
            return Stdout(form) if self.to_stdout else None
        from capcli.outputs.output_file import Existing
        from capcli.outputs.row_file import RowFile

        existing = Existing.RESUME if self.resume else Existing.REPLACE if self.overwrite else Existing.REFUSE
        return RowFile(self.output, form, existing=existing, retry_failed=self.retry_failed, captions=self.captions)

    def allowed(self, items: Iterable[InputItem]) -> Iterator[InputItem]:
        """The inputs, as long as they can go where captions are to go.

        Raises:
            UsageError: a picture on standard input and --resume.
        """
        for item in items:
            if self.resume and item.content is not None:
                raise UsageError("--resume cannot know a picture on standard input: it has no name; give its path")
            yield item

    def how_to_go_on(self) -> str:
        """What to say of a run that was stopped."""
        if self.output is None:
            return "stopped; what was captioned so far is written"
        resume = "--resume instead of --overwrite" if self.overwrite else "--resume"
        return f"stopped; {self.output} holds what was captioned so far; the same command with {resume} goes on"
