"""Images -> an ordered stream of results, in a bounded window: load, batch, caption.

A reader takes inputs from their source, a few workers read and decode images ahead, and a lane or several caption full
batches. Results come in the order of the inputs, as soon as they are known; a batch that cannot be filled right now is
not waited for. Memory depends on the window, which images that come as bytes narrow, never on the number of inputs.
What loads an image and what captions a batch are given; the pipeline knows nothing of models, output formats or
terminals.
"""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from capcli.batches import Batcher
from capcli.errors import CapcliError, ImageError
from capcli.jobs import Job, JobReader, Jobs, PipelineInput, Source
from capcli.settings import LARGEST_BATCH, MOST_THREADS, whole_number

__all__ = ["Pipeline", "PipelineInput", "PipelineSettings", "Result"]

Said = TypeVar("Said")

# Where neither the caller nor the model says how many images suit it.
_BATCH = 16


@dataclass(frozen=True)
class Result(Generic[Source, Said]):
    """What became of one input: captions, best first, or in `error` the reason why there are none."""

    source: Source
    captions: tuple[Said, ...]
    error: str | None


@dataclass(frozen=True)
class PipelineSettings:
    """How much is done at once.

    `batch_size`: images captioned together, those of all lanes; None for what suits the model. `workers`: threads that
    read and decode. `max_pixels`: larger images are refused before they are decoded; None for the default limit.
    `flush_after_s`: seconds that a started batch waits for the next image.

    Raises:
        UsageError: no image at once, no thread, or no pixel; or more of them than any machine has use for.
        TypeError: what should be a whole number is none.
    """

    batch_size: int | None = None
    workers: int = 2
    max_pixels: int | None = None
    flush_after_s: float = 0.02

    def __post_init__(self) -> None:
        if self.batch_size is not None:
            whole_number("batch size", self.batch_size, most=LARGEST_BATCH)
        whole_number("workers", self.workers, most=MOST_THREADS)
        if self.max_pixels is not None:
            whole_number("max pixels", self.max_pixels)


class Pipeline(Generic[Said]):
    """Captions a stream of images.

    Args:
        load: reads one image: any of its inputs' `image` -> uint8 [size, size, 3]. Called in several threads at once;
            an ImageError is the result of that image, and ends nothing; another CapcliError ends the run.
        caption: uint8 [N, size, size, 3] -> for each image its captions, best first. Called by a thread for each lane.
        settings: how much is done at once; `max_pixels` is for `load` to observe.
        lanes: batches that are captioned at the same time, of which each has its share of the images.
    """

    def __init__(
        self,
        load: Callable[[Any], np.ndarray],
        caption: Callable[[np.ndarray], Sequence[Sequence[Said]]],
        settings: PipelineSettings,
        lanes: int = 1,
    ) -> None:
        self._load_image = load
        self._caption = caption
        self._settings = settings
        self._lanes = lanes
        self._batch_size = math.ceil((settings.batch_size or _BATCH) / lanes)
        # A batch is loaded and one waits for its lane while others are captioned.
        self._ahead = max(self._batch_size, settings.workers)
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Takes no further input; what is in flight is finished. May be called from a signal handler."""
        self._stopping.set()

    def run(self, inputs: Iterable[PipelineInput[Source]]) -> Generator[Result[Source, Said], None, None]:
        """Yields a result for every input, in order. Closing the generator ends its threads.

        Args:
            inputs: taken in another thread, no more of them than the window holds.
        Raises:
            What `inputs` itself raises, after the results of what came before; what `caption` raises; a CapcliError of
            `load` that is no ImageError.
        """
        jobs: Jobs = queue.Queue(self._ahead)
        to_load: queue.Queue[Job | None] = queue.Queue()
        abandoned = threading.Event()
        reader = JobReader(inputs, jobs, to_load, self._stopping, abandoned)
        batcher = Batcher(
            jobs,
            reader.ended,
            self._caption,
            lanes=self._lanes,
            most=self._batch_size,
            window=self._batch_size + self._ahead,
            flush_after_s=self._settings.flush_after_s,
            stopping=self._stopping,
            abandoned=abandoned,
        )
        for name, task in (("reader", reader.run), ("batcher", batcher.run)):
            threading.Thread(target=task, name=f"capcli-{name}", daemon=True).start()
        for _ in range(self._settings.workers):
            threading.Thread(target=self._load, args=(reader,), name="capcli-loader", daemon=True).start()
        try:
            while (batch := batcher.next()) is not None:
                batch.wait()
                for job in batch.jobs:
                    answered = job.same_as or job
                    reader.remember(answered)
                    yield Result(job.given.source, answered.captions, answered.error)
        finally:
            abandoned.set()
            for _ in range(self._settings.workers):
                to_load.put(None)
            batcher.close()

    def _load(self, reader: JobReader) -> None:
        while (job := reader.next_to_load()) is not None:
            try:
                job.pixels = self._load_image(job.given.image)
            except ImageError as error:
                job.error = str(error)
            except CapcliError as error:
                job.fatal = error
            except Exception as error:  # a worker that dies would leave the run waiting for ever
                job.error = f"cannot be read ({type(error).__name__}: {error})"
            reader.forget_bytes(job)
            job.loaded.set()
