"""`capcli caption`: photos, folders or standard input -> captions."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from capcli.cli.terminal import say
from capcli.errors import UsageError

if TYPE_CHECKING:
    from capcli.captioner import Captioner
    from capcli.captioning import CaptioningRun

_FAILED, _INTERRUPTED = 1, 130
_OUTPUT, _SEARCH, _FOLDERS, _SPEED = "Output", "Search", "Folders and standard input", "Model and speed"


def caption(
    inputs: Annotated[
        list[str], typer.Argument(help="Photos, folders, or - for standard input: paths, or one image's bytes.")
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File to write: .csv, .tsv, .jsonl or .txt.", rich_help_panel=_OUTPUT),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the output file of an earlier run.", rich_help_panel=_OUTPUT)
    ] = False,
    retry_failed: Annotated[
        bool,
        typer.Option("--retry-failed", help="With --resume: also photos that failed.", rich_help_panel=_OUTPUT),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what an earlier run wrote.", rich_help_panel=_OUTPUT)
    ] = False,
    format_: Annotated[
        str | None, typer.Option("--format", help="text, csv, tsv or jsonl.", rich_help_panel=_OUTPUT)
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="The same as --format jsonl.", rich_help_panel=_OUTPUT)
    ] = False,
    spreadsheet_safe: Annotated[
        bool,
        typer.Option(
            "--spreadsheet-safe",
            help="CSV and TSV: an apostrophe before cells that a spreadsheet would run as a formula.",
            rich_help_panel=_OUTPUT,
        ),
    ] = False,
    sidecar: Annotated[
        str | None,
        typer.Option(
            help="Suffix of a text file beside each photo that gets its caption, such as .txt.",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    write_metadata: Annotated[
        bool,
        typer.Option(
            "--write-metadata",
            help="Put the caption into each photo's own description (XMP, EXIF).",
            rich_help_panel=_OUTPUT,
        ),
    ] = False,
    captions: Annotated[int, typer.Option(help="Captions for each image, best first.", rich_help_panel=_OUTPUT)] = 1,
    raw: Annotated[
        bool, typer.Option("--raw", help="Bare words: lower case, no full stop.", rich_help_panel=_OUTPUT)
    ] = False,
    quiet: Annotated[
        bool,
        typer.Option("--quiet", "-q", help="No summary, no errors of single images.", rich_help_panel=_OUTPUT),
    ] = False,
    progress: Annotated[
        bool, typer.Option("--progress/--no-progress", help="A progress bar on a terminal.", rich_help_panel=_OUTPUT)
    ] = True,
    beam: Annotated[
        int | None,
        typer.Option(help="Hypotheses kept; 1 is greedy search. Default: the model's.", rich_help_panel=_SEARCH),
    ] = None,
    max_length: Annotated[
        int | None, typer.Option(help="Longest caption, in words. Default: the model's.", rich_help_panel=_SEARCH)
    ] = None,
    length_penalty: Annotated[
        float | None,
        typer.Option(help="0 likes short captions, 1 long ones. Default: the model's.", rich_help_panel=_SEARCH),
    ] = None,
    recursive: Annotated[
        bool, typer.Option("--recursive/--no-recursive", help="Go into sub-folders.", rich_help_panel=_FOLDERS)
    ] = True,
    include: Annotated[
        list[str] | None,
        typer.Option(help="Glob of files to take from folders. Repeatable.", rich_help_panel=_FOLDERS),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(help="Glob of files and folders to leave out. Repeatable.", rich_help_panel=_FOLDERS),
    ] = None,
    hidden: Annotated[
        bool,
        typer.Option("--hidden", help="Also hidden files, and folders like @eaDir.", rich_help_panel=_FOLDERS),
    ] = False,
    null: Annotated[
        bool,
        typer.Option("--null", "-0", help="Paths on standard input end with NUL.", rich_help_panel=_FOLDERS),
    ] = False,
    max_pixels: Annotated[
        int | None,
        typer.Option(help="Refuse larger images. Default: 200 million.", rich_help_panel=_FOLDERS),
    ] = None,
    model: Annotated[str, typer.Option(help="A bundle's name or folder.", rich_help_panel=_SPEED)] = "default",
    provider: Annotated[str, typer.Option(help="auto, cpu or cuda.", rich_help_panel=_SPEED)] = "auto",
    batch_size: Annotated[int, typer.Option(help="Images the model looks at at once.", rich_help_panel=_SPEED)] = 16,
    workers: Annotated[int, typer.Option(help="Threads that read and decode images.", rich_help_panel=_SPEED)] = 2,
    threads: Annotated[
        int | None, typer.Option(help="CPU threads of the model. Default: one for each core.", rich_help_panel=_SPEED)
    ] = None,
) -> int:
    """Say in a sentence what a photo shows.

    One photo prints its sentence; several print path and sentence, separated by a tab. Folders are walked.
    """
    _check_counts(captions=captions, batch_size=batch_size, workers=workers, max_pixels=max_pixels or 1)
    _check_together(output, resume=resume, retry_failed=retry_failed, overwrite=overwrite)
    from capcli.captioning import CaptioningRun, CaptionSettings
    from capcli.cli.caption_inputs import counter, given_inputs
    from capcli.cli.destinations import chosen_format, photo_destinations, rows_destination
    from capcli.cli.feedback import feedback_for
    from capcli.inputs.paths import FolderRules
    from capcli.outputs.destinations import Destinations
    from capcli.outputs.rows import format_of, row_format
    from capcli.pipeline import PipelineSettings

    chosen = chosen_format(format_, as_json=as_json)
    name = format_of(output, chosen)
    photos = photo_destinations(sidecar, write_metadata=write_metadata, overwrite=overwrite)
    rules = FolderRules(recursive, hidden, tuple(include or ()), tuple(exclude or ()))
    given = given_inputs(inputs, rules, null=null)
    with_path = resume or not (given.alone or given.nameless)
    form = row_format(name, ranked=captions > 1, with_path=with_path, spreadsheet_safe=spreadsheet_safe)
    rows = rows_destination(
        output, form, resume=resume, retry_failed=retry_failed, overwrite=overwrite, captions=captions
    )
    # Who wants captions beside or in the photos sees them on standard output only when naming a format.
    wants_rows = output is not None or chosen is not None or not photos
    feedback = feedback_for(
        quiet=quiet,
        progress=progress,
        alone=given.alone,
        to_stdout=wants_rows and output is None,
        count=counter(inputs, rules),
    )
    run = CaptioningRun(
        lambda: _load(model, provider, threads),
        CaptionSettings(beam, max_length, length_penalty, captions, raw),
        Destinations(rows if wants_rows else None, photos),
        PipelineSettings(batch_size, workers, max_pixels),
        feedback,
    )
    try:
        with _interrupt_stops(run):
            report = run.run(given.items)
    finally:
        feedback.close(run.report)
    if not report.found_any:
        raise UsageError(f"no image found in {', '.join(inputs)}")
    if report.stopped:
        say(_how_to_go_on(output, overwrite=overwrite))
        return _INTERRUPTED
    return _FAILED if report.failed or report.kept_failures else 0


def _load(model: str, provider: str, threads: int | None) -> Captioner:
    from capcli.captioner import Captioner

    return Captioner(model, provider=provider, threads=threads)


@contextmanager
def _interrupt_stops(run: CaptioningRun) -> Iterator[None]:
    """The first Ctrl-C finishes what is on its way; the next one, or one with nothing on its way, ends at once."""

    def stop(number: int, frame: object) -> None:
        if not run.stop():
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _how_to_go_on(output: Path | None, *, overwrite: bool) -> str:
    if output is None:
        return "stopped; what was captioned so far is written"
    resume = "--resume instead of --overwrite" if overwrite else "--resume"
    return f"stopped; {output} holds what was captioned so far; the same command with {resume} goes on"


def _check_counts(**counts: int) -> None:
    for name, value in counts.items():
        if value < 1:
            raise UsageError(f"--{name.replace('_', '-')} is {value}; it must be at least 1")


def _check_together(output: Path | None, *, resume: bool, retry_failed: bool, overwrite: bool) -> None:
    if resume and output is None:
        raise UsageError("--resume goes on with an output file; name it with -o FILE")
    if resume and overwrite:
        raise UsageError("--resume keeps what --overwrite would replace; give one of them")
    if retry_failed and not resume:
        raise UsageError("--retry-failed goes with --resume")
