"""One job on Ray: photos -> parts in an output folder, gone on with where an earlier one has stopped.

What is done is found in the folder, and left out before anything is read. Knows nothing of terminals or options.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import ray.data
import ray.exceptions
from ray.data.datasource import FilenameProvider

from capcli.bundle.bundle import load_bundle
from capcli.captioning import CaptionSettings, Report, provenance_of
from capcli.decoding.search import SearchSettings
from capcli.errors import CapcliError, OutputError
from capcli.pipeline import PipelineSettings
from capcli.scale_out.caption_images import CaptionImages
from capcli.scale_out.cluster import Need, check_bundle, cluster, last_line
from capcli.scale_out.datasets import with_rows
from capcli.scale_out.output_folder import OutputFolder
from capcli.scale_out.photos import Photo, as_tables, images_of

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

# Rows of a part, at most: what a kill costs, and how many files ten million photos become.
_MOST_ROWS = 1000
# So many blocks for each actor, so that none waits long for the last of another.
_BLOCKS_AN_ACTOR = 4
# An actor decodes images of the next batches while it captions one: it is given several at once.
_BATCHES_A_CALL = 4
_NO_SPACE = re.compile(r"no space left|Errno 28", re.IGNORECASE)


@dataclass(frozen=True)
class JobSettings:
    """How a job captions.

    `model` and `provider` as `Captioner` takes them; `need`: actors, and what each is given; `address`: of a cluster,
    None to start one here; `retry_failed`: try photos again that failed in an earlier job; `progress`: Ray's own bars.
    """

    model: str
    provider: str
    captions: CaptionSettings
    speed: PipelineSettings
    need: Need
    address: str | None = None
    retry_failed: bool = False
    progress: bool = False


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
    wanted, own = settings.captions, bundle.manifest.search
    search = SearchSettings(
        beam=own.beam if wanted.beam is None else wanted.beam,
        max_length=own.max_length if wanted.max_length is None else wanted.max_length,
        length_penalty=own.length_penalty if wanted.length_penalty is None else wanted.length_penalty,
        captions=wanted.captions,
    )
    with out.locked():
        done, notes = out.done()
        for line in notes:
            note(line)
        skipped, again, left, seen = 0, set[bytes](), list[Photo](), set[bytes]()
        for photo in photos:
            key = out.key(photo.path)
            retried = key in done.failed and settings.retry_failed
            if key in seen or key in done.captioned or (key in done.failed and not retried):
                skipped += 1
                continue
            seen.add(key)
            left.append(photo)
            if retried:
                again.add(key)
        report = Report(skipped=skipped, kept_failures=len(done.failed - again), found_any=bool(skipped or left))
        if not left:
            return report
        folder = os.path.abspath(bundle.folder)
        with cluster(settings.address, settings.need):
            check_bundle(folder, bundle.fingerprint, settings.provider, settings.need)
            out.forget(again)
            differs = out.begin(provenance_of(bundle, search, raw=wanted.raw))
            if differs is not None:
                note(differs)
            _run(left, filesystems, out, replace(settings, model=folder))
        captioned, wrong = set[bytes](), set[bytes]()
        for row in out.written():
            key = out.key(row.path)
            if row.error is None:
                captioned.add(key)
            else:
                wrong.add(key)
                failed(row.path, row.error)
    if len(captioned) + len(wrong) < len(left):
        raise CapcliError(f"{len(left) - len(captioned) - len(wrong)} photos have no row; --resume captions them")
    return replace(report, captioned=len(captioned), failed=len(wrong))


def _run(photos: Sequence[Photo], filesystems: Sequence[FileSystem], out: OutputFolder, settings: JobSettings) -> None:
    need, form = settings.need, out.form
    rows = -(-len(photos) // (need.actors * _BLOCKS_AN_ACTOR))
    rows = min(_MOST_ROWS, max(settings.speed.batch_size, rows))
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = settings.progress
    # A worker that is lost is no reason to give up: its block is done again.
    context.print_on_execution_start = False
    kept = {"udf_modifying_row_count": False} if settings.captions.captions == 1 else {}
    dataset = ray.data.from_arrow(as_tables(photos, rows)).map_batches(
        CaptionPhotos,
        fn_constructor_kwargs={
            "filesystems": list(filesystems),
            "model": settings.model,
            "provider": settings.provider,
            "settings": settings.captions,
            "speed": settings.speed,
        },
        compute=ray.data.ActorPoolStrategy(size=need.actors),
        num_cpus=need.cpus,
        num_gpus=need.gpus,
        batch_size=min(rows, _BATCHES_A_CALL * settings.speed.batch_size),
        batch_format="pyarrow",
        **kept,
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
        return with_rows(table.select(["path"]), rows, ranked=self._caption.settings.captions > 1)
