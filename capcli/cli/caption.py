"""`capcli caption`: photos, folders or standard input -> captions."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from capcli.cli.run_control import (
    FAILED,
    INTERRUPTED,
    check_confidence,
    check_counts,
    interrupt_stops,
    nothing_found,
)
from capcli.cli.shared_options import (
    OUTPUT,
    SPEED,
    BatchSize,
    Beam,
    Captions,
    Exclude,
    ExistingTexts,
    Field,
    Format,
    Hidden,
    Include,
    LengthPenalty,
    Limit,
    MaxChars,
    MaxLength,
    MaxPixels,
    MinConfidence,
    MirrorAverage,
    NewerThan,
    Null,
    Overwrite,
    Prefix,
    Progress,
    Provider,
    Quiet,
    Raw,
    Recursive,
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

if TYPE_CHECKING:
    from capcli.caption_settings import CaptionSettings
    from capcli.captioner import Captioner
    from capcli.opening import OpeningModel


def caption(
    inputs: Annotated[
        list[str],
        typer.Argument(
            help="Photos, folders, and tars of photos (.tar, .tar.gz); - reads standard input: paths, one a line, or "
            "the bytes of one image."
        ),
    ],
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="File to write: .csv, .tsv, .jsonl or .txt; - is standard output.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    resume: Resume = False,
    retry_failed: RetryFailed = False,
    overwrite: Overwrite = False,
    format_: Format = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="The same as --format jsonl.", rich_help_panel=OUTPUT)
    ] = False,
    spreadsheet_safe: Annotated[
        bool,
        typer.Option(
            "--spreadsheet-safe",
            help="CSV and TSV: put an apostrophe before cells that a spreadsheet would run as a formula.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    bom: Annotated[
        bool,
        typer.Option(
            "--bom",
            help="CSV and TSV: begin with a byte order mark; Excel needs it to read UTF-8.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
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
    min_confidence: MinConfidence = None,
    words: Annotated[
        bool,
        typer.Option("--words", help="With --json: each word with its log-probability.", rich_help_panel=OUTPUT),
    ] = False,
    captions: Captions = 1,
    raw: Raw = False,
    quiet: Quiet = False,
    progress: Progress = True,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Write nothing and load no model; print each photo that would be captioned, and the files that its "
            "captions would go to.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    beam: Beam = None,
    max_length: MaxLength = None,
    length_penalty: LengthPenalty = None,
    mirror_average: MirrorAverage = False,
    recursive: Recursive = True,
    include: Include = None,
    exclude: Exclude = None,
    hidden: Hidden = False,
    newer_than: NewerThan = None,
    limit: Limit = None,
    null: Null = False,
    max_pixels: MaxPixels = None,
    model: Annotated[str, typer.Option(help="A bundle's name or folder.", rich_help_panel=SPEED)] = "default",
    provider: Provider = "auto",
    batch_size: BatchSize = None,
    workers: Annotated[
        int, typer.Option(help="Images that are read and decoded at once; processes do it.", rich_help_panel=SPEED)
    ] = 2,
    threads: Annotated[
        int | None, typer.Option(help="CPU threads for the model. Default: one for each core.", rich_help_panel=SPEED)
    ] = None,
) -> int:
    """Say in a sentence what a photo shows.

    One photo prints its sentence; several print path and sentence, separated by a tab. Folders are walked, and tars
    read without being unpacked.
    """
    from capcli.caption_settings import CaptionSettings
    from capcli.cli.caption_inputs import check_no_url, counter, given_inputs
    from capcli.cli.destinations import STDIN, OutputOptions
    from capcli.cli.photo_places import PhotoPlaces
    from capcli.inputs.ages import Newer
    from capcli.inputs.paths import FolderRules
    from capcli.opening import LANES_FOR_MANY, OpeningModel

    check_no_url(inputs)
    check_counts(
        beam=beam,
        max_length=max_length,
        captions=captions,
        batch_size=batch_size,
        workers=workers,
        max_pixels=max_pixels,
        limit=limit,
        threads=threads,
    )
    check_confidence(min_confidence)
    where = OutputOptions(
        output=output,
        format_=format_,
        as_json=as_json,
        spreadsheet_safe=spreadsheet_safe,
        bom=bom,
        resume=resume,
        retry_failed=retry_failed,
        overwrite=overwrite,
        places=PhotoPlaces(
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
        ),
        captions=captions,
        words=words,
    )
    wanted = CaptionSettings(beam, max_length, length_penalty, captions, raw, words, mirror_average)
    if min_confidence is not None:
        _need_confidence(model, wanted)
    where.check_inputs(inputs)
    photos = where.places.destinations(where.file, reads=[STDIN] if "-" in inputs else [])
    rules = FolderRules(recursive, hidden, tuple(include or ()), tuple(exclude or ()))
    newer = None if newer_than is None else Newer(newer_than)
    given = given_inputs(inputs, rules, null=null, newer=newer)
    if given.nameless:
        where.check_stdin()
    open_model = partial(OpeningModel, model, provider, threads, 1 if given.one else LANES_FOR_MANY)
    opening = None
    if given.one and not (given.missing or dry_run) and where.file is None and not photos:
        # It will be needed for sure, and what is imported from here on takes as long.
        opening = open_model()
    # These load NumPy, which need not be waited for to be told of a wrong option.
    from capcli.captioning import CaptioningRun
    from capcli.cli.feedback import feedback_for
    from capcli.inputs.loaders import Loaders
    from capcli.outputs.destinations import Destinations
    from capcli.pipeline import PipelineSettings

    items = where.checked(given.items)
    if dry_run:
        from capcli.cli.dry_run import show_plan
        from capcli.planning import plan

        planned = plan(items, rows=where.rows_place, earlier=where.earlier(), photos=photos, limit=limit)
        found = show_plan(planned, quiet=quiet)
        if not found.found_any:
            return nothing_found(inputs, given.left_out, newer)
        if not quiet:
            say(str(found))
        return 0
    feedback = feedback_for(
        quiet=quiet,
        progress=progress,
        alone=given.alone,
        to_stdout=where.to_stdout,
        # With a limit nobody knows how many will be looked at until those are captioned.
        count=counter(inputs, rules, newer) if limit is None else lambda: None,
        left_out=given.left_out,
    )
    run = CaptioningRun(
        lambda: _load(opening or open_model(), mirror_average),
        wanted,
        Destinations(where.rows(alone=given.one), photos, feedback.kept, min_confidence),
        PipelineSettings(batch_size, workers, max_pixels),
        feedback,
        limit,
        # One photo alone has nobody to take down, and its caption is waited for.
        None if given.one else Loaders(workers),
    )
    try:
        with interrupt_stops(run):
            report = run.run(items)
    finally:
        feedback.close(run.report)
    if not report.found_any:
        return nothing_found(inputs, given.left_out, newer)
    if report.stopped:
        say(where.how_to_go_on())
        return INTERRUPTED
    if report.kept_failures and not quiet:
        say(where.failed_before(report.kept_failures))
    return FAILED if report.failed or report.kept_failures else 0


def _load(opening: OpeningModel, mirror_average: bool) -> Captioner:
    # This import needs no waiting for the model either.
    from capcli.captioner import Captioner

    return Captioner(opening, mirror_average=mirror_average)


def _need_confidence(model: str, wanted: CaptionSettings) -> None:
    """Refuses to hold captions back for a confidence that they will not have, before anything is loaded or written.

    Raises:
        UsageError: there will be none.
        BundleError: no such model.
    """
    from capcli.bundle.bundle import find_bundle, read_bundle

    wanted.check_confidence(read_bundle(find_bundle(model)))
