"""`capcli ray`: captions on a Ray cluster, for more photos than one process can do."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from capcli.cli.run_control import FAILED, INTERRUPTED, check_confidence, check_counts, nothing_found
from capcli.cli.shared_options import (
    OUTPUT,
    SPEED,
    BatchSize,
    Beam,
    Captions,
    Exclude,
    Hidden,
    Include,
    LengthPenalty,
    Limit,
    MaxLength,
    MaxPixels,
    MirrorAverage,
    NewerThan,
    Null,
    Provider,
    Raw,
    Recursive,
    RetryFailed,
)
from capcli.cli.terminal import say
from capcli.errors import UsageError

if TYPE_CHECKING:
    from capcli.inputs.ages import Newer
    from capcli.inputs.paths import FolderRules, InputItem
    from capcli.scale_out.output_folder import OutputFolder
    from capcli.scale_out.photos import Photo

_MOST_GPUS = 1024
# Each has its row; stderr need not repeat all of ten million.
_MOST_TOLD = 20
_CLUSTER = "Cluster"


def ray(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="PHOTOS... OUT/",
            help="Photos, folders, URLs (s3://, gs://), or - for a list of paths on standard input; and last the "
            "folder for the rows, which holds nothing else.",
        ),
    ],
    format_: Annotated[
        str, typer.Option("--format", metavar="parquet|csv|jsonl", help="Of the rows.", rich_help_panel=OUTPUT)
    ] = "parquet",
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with what OUT holds.", rich_help_panel=OUTPUT)
    ] = False,
    retry_failed: RetryFailed = False,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Replace the rows in OUT, and nothing else.", rich_help_panel=OUTPUT),
    ] = False,
    min_confidence: Annotated[
        float | None,
        typer.Option(
            metavar="0..1",
            help="Rows of captions that are less likely right note that they are unsure.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    captions: Captions = 1,
    raw: Raw = False,
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet", "-q", help="Print no summary, and no line for a photo that failed.", rich_help_panel=OUTPUT
        ),
    ] = False,
    progress: Annotated[
        bool,
        typer.Option(
            "--progress/--no-progress", help="Show Ray's progress bars on a terminal.", rich_help_panel=OUTPUT
        ),
    ] = True,
    address: Annotated[
        str | None,
        typer.Option(
            help="Of a Ray cluster: HOST:PORT, or auto. Default: one is started on this machine.",
            rich_help_panel=_CLUSTER,
        ),
    ] = None,
    actors: Annotated[int, typer.Option(help="Processes that caption.", rich_help_panel=_CLUSTER)] = 1,
    cpus_per_actor: Annotated[
        int, typer.Option(help="CPUs of each, and threads of its model.", rich_help_panel=_CLUSTER)
    ] = 1,
    gpus_per_actor: Annotated[
        float, typer.Option(help="GPUs of each; 0.5 lets two share one.", rich_help_panel=_CLUSTER)
    ] = 0.0,
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
    model: Annotated[
        str, typer.Option(help="A bundle's name or folder; every node must have it.", rich_help_panel=SPEED)
    ] = "default",
    provider: Provider = "auto",
    batch_size: BatchSize = None,
    workers: Annotated[
        int, typer.Option(help="Threads of each actor that read and decode images.", rich_help_panel=SPEED)
    ] = 2,
) -> int:
    """Caption millions of photos on a Ray cluster, or with several processes and GPUs here.

    The rows are those of capcli caption, in a folder of files that pandas, DuckDB, Spark and Ray read as one table.
    """
    from capcli.extras import need as need_extra
    from capcli.scale_out.formats import FORMATS

    check_counts(
        actors=actors,
        cpus_per_actor=cpus_per_actor,
        beam=beam,
        max_length=max_length,
        captions=captions,
        batch_size=batch_size,
        workers=workers,
        max_pixels=max_pixels,
        limit=limit,
    )
    if not 0 <= gpus_per_actor <= _MOST_GPUS or (gpus_per_actor > 1 and gpus_per_actor % 1):
        raise UsageError(f"--gpus-per-actor is {gpus_per_actor:g}; it must be from 0 to 1, or a whole number")
    check_confidence(min_confidence)
    if format_ not in FORMATS:
        raise UsageError(f"no format {format_!r}; choose one of {', '.join(FORMATS)}")
    if resume and overwrite:
        raise UsageError("--resume keeps what --overwrite would replace; give one of them")
    if retry_failed and not resume:
        raise UsageError("--retry-failed goes with --resume")
    *given, out_path = inputs
    if not given:
        raise UsageError("name photos, and last a folder for the rows: capcli ray PHOTOS... OUT/")
    if out_path == "-" or "://" in out_path:
        raise UsageError(f"{out_path}: the rows go to a folder that all nodes can write to; name one")
    need_extra("ray", "capcli ray")

    from capcli.caption_settings import CaptionSettings
    from capcli.cli.destinations import failed_before, how_to_go_on
    from capcli.cli.feedback import Feedback
    from capcli.inputs.ages import Newer
    from capcli.inputs.paths import FolderRules
    from capcli.outputs.output_file import Existing
    from capcli.pipeline import PipelineSettings
    from capcli.scale_out.cluster import Need
    from capcli.scale_out.job import JobSettings, run_job
    from capcli.scale_out.output_folder import OutputFolder

    existing = Existing.RESUME if resume else Existing.REPLACE if overwrite else Existing.REFUSE
    rules = FolderRules(recursive, hidden, tuple(include or ()), tuple(exclude or ()))
    out = OutputFolder(Path(out_path), format_, existing)
    left_out: Counter[str] = Counter()
    newer = None if newer_than is None else Newer(newer_than)
    photos, filesystems = _photos(given, rules, out, null=null, left_out=left_out, newer=newer)
    on_terminal = sys.stderr.isatty()
    feedback = Feedback(quiet=quiet, summary=on_terminal, left_out=left_out)
    told = 0

    def failed(path: str, reason: str) -> None:
        nonlocal told
        told += 1
        if told <= _MOST_TOLD:
            feedback.failed(path, reason)

    feedback.opened()
    try:
        report = run_job(
            photos,
            filesystems,
            out,
            JobSettings(
                model,
                provider,
                CaptionSettings(beam, max_length, length_penalty, captions, raw, mirror_average=mirror_average),
                PipelineSettings(batch_size, workers, max_pixels),
                Need(actors, cpus_per_actor, gpus_per_actor),
                address,
                retry_failed,
                progress and on_terminal and not quiet,
                min_confidence,
                limit,
            ),
            note=say,
            failed=failed,
        )
    except KeyboardInterrupt:
        say(how_to_go_on(out_path, overwrite=overwrite))
        return INTERRUPTED
    if not report.found_any:
        return nothing_found(given, left_out, newer)
    if told > _MOST_TOLD and not quiet:
        say(f"{told - _MOST_TOLD} more failed; their rows in {out_path} say why")
    feedback.close(report)
    if report.kept_failures and not quiet:
        say(failed_before(out_path, report.kept_failures, retry_failed=retry_failed))
    return FAILED if report.failed or report.kept_failures else 0


def _photos(
    arguments: list[str],
    rules: FolderRules,
    out: OutputFolder,
    *,
    null: bool,
    left_out: Counter[str],
    newer: Newer | None,
) -> tuple[Iterator[Photo], list[Any]]:
    """All photos in their order, and the file systems that URLs name."""
    from capcli.inputs.paths import InputItem, find_inputs
    from capcli.inputs.stdin import read_stdin
    from capcli.scale_out.photos import filesystem_of, is_url, local_photos, remote_photos

    remote = {argument: filesystem_of(argument) for argument in arguments if is_url(argument)}
    numbers = {argument: number for number, argument in enumerate(remote)}
    for argument in arguments:
        if argument not in remote and argument != "-":
            out.check_apart(argument)
    for filesystem, root in remote.values():
        if filesystem.type_name == "local":
            out.check_apart(root)

    def listed() -> Iterator[InputItem]:
        for held in read_stdin(lambda count: os.read(sys.stdin.fileno(), count), nul_separated=null):
            if isinstance(held, bytes):
                yield InputItem("-", held)
            elif os.path.isdir(held):
                out.check_apart(held)
                yield from find_inputs([os.path.join(held, "")], rules, left_out=left_out)
            else:
                yield InputItem(held)

    def found() -> Iterator[Photo]:
        for argument in arguments:
            if argument in remote:
                yield from remote_photos(argument, numbers[argument], *remote[argument], rules, newer)
            else:
                items = listed() if argument == "-" else find_inputs([argument], rules, left_out=left_out)
                yield from local_photos(items if newer is None else newer.of(items))

    return found(), [filesystem for filesystem, _ in remote.values()]
