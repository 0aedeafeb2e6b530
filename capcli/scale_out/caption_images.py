"""A batch of images in columns -> the same columns with captions: what Ray Data runs in each of its actors.

Decodes as all of capcli does, so that a picture that cannot be read is a row with its error. Works without Ray; knows
nothing of files, folders or formats.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from capcli.bundle.bundle import DEFAULT
from capcli.captioner import Captioner
from capcli.captioning import CaptionSettings, rows_of
from capcli.errors import ImageError
from capcli.outputs.rows import Row
from capcli.pipeline import PipelineSettings

# Images that are fetched at once: each of them mostly waits.
_FETCHED_AT_ONCE = 8


class CaptionImages:
    """A callable for `ray.data.Dataset.map_batches` with `batch_format="numpy"`; each actor loads the model once.

    Args:
        image: the column with the images: bytes, paths, arrays uint8 [H, W, 3], or dicts with "bytes" or "path" as
            Hugging Face writes them into Parquet.
        model, provider: as `Captioner` takes them.
        threads: CPU threads for the model; by default as many CPUs as Ray has given the actor, which ONNX Runtime does
            not learn by itself. Without Ray, one for each core.
        settings: what captions are asked for.
        speed: images captioned together, and threads that decode, in one call.
    Raises:
        BundleError, ProviderError: the model cannot be used.
        UsageError: a setting is out of range.
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
    ) -> None:
        self.image = image
        self.settings = settings or CaptionSettings()
        self._speed = speed or PipelineSettings()
        self._captioner = Captioner(model, provider=provider, threads=threads or _assigned_cpus())
        self._search = self._captioner.settings(
            beam=self.settings.beam,
            captions=self.settings.captions,
            max_length=self.settings.max_length,
            length_penalty=self.settings.length_penalty,
        )

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Captions a batch.

        Args:
            batch: columns of equal length, the images' among them; read only.
        Returns:
            The other columns, and caption (str or None), score (float or None, four decimals) and error (str or None)
            as object arrays; with several captions an image a row and a rank, counted from 1 (0 with an error), for
            each of them.
        Raises:
            KeyError: there is no such column of images.
        """
        rows = self.rows(list(batch[self.image]))
        counts = [len(each) for each in rows]
        columns = {name: np.repeat(values, counts, axis=0) for name, values in batch.items() if name != self.image}
        flat = [row for each in rows for row in each]
        if self.settings.captions > 1:
            columns["rank"] = np.array([row.rank or 0 for row in flat], dtype=np.int32)
        for name in ("caption", "score", "error"):
            columns[name] = np.empty(len(flat), dtype=object)
            columns[name][:] = [getattr(row, name) for row in flat]
        return columns

    def rows(self, images: Sequence[Any]) -> list[list[Row]]:
        """What is to be said of each of several images.

        Args:
            images: as in a column; or functions that fetch bytes, and raise an ImageError where that fails.
        Returns:
            For each image its rows, best caption first, without paths.
        """
        with ThreadPoolExecutor(_FETCHED_AT_ONCE) as pool:
            fetched = list(pool.map(_fetch, images))
        pictures = [image for image in fetched if not isinstance(image, ImageError)]
        pipeline = self._captioner.pipeline(self._search, self._speed)
        results = self._results(pipeline, pictures)
        return [
            [Row("", None, None, str(image))] if isinstance(image, ImageError) else next(results) for image in fetched
        ]

    def _results(self, pipeline: Any, pictures: list[Any]) -> Any:
        from capcli.pipeline import PipelineInput

        for result in pipeline.run(PipelineInput(None, picture) for picture in pictures):
            yield [
                Row("", row.caption, None if row.score is None else round(row.score, 4), row.error, row.rank)
                for row in rows_of("", result, self.settings)
            ]


def _fetch(image: Any) -> Any:
    """An image as `Captioner.load` takes it, or the error that it is."""
    if callable(image):
        fetch: Callable[[], bytes] = image
        try:
            return fetch()
        except ImageError as error:
            return error
    if isinstance(image, Mapping):
        image = image.get("bytes") or image.get("path")
    return ImageError("has no image") if image is None else image


def _assigned_cpus() -> int | None:
    """The CPUs that Ray has given this actor; None outside of one."""
    ray = sys.modules.get("ray")
    if ray is None or not ray.is_initialized():
        return None
    context = ray.get_runtime_context()
    if context.get_actor_id() is None:
        return None
    return max(1, int(context.get_assigned_resources().get("CPU", 1)))
