"""`capcli caption`: photos, folders or standard input -> captions."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from capcli.cli.terminal import say
from capcli.errors import DependencyError, UsageError

if TYPE_CHECKING:
    from capcli.captioner import Captioner
    from capcli.cli.destinations import CaptionSink, Destinations
    from capcli.cli.feedback import Feedback
    from capcli.decoding.search import SearchSettings
    from capcli.inputs.paths import FolderRules, InputItem
    from capcli.outputs.output_file import OutputFile
    from capcli.outputs.rows import RowFormat
    from capcli.pipeline import Pipeline

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
    from capcli.cli.destinations import Destinations, Stdout
    from capcli.cli.feedback import feedback_for
    from capcli.inputs.paths import FolderRules
    from capcli.outputs.rows import format_of, row_format

    if as_json and format_ not in (None, "jsonl"):
        raise UsageError("--json is --format jsonl; give one format")
    chosen = "jsonl" if as_json else format_
    name = format_of(output, chosen)
    photos = _photo_sinks(sidecar, write_metadata, overwrite)
    rules = FolderRules(recursive, hidden, tuple(include or ()), tuple(exclude or ()))
    items = _inputs(inputs, rules, null)
    # Nothing is loaded, locked or written for a folder without photos.
    first = next(items, None)
    if first is None:
        raise UsageError(f"no image found in {', '.join(inputs)}")
    alone = inputs != ["-"] and len(inputs) == 1 and not first.from_folder
    with_path = resume or not (alone or first.content is not None)
    rows = row_format(name, ranked=captions > 1, with_path=with_path, spreadsheet_safe=spreadsheet_safe)
    target = None if output is None else _open_output(output, rows, resume, retry_failed, overwrite, captions)
    to_stdout = target is None and (chosen is not None or not photos)
    feedback = feedback_for(quiet=quiet, progress=progress, alone=alone, to_stdout=to_stdout)
    try:
        sink = target or (Stdout(rows) if to_stdout else None)
        destinations = Destinations(sink, photos, captions > 1, raw)
        unfinished = _unfinished(chain([first], items), target, destinations, feedback)
        head = next(unfinished, None)
        stopped = False
        if head is not None:
            from capcli.captioner import Captioner
            from capcli.pipeline import Pipeline, PipelineSettings

            captioner = Captioner(model, provider=provider, threads=threads)
            search = captioner.settings(
                beam=beam, captions=captions, max_length=max_length, length_penalty=length_penalty
            )
            if target is not None and output is not None:
                _compare_settings(output, target, captioner, search, raw, spreadsheet_safe)
            feedback.count_inputs(_counter(inputs, rules))
            pipeline = Pipeline(captioner, search, PipelineSettings(batch_size, workers, max_pixels))
            _deliver_all(pipeline, chain([head], unfinished), destinations, feedback)
            stopped = pipeline.stopped
        if target is not None:
            target.close()
    except BaseException:
        if target is not None:
            target.discard()
        raise
    finally:
        feedback.close()
    if stopped:
        say(_how_to_go_on(output, overwrite=overwrite))
        return _INTERRUPTED
    kept = target.kept_failures if target is not None else 0
    return _FAILED if feedback.counts.failed or kept else 0


def _deliver_all(
    pipeline: Pipeline, items: Iterator[InputItem], destinations: Destinations, feedback: Feedback
) -> None:
    """Delivers every result as soon as it is known."""
    with _interrupt_stops(pipeline):
        for result in pipeline.run(items):
            delivered = destinations.deliver(result)
            if delivered.error is not None:
                feedback.failed(result.path, delivered.error)
            elif delivered.kept:
                feedback.skipped()
            else:
                feedback.captioned()


def _inputs(arguments: list[str], rules: FolderRules, null: bool) -> Iterator[InputItem]:
    from capcli.inputs.paths import find_inputs

    return find_inputs(
        arguments,
        rules,
        # os.read gives what is there; a buffered reader would wait for a slow producer's next lines.
        read_stdin=lambda count: os.read(sys.stdin.fileno(), count),
        nul_separated=null,
    )


def _photo_sinks(sidecar: str | None, write_metadata: bool, overwrite: bool) -> list[CaptionSink]:
    """Sidecars and metadata, as asked for.

    Raises:
        UsageError: no suffix for sidecars.
        DependencyError: the library that writes metadata is not installed.
    """
    from capcli.cli.destinations import MetadataSink, SidecarSink

    sinks: list[CaptionSink] = []
    if sidecar is not None:
        from capcli.outputs.sidecars import Sidecars

        sinks.append(SidecarSink(Sidecars(sidecar, overwrite=overwrite)))
    if write_metadata:
        from capcli.outputs.metadata import missing_reason

        reason = missing_reason()
        if reason is not None:
            raise DependencyError(reason)
        sinks.append(MetadataSink(overwrite=overwrite))
    return sinks


def _counter(arguments: list[str], rules: FolderRules) -> Callable[[], int | None]:
    """Counts the inputs by walking folders once more."""

    def count() -> int | None:
        # Nobody knows how much standard input holds.
        return None if "-" in arguments else sum(1 for _ in _inputs(arguments, rules, False))

    return count


def _unfinished(
    items: Iterator[InputItem], target: OutputFile | None, destinations: Destinations, feedback: Feedback
) -> Iterator[InputItem]:
    """Leaves out what the output file already answers, and photos that have their captions beside them."""
    for item in items:
        answered = target is not None and not target.claim(item.path)
        if answered or (item.content is None and item.error is None and destinations.keeps(item.path)):
            feedback.skipped()
        else:
            yield item


def _open_output(
    path: Path, rows: RowFormat, resume: bool, retry_failed: bool, overwrite: bool, captions: int
) -> OutputFile:
    from capcli.outputs.output_file import Existing, OutputFile

    existing = Existing.RESUME if resume else Existing.REPLACE if overwrite else Existing.REFUSE
    return OutputFile(path, rows, existing=existing, retry_failed=retry_failed, captions=captions)


def _compare_settings(
    output: Path,
    target: OutputFile,
    captioner: Captioner,
    search: SearchSettings,
    raw: bool,
    spreadsheet_safe: bool,
) -> None:
    """Warns where a resumed file was written with other settings."""
    from capcli.outputs.provenance import Provenance, ProvenanceMemory

    now = Provenance(
        model=captioner.bundle.manifest.name,
        weights=captioner.bundle.fingerprint,
        beam=search.beam,
        max_length=search.max_length,
        length_penalty=search.length_penalty,
        captions=search.captions,
        raw=raw,
        spreadsheet_safe=spreadsheet_safe,
    )
    memory = ProvenanceMemory()
    before = memory.recall(output) if target.kept else None
    changed = now.differences(before) if before is not None else []
    if changed:
        say(f"{output}: its rows were written with other settings ({'; '.join(changed)}); they stay as they are")
    memory.remember(output, now)


@contextmanager
def _interrupt_stops(pipeline: Pipeline) -> Iterator[None]:
    """The first Ctrl-C finishes what is in flight, the second one ends at once."""

    def stop(number: int, frame: object) -> None:
        if pipeline.stopped:
            raise KeyboardInterrupt
        pipeline.stop()

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
