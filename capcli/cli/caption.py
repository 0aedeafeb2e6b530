"""`capcli caption`: photos, folders or standard input -> captions."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from capcli.cli.terminal import ReaderGoneError, say
from capcli.errors import OutputError, UsageError

if TYPE_CHECKING:
    from capcli.outputs import OutputFile, Row, RowFormat
    from capcli.paths import InputItem
    from capcli.pipeline import Pipeline, Result

_FAILED, _INTERRUPTED = 1, 130


def caption(
    inputs: Annotated[
        list[str], typer.Argument(help="Photos, folders, or - for standard input: paths, or one image's bytes.")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write: .csv, .tsv, .jsonl or .txt.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the output file.")] = False,
    format_: Annotated[str | None, typer.Option("--format", help="text, csv, tsv or jsonl.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format jsonl.")] = False,
    captions: Annotated[int, typer.Option(help="Captions for each image, best first.")] = 1,
    raw: Annotated[bool, typer.Option("--raw", help="Bare words: lower case, no full stop.")] = False,
    beam: Annotated[int | None, typer.Option(help="Hypotheses kept; 1 is greedy search. Default: the model's.")] = None,
    max_length: Annotated[int | None, typer.Option(help="Longest caption, in words. Default: the model's.")] = None,
    length_penalty: Annotated[
        float | None, typer.Option(help="0 likes short captions, 1 long ones. Default: the model's.")
    ] = None,
    model: Annotated[str, typer.Option(help="A bundle's name or folder.")] = "default",
    provider: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    recursive: Annotated[bool, typer.Option("--recursive/--no-recursive", help="Go into sub-folders.")] = True,
    include: Annotated[list[str] | None, typer.Option(help="Glob of files to take from folders. Repeatable.")] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(help="Glob of files and folders to leave out. Repeatable.")
    ] = None,
    hidden: Annotated[bool, typer.Option("--hidden", help="Also hidden files, and folders like @eaDir.")] = False,
    null: Annotated[bool, typer.Option("--null", "-0", help="Paths on standard input end with NUL.")] = False,
    batch_size: Annotated[int, typer.Option(help="Images the model looks at at once.")] = 16,
    workers: Annotated[int, typer.Option(help="Threads that read and decode images.")] = 2,
    threads: Annotated[int | None, typer.Option(help="CPU threads of the model. Default: one for each core.")] = None,
    max_pixels: Annotated[int | None, typer.Option(help="Refuse larger images. Default: 200 million.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No summary, no errors of single images.")] = False,
) -> int:
    """Say in a sentence what a photo shows.

    One photo prints its sentence; several print path and sentence, separated by a tab. Folders are walked.
    """
    _check_counts(captions=captions, batch_size=batch_size, workers=workers, max_pixels=max_pixels or 1)
    from capcli.outputs import format_of, row_format

    if as_json and format_ not in (None, "jsonl"):
        raise UsageError("--json is --format jsonl; give one format")
    name = format_of(output, "jsonl" if as_json else format_)
    items = _inputs(inputs, (recursive, hidden, include, exclude), null)
    # Nothing is loaded, locked or written for a folder without photos.
    first = next(items, None)
    if first is None:
        raise UsageError(f"no image found in {', '.join(inputs)}")
    alone = inputs != ["-"] and len(inputs) == 1 and not first.from_folder
    rows = row_format(name, ranked=captions > 1, with_path=not (alone or first.content is not None))
    target = None if output is None else _open_output(output, rows, overwrite)
    try:
        from capcli.captioner import Captioner
        from capcli.pipeline import Pipeline, PipelineSettings

        captioner = Captioner(model, provider=provider, threads=threads)
        search = captioner.settings(beam=beam, captions=captions, max_length=max_length, length_penalty=length_penalty)
        pipeline = Pipeline(captioner, search, PipelineSettings(batch_size, workers, max_pixels))
        failed = _write_all(pipeline, chain([first], items), target or _Stdout(rows), captions > 1, raw, quiet)
    except BaseException:
        if target is not None:
            target.discard()
        raise
    if target is not None:
        target.close()
    if pipeline.stopped:
        return _INTERRUPTED
    return _FAILED if failed else 0


def _write_all(
    pipeline: Pipeline,
    items: Iterator[InputItem],
    target: OutputFile | _Stdout,
    ranked: bool,
    raw: bool,
    quiet: bool,
) -> int:
    """Writes every result as soon as it is known.

    Returns:
        How many inputs failed.
    """
    failed = 0
    with _interrupt_stops(pipeline):
        for result in pipeline.run(items):
            if result.error is not None:
                failed += 1
                if not quiet:
                    say(f"{result.path}: {result.error}")
            for row in _rows(result, ranked, raw):
                target.write(row)
    if pipeline.stopped:
        say("stopped; what was captioned so far is written")
    return failed


def _rows(result: Result, ranked: bool, raw: bool) -> Iterator[Row]:
    from capcli.outputs import Row

    if result.error is not None:
        yield Row(result.path, None, None, result.error)
        return
    for rank, found in enumerate(result.captions, start=1):
        yield Row(result.path, found.raw if raw else found.text, found.score, None, rank if ranked else None)


def _inputs(
    arguments: list[str], rules: tuple[bool, bool, list[str] | None, list[str] | None], null: bool
) -> Iterator[InputItem]:
    from capcli.images import sniff
    from capcli.paths import FolderRules, find_inputs

    recursive, hidden, include, exclude = rules
    return find_inputs(
        arguments,
        FolderRules(recursive, hidden, tuple(include or ()), tuple(exclude or ())),
        # os.read gives what is there; a buffered reader would wait for a slow producer's next lines.
        read_stdin=lambda count: os.read(sys.stdin.fileno(), count),
        is_image=lambda head: sniff(head) is not None,
        nul_separated=null,
    )


def _open_output(path: Path, rows: RowFormat, overwrite: bool) -> OutputFile:
    from capcli.outputs import OutputFile

    return OutputFile(path, rows, overwrite=overwrite)


class _Stdout:
    """Standard output: a record out as soon as it is known."""

    def __init__(self, rows: RowFormat) -> None:
        self._rows = rows
        header = rows.header()
        if header:
            self._put(header)

    def write(self, row: Row) -> None:
        self._put(self._rows.record(row))

    def _put(self, record: bytes) -> None:
        try:
            sys.stdout.buffer.write(record)
            sys.stdout.buffer.flush()
        except BrokenPipeError as error:
            raise ReaderGoneError from error
        except OSError as error:
            raise OutputError(f"standard output cannot be written ({error.strerror})") from error


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


def _check_counts(**counts: int) -> None:
    for name, value in counts.items():
        if value < 1:
            raise UsageError(f"--{name.replace('_', '-')} is {value}; it must be at least 1")
