"""Ray datasets of images -> Ray datasets of captions, in a pool of actors. Knows nothing of output folders or jobs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from types import NoneType
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

import pyarrow as pa
import ray.data
from ray.data.block import BlockAccessor

from capcli.bundle.bundle import DEFAULT, find_bundle
from capcli.caption_settings import CaptionSettings
from capcli.inputs.paths import PHOTO_SUFFIXES
from capcli.outputs.rows import Row
from capcli.pipeline import PipelineSettings
from capcli.scale_out.caption_images import CaptionImages

if TYPE_CHECKING:
    from ray.data import Dataset

_ARROW = {str: pa.string(), float: pa.float64(), int: pa.int32()}


def read_photos(paths: str | Sequence[str], **options: Any) -> Dataset:
    """The photos of files, folders and URLs, as a dataset with the columns `bytes` and `path`.

    Ray reads them: a file that is gone, or a name that is not UTF-8, ends the job, and `path` comes without its scheme.
    `capcli ray` has none of that.

    Args:
        paths: as `ray.data.read_binary_files` takes them.
        options: more of its arguments, such as `filesystem`.
    """
    suffixes = sorted(suffix.removeprefix(".") for suffix in PHOTO_SUFFIXES)
    return ray.data.read_binary_files(paths, include_paths=True, file_extensions=suffixes, **options)


def caption_dataset(
    dataset: Dataset,
    *,
    image: str = "bytes",
    model: str | os.PathLike[str] = DEFAULT,
    provider: str = "auto",
    actors: int = 1,
    cpus_per_actor: int = 1,
    gpus_per_actor: float = 0,
    batch_size: int = 64,
    settings: CaptionSettings | None = None,
    speed: PipelineSettings | None = None,
) -> Dataset:
    """Adds captions to a dataset, as columns of fixed types: strings, and a score of float64.

    Args:
        dataset: with a column of images, as `CaptionImages` takes them; the other columns are kept.
        image: that column's name: "jpg" for `read_webdataset(paths, decoder=None)`.
        model: a bundle's name or folder, which every node must have.
        provider: as `Captioner` takes it.
        actors: processes that caption. Ray needs a CPU besides theirs, to read.
        cpus_per_actor: of each; also the model's threads.
        gpus_per_actor: of each; a fraction lets several share one.
        batch_size: rows an actor is given at once; `speed.batch_size` of them are captioned together, while others are
            decoded.
        settings, speed: as `CaptionImages` takes them.
    Returns:
        The dataset, lazily: without the images, with the columns that `CaptionImages` adds.
    """
    settings = settings or CaptionSettings()
    return in_actors(
        dataset,
        CaptionTable,
        {
            "image": image,
            "model": os.path.abspath(find_bundle(model)),
            "provider": provider,
            "settings": settings,
            "speed": speed,
        },
        actors=actors,
        cpus=cpus_per_actor,
        gpus=gpus_per_actor,
        batch_size=batch_size,
        one_for_one=settings.captions == 1,
    )


def in_actors(
    dataset: Dataset,
    kind: type,
    options: dict[str, Any],
    *,
    actors: int,
    cpus: int,
    gpus: float,
    batch_size: int,
    one_for_one: bool,
) -> Dataset:
    """Has a pool of actors of one kind, made with `options`, turn Arrow tables of `batch_size` rows into others.

    `cpus` and `gpus` are those of each; `one_for_one`: a row comes out for each that goes in.
    """
    return dataset.map_batches(
        kind,
        fn_constructor_kwargs=options,
        compute=ray.data.ActorPoolStrategy(size=actors),
        num_cpus=cpus,
        num_gpus=gpus,
        batch_size=batch_size,
        batch_format="pyarrow",
        **({"udf_modifying_row_count": False} if one_for_one else {}),
    )


class CaptionTable:
    """`CaptionImages` for Arrow tables, whose columns keep their types even where all of their values are null."""

    def __init__(self, **options: Any) -> None:
        self._caption = CaptionImages(**options)

    def __call__(self, table: pa.Table) -> pa.Table:
        image = self._caption.image
        images = BlockAccessor.for_block(table.select([image])).to_batch_format("numpy")[image]
        rest = table.drop_columns([image])
        return with_rows(rest, self._caption.rows(images), self._caption.columns)


def with_rows(table: pa.Table, rows: Sequence[Sequence[Row]], columns: Sequence[str]) -> pa.Table:
    """A table with the rows of each of its lines beside it, each line as often as it has rows."""
    flat = [row for each in rows for row in each]
    if len(flat) != table.num_rows:
        table = table.take([line for line, each in enumerate(rows) for _ in each])
    hints = get_type_hints(Row)
    for name in columns:
        (kind,) = (_ARROW[each] for each in get_args(hints[name]) if each is not NoneType)
        table = table.append_column(name, pa.array([getattr(row, name) for row in flat], kind))
    return table
