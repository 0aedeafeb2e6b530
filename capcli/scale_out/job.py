"""One job on Ray: photos -> parts in an output folder, gone on with where an earlier one has stopped.

What is done is found in the folder, and left out before anything is read. Knows nothing of terminals or options.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import ray.data
import ray.exceptions
from ray.data.datasource import FilenameProvider

from capcli.bundle.bundle import load_bundle
from capcli.caption_settings import CaptionSettings
from capcli.captioning import provenance_of
from capcli.errors import CapcliError, OutputError
from capcli.pipeline import PipelineSettings
from capcli.run_report import Report
from capcli.scale_out.caption_images import CaptionImages
from capcli.scale_out.cluster import Need, check_bundle, cluster, last_line, signals_as_raised
from capcli.scale_out.datasets import in_actors, with_rows
from capcli.scale_out.output_folder import Done, OutputFolder
from capcli.scale_out.photos import Photo, as_table, images_of

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

# Rows of a part, at most: what a kill costs, and how many files ten million photos become.
_MOST_ROWS = 1000
# So many blocks for each actor, so that none waits long for the last of another.
_BLOCKS_AN_ACTOR = 4
# An actor decodes images of the next batches while it captions one: it is given several at once.
_BATCHES_A_CALL = 4
_USUAL_BATCH = 16
_NO_SPACE = re.compile(r"no space left|Errno 28", re.IGNORECASE)


@dataclass(frozen=True)
class JobSettings:
    """How a job captions.

    `model` and `provider` as `Captioner` takes them; `need`: actors, and what each is given; `address`: of a cluster,
    None to start one here; `retry_failed`: try photos again that failed in an earlier job; `progress`: Ray's own bars;
    `min_confidence`: rows of captions of a lower one note that they are unsure; `limit`: as many photos are captioned
    at most, None for all.
    """

    model: str
    provider: str
    captions: CaptionSettings
    speed: PipelineSettings
    need: Need
    address: str | None = None
    retry_failed: bool = False
    progress: bool = False
    min_confidence: float | None = None
    limit: int | None = None


def run_job(
    photos: Iterable[Photo],
    filesystems: Sequence[FileSystem],
    out: OutputFolder,
    settings: JobSettings,
    *,
    note: Callable[[str], object],
    failed: Callable[[str, str], object],
) -> Report:
    """Captions what the folder does not hold yet.

    Args:
        photos: all of them; each path counts once.
        filesystems: where those lie that are not local.
        out: where their rows go.
        settings: how.
        note: told in one line what the user should know.
        failed: told of each photo that failed, and why, after the run.
    Raises:
        UsageError, BundleError, ProviderError: nothing was started.
        OutputError: the folder cannot be written; what was written stays.
        CapcliError: Ray has given up; what was written stays.
    """
    bundle = load_bundle(settings.model)
    wanted = settings.captions
    if settings.min_confidence is not None:
        wanted.check_confidence(bundle)
    search = wanted.search(bundle)
    with out.locked():
        done, notes = out.done()
        for line in notes:
            note(line)
        out.check_columns(wanted.captions)
        choice = _Choice(out, done, retry_failed=settings.retry_failed)
        left = as_table(itertools.islice(choice.left_of(photos), settings.limit))
        report = Report(
            skipped=choice.skipped,
            kept_failures=len(done.failed - choice.again),
            found_any=bool(choice.skipped or left.num_rows),
        )
        if not left.num_rows:
            return report
        folder = os.path.abspath(bundle.folder)
        with signals_as_raised(), cluster(settings.address, settings.need):
            if settings.address is not None or settings.provider == "cuda":
                check_bundle(folder, bundle.says, settings.provider, settings.need)
            out.forget(choice.again)
            differs = out.begin(provenance_of(bundle, search, wanted))
            if differs is not None:
                note(differs)
            _run(left, filesystems, out, replace(settings, model=folder))
        captioned = wrong = unsure = 0
        # The captions of one photo follow each other.
        for path, rows in itertools.groupby(out.written(), key=lambda row: row.path):
            best = next(rows)
            if best.error is not None:
                wrong += 1
                failed(path, best.error)
            elif best.unsure:
                unsure += 1
            else:
                captioned += 1
    missing = left.num_rows - captioned - wrong - unsure
    if missing > 0:
        raise CapcliError(f"{missing} photos have no row; --resume captions them")
    return replace(report, captioned=captioned, failed=wrong, unsure=unsure)


class _Choice:
    """What is left to do, of each photo once. `skipped`: those left out. `again`: keys of those that failed before."""

    def __init__(self, out: OutputFolder, done: Done, *, retry_failed: bool) -> None:
        self._out = out
        self._done = done
        self._retry_failed = retry_failed
        self.skipped = 0
        self.again: set[bytes] = set()

    def left_of(self, photos: Iterable[Photo]) -> Iterator[Photo]:
        seen: set[bytes] = set()
        for photo in photos:
            key = self._out.key(photo.path)
            failed = key in self._done.failed
            if key in seen or key in self._done.captioned or (failed and not self._retry_failed):
                self.skipped += 1
                continue
            seen.add(key)
            if failed:
                self.again.add(key)
            yield photo


def _run(photos: pa.Table, filesystems: Sequence[FileSystem], out: OutputFolder, settings: JobSettings) -> None:
    need, form = settings.need, out.form
    batch = settings.speed.batch_size or _USUAL_BATCH
    rows = min(_MOST_ROWS, max(batch, -(-photos.num_rows // (need.actors * _BLOCKS_AN_ACTOR))))
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = settings.progress
    context.print_on_execution_start = False
    blocks = [photos.slice(start, rows) for start in range(0, photos.num_rows, rows)]
    dataset = in_actors(
        ray.data.from_arrow(blocks),
        CaptionPhotos,
        {
            "filesystems": list(filesystems),
            "model": settings.model,
            "provider": settings.provider,
            "settings": settings.captions,
            "speed": settings.speed,
            "min_confidence": settings.min_confidence,
        },
        actors=need.actors,
        cpus=need.cpus,
        gpus=need.gpus,
        batch_size=min(rows, _BATCHES_A_CALL * batch),
        one_for_one=settings.captions.captions == 1,
    )
    write = {"parquet": dataset.write_parquet, "csv": dataset.write_csv, "jsonl": dataset.write_json}[form]
    try:
        write(str(out.path), filename_provider=FilenameProvider(dataset_uuid=out.prefix, file_format=form))
    except (ray.exceptions.RayError, OSError, RuntimeError) as error:
        reason = last_line(error)
        if _NO_SPACE.search(str(error)):
            raise OutputError(f"{out.path}: cannot be written: no space is left on the disk") from error
        raise CapcliError(f"Ray has given up: {reason}; what was written stays, and --resume goes on") from error


class CaptionPhotos:
    """What each actor runs: a table of `photos.SCHEMA` in, one of rows out."""

    def __init__(self, filesystems: Sequence[FileSystem], **options: Any) -> None:
        self._filesystems = filesystems
        self._caption = CaptionImages(**options)

    def __call__(self, table: pa.Table) -> pa.Table:
        rows = self._caption.rows(images_of(table, self._filesystems))
        return with_rows(table.select(["path"]), rows, self._caption.columns)
