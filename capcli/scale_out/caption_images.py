"""A batch of images in columns -> the same columns with captions: what Ray Data runs in each of its actors.

Decodes as all of capcli does, so that a picture that cannot be read is a row with its error. Works without Ray; knows
nothing of files, folders or formats.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from functools import partial
from typing import Any

import numpy as np

from capcli.bundle.bundle import DEFAULT
from capcli.caption_settings import CaptionSettings
from capcli.captioner import Captioner
from capcli.captioning import rows_of
from capcli.errors import ImageError, UsageError
from capcli.outputs.rows import Row, row_format
from capcli.outputs.unsure import why_unsure
from capcli.pipeline import Pipeline, PipelineInput, PipelineSettings


class CaptionImages:
    """A callable for `ray.data.Dataset.map_batches` with `batch_format="numpy"`; each actor loads the model once.

    Args:
        image: the column with the images: bytes, paths, arrays uint8 [H, W, 3], or dicts with "bytes" or "path" as
            Hugging Face writes them into Parquet.
        model, provider: as `Captioner` takes them.
        threads: CPU threads for the model; by default as many CPUs as Ray has given the actor, which ONNX Runtime does
            not learn by itself. Without Ray, one for each core.
        settings: what captions are asked for.
        min_confidence: captions of a lower one have a note that they are unsure.
        speed: images captioned together, and threads that fetch and decode, in one call.
    Raises:
        BundleError, ProviderError: the model cannot be used.
        UsageError: a setting is out of range, or captions have no confidence and one is asked for.
    """

    def __init__(
        self,
        image: str = "bytes",
        *,
        model: str | os.PathLike[str] = DEFAULT,
        provider: str = "auto",
        threads: int | None = None,
        settings: CaptionSettings | None = None,
        speed: PipelineSettings | None = None,
        min_confidence: float | None = None,
    ) -> None:
        self.image = image
        self.settings = settings or CaptionSettings()
        speed = speed or PipelineSettings()
        self._captioner = Captioner(
            model,
            provider=provider,
            threads=threads or _assigned_cpus(),
            mirror_average=self.settings.mirror_average,
        )
        if min_confidence is not None and (reason := self.settings.why_no_confidence(self._captioner.bundle)):
            raise UsageError(f"a least confidence needs one: {reason}")
        self._min_confidence = min_confidence
        self._speed = replace(speed, batch_size=speed.batch_size or self._captioner.batch_size)
        self._search = self.settings.search(self._captioner.bundle)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Captions a batch.

        Args:
            batch: columns of equal length, the images' among them; read only.
        Returns:
            The other columns, and as object arrays those of `capcli caption`'s rows but the path, None where there is
            nothing to say, numbers of four decimals; with several captions an image a row for each of them.
        Raises:
            KeyError: there is no such column of images.
        """
        rows = self.rows(batch[self.image])
        counts = [len(each) for each in rows]
        columns = {name: np.repeat(values, counts, axis=0) for name, values in batch.items() if name != self.image}
        flat = [row for each in rows for row in each]
        for name in self.columns:
            columns[name] = np.empty(len(flat), dtype=object)
            columns[name][:] = [getattr(row, name) for row in flat]
        return columns

    @property
    def columns(self) -> tuple[str, ...]:
        """What a batch gets: the columns of `capcli caption`'s rows but the path."""
        every = row_format("jsonl", ranked=self.settings.captions > 1).columns
        return tuple(name for name in every if name != "path")

    def rows(self, images: Iterable[Any]) -> list[list[Row]]:
        """What is to be said of each of several images.

        Args:
            images: as in a column; or functions that fetch bytes, and raise an ImageError where that fails.
        Returns:
            For each image its rows, best caption first, without paths.
        """
        caption = partial(self._captioner.caption_pixels, settings=self._search)
        results = Pipeline(self._load, caption, self._speed).run(PipelineInput(None, image) for image in images)
        every = ([_rounded(row) for row in rows_of("", result, self.settings)] for result in results)
        return [[replace(row, note=why_unsure(rows[0], self._min_confidence)) for row in rows] for rows in every]

    def _load(self, image: Any) -> np.ndarray:
        if callable(image):
            image = image()
        elif isinstance(image, Mapping):
            image = image.get("bytes") or image.get("path")
        if image is None:
            raise ImageError("has no image")
        return self._captioner.load(image, max_pixels=self._speed.max_pixels)


def _rounded(row: Row) -> Row:
    """Numbers as `capcli caption` writes them."""
    values = ((field.name, getattr(row, field.name)) for field in fields(row))
    rounded: dict[str, Any] = {name: round(value, 4) for name, value in values if isinstance(value, float)}
    return replace(row, **rounded)


def _assigned_cpus() -> int | None:
    """The CPUs that Ray has given this actor; None outside of one."""
    ray = sys.modules.get("ray")
    if ray is None or not ray.is_initialized():
        return None
    context = ray.get_runtime_context()
    if context.get_actor_id() is None:
        return None
    return max(1, int(context.get_assigned_resources().get("CPU", 1)))
