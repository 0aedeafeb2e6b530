"""The destinations of `capcli caption`: its options as destinations of a run, and standard output as one of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from capcli.cli.terminal import write_stdout
from capcli.errors import UsageError
from capcli.outputs.destinations import Destination, Outcome
from capcli.outputs.output_file import Existing
from capcli.outputs.row_file import RowFile
from capcli.outputs.rows import Row, RowFormat


class Stdout(Destination):
    """Standard output: each input is answered, however often it comes, as soon as its captions are known."""

    def __init__(self, form: RowFormat) -> None:
        self._form = form
        self._started = False

    def wants(self, path: str) -> bool:
        return True

    def put(self, rows: Sequence[Row]) -> Outcome:
        header = b"" if self._started else self._form.header()
        self._started = True
        write_stdout(header + b"".join(map(self._form.record, rows)))
        return Outcome(True)


def chosen_format(format_: str | None, *, as_json: bool) -> str | None:
    """The format asked for with --format or --json.

    Raises:
        UsageError: they say different things.
    """
    if as_json and format_ not in (None, "jsonl"):
        raise UsageError("--json is --format jsonl; give one format")
    return "jsonl" if as_json else format_


def photo_destinations(sidecar: str | None, *, write_metadata: bool, overwrite: bool) -> list[Destination]:
    """Sidecars and metadata, as asked for.

    Raises:
        UsageError: no suffix for sidecars.
        DependencyError: the library that writes metadata is not installed.
    """
    photos: list[Destination] = []
    if sidecar is not None:
        from capcli.outputs.sidecars import Sidecars

        photos.append(Sidecars(sidecar, overwrite=overwrite))
    if write_metadata:
        from capcli.outputs.metadata import PhotoMetadata

        photos.append(PhotoMetadata(overwrite=overwrite))
    return photos


def rows_destination(
    output: Path | None, form: RowFormat, *, resume: bool, retry_failed: bool, overwrite: bool, captions: int
) -> Destination:
    """The output file, or standard output where none is named."""
    if output is None:
        return Stdout(form)
    existing = Existing.RESUME if resume else Existing.REPLACE if overwrite else Existing.REFUSE
    return RowFile(output, form, existing=existing, retry_failed=retry_failed, captions=captions)
