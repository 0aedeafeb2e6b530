"""`capcli apply`: captions from a file, corrected or not -> the photos."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from capcli.cli.run_control import FAILED, INTERRUPTED, check_confidence, interrupt_stops
from capcli.cli.shared_options import (
    OUTPUT,
    ExistingTexts,
    Field,
    Format,
    MaxChars,
    MinConfidence,
    Overwrite,
    Prefix,
    Progress,
    Quiet,
    Resume,
    RetryFailed,
    Separator,
    Sidecar,
    Suffix,
    WriteMetadata,
    Xmp,
    XmpName,
)
from capcli.cli.terminal import say
from capcli.errors import UsageError

_GIVEN = "Captions and photos"


def apply(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="Captions: .csv, .tsv or .jsonl that capcli wrote, or any with columns path and caption.",
        ),
    ],
    photos: Annotated[
        str,
        typer.Option(
            metavar="DIR",
            help="Where relative paths begin, or one of the folders that they name. Default: here, else beside FILE.",
            rich_help_panel=_GIVEN,
        ),
    ] = "",
    unreviewed: Annotated[
        bool,
        typer.Option(
            "--unreviewed",
            help="Of a file with a column review, also take rows where it is empty, not only accepted and edited ones.",
            rich_help_panel=_GIVEN,
        ),
    ] = False,
    min_confidence: MinConfidence = None,
    sidecar: Sidecar = None,
    write_metadata: WriteMetadata = False,
    xmp: Xmp = False,
    xmp_name: XmpName = None,
    field: Field = None,
    max_chars: MaxChars = None,
    existing: ExistingTexts = "keep",
    separator: Separator = None,
    prefix: Prefix = "",
    suffix: Suffix = "",
    undo: Annotated[
        bool,
        typer.Option(
            "--undo",
            help="Put back what captions have replaced in the photos' metadata, as the notes of FILE tell it, where a "
            "photo still says what capcli wrote.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Write nothing; print each file that would be written, and its caption.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="A row for each photo, with its caption and what became of it: .csv, .tsv or .jsonl.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    format_: Format = None,
    resume: Resume = False,
    retry_failed: RetryFailed = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    progress: Progress = True,
) -> int:
    """Write captions from a file to their photos, once somebody has looked at them.

    To the same places as capcli caption, with the same care, and without a model. What says the same already is left
    alone, so that a second run writes nothing.
    """
    from capcli.cli.destinations import OutputOptions, Rehearsal
    from capcli.cli.photo_places import PhotoPlaces

    check_confidence(min_confidence)
    places = PhotoPlaces(
        sidecar=sidecar,
        write_metadata=write_metadata,
        xmp=xmp,
        xmp_name=xmp_name,
        field=field,
        max_chars=max_chars,
        existing=existing,
        separator=separator,
        prefix=prefix,
        suffix=suffix,
        undo=undo,
        dry_run=dry_run,
    )
    if undo and (unreviewed or min_confidence is not None):
        raise UsageError(
            "--undo puts back all that FILE tells as replaced; --unreviewed and --min-confidence choose captions"
        )
    if dry_run and not (output is None and format_ is None):
        raise UsageError("--dry-run writes nothing, no rows either; give it without -o and --format")
    where = OutputOptions(
        output=output,
        format_=format_,
        as_json=False,
        spreadsheet_safe=False,
        bom=False,
        resume=resume,
        retry_failed=retry_failed,
        overwrite=overwrite,
        places=places,
        captions=1,
        words=False,
    )
    if undo and where.makes_image_folder:
        raise UsageError("--undo writes no captions; its rows are .csv, .tsv or .jsonl")
    if not (places.any or where.makes_image_folder):
        raise UsageError(
            "say where the captions go: --sidecar .txt, --xmp or --write-metadata, or --format imagefolder with -o"
        )
    from capcli.applying import ApplyingRun, GivenCaption, photos_of
    from capcli.cli.feedback import feedback_for
    from capcli.outputs.destinations import Destination, Destinations
    from capcli.outputs.given_rows import GivenRows

    where.check_inputs([file])
    destinations: Sequence[Destination] = places.destinations(where.file, reads=[file])
    if dry_run:
        destinations = [Rehearsal(each) for each in destinations]
    rows = GivenRows(Path(file), unreviewed=unreviewed, replaced=undo)
    if min_confidence is not None and not (rows.has_confidence or rows.reviewed):
        raise UsageError(f"{file}: has no column confidence, which --min-confidence needs")
    feedback = feedback_for(
        quiet=quiet,
        progress=progress,
        alone=False,
        to_stdout=dry_run or where.to_stdout,
        count=lambda: rows.most,
        left_out={},
        done=("would be " if dry_run else "") + ("put back" if undo else "written"),
    )
    run = ApplyingRun(
        Destinations(
            where.rows(alone=False),
            destinations,
            feedback.kept,
            min_confidence,
            rows_report=not where.makes_image_folder,
        ),
        feedback,
    )

    def given() -> Iterator[GivenCaption]:
        for each in photos_of(rows, photos, os.path.dirname(file)):
            (item,) = where.checked([each.item])
            yield replace(each, item=item)

    try:
        with interrupt_stops(run):
            report = run.run(given())
    finally:
        feedback.close(run.report)
    left_out = rows.left_out()
    if left_out is not None and not quiet:
        say(f"{file}: left out: {left_out}")
    if report.stopped:
        say(where.how_to_go_on())
        return INTERRUPTED
    if report.kept_failures and not quiet:
        say(where.failed_before(report.kept_failures))
    return FAILED if report.failed or report.kept_failures else 0
