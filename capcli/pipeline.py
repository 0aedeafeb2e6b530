"""Images -> an ordered stream of results, in a bounded window: load, batch, caption.

A reader takes inputs from their source (which may wait for somebody to type the next path), a few workers read and
decode images ahead, and the caller's own thread captions full batches. Results come in the order of the inputs, as
soon as they are known; a batch that cannot be filled right now is not waited for. Memory depends on the window, which
images that come as bytes narrow, never on the number of inputs. What loads an image and what captions a batch are
given; the pipeline knows nothing of models, output formats or terminals.
"""

from __future__ import annotations

import os
import queue
import threading
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

import numpy as np

from capcli.errors import CapcliError, ImageError
from capcli.settings import LARGEST_BATCH, MOST_THREADS, whole_number

Source = TypeVar("Source")
Said = TypeVar("Said")

# Where neither the caller nor the model says how many images suit it.
_BATCH = 16
# Captions of this many files are remembered, for streams that name a file again and again.
_REMEMBERED = 1024
# No further image is taken while so many bytes of images wait to be decoded.
_MOST_BYTES_WAITING = 64 << 20


@dataclass(frozen=True)
class PipelineInput(Generic[Source]):
    """One image to caption.

    `source` is what its result names it by; `image` what the pipeline's `load` takes: a path, bytes, an array. Where an
    error is known already, `error` is its result.
    """

    source: Source
    image: Any
    error: str | None = None


@dataclass(frozen=True)
class Result(Generic[Source, Said]):
    """What became of one input: captions, best first, or in `error` the reason why there are none."""

    source: Source
    captions: tuple[Said, ...]
    error: str | None


@dataclass(frozen=True)
class PipelineSettings:
    """How much is done at once.

    `batch_size`: images captioned together; None for what suits the model's provider. `workers`: threads that read and
    decode. `max_pixels`: larger images are refused before they are decoded; None for the default limit.
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


@dataclass
class _Job:
    """An input on its way through; `loaded` is set when `pixels`, `error`, `same_as` or `fatal` is."""

    given: PipelineInput[Any]
    loaded: threading.Event = field(default_factory=threading.Event)
    pixels: np.ndarray | None = None
    error: str | None = None
    same_as: _Job | None = None
    fatal: CapcliError | None = None
    captions: tuple[Any, ...] = ()


class Pipeline(Generic[Said]):
    """Captions a stream of images.

    Args:
        load: reads one image: any of its inputs' `image` -> uint8 [size, size, 3]. Called in several threads at once;
            an ImageError is the result of that image, and ends nothing; another CapcliError ends the run.
        caption: uint8 [N, size, size, 3] -> for each image its captions, best first. Called by the thread that
            iterates, and by no other.
        settings: how much is done at once; `max_pixels` is for `load` to observe.
    """

    def __init__(
        self,
        load: Callable[[Any], np.ndarray],
        caption: Callable[[np.ndarray], Sequence[Sequence[Said]]],
        settings: PipelineSettings,
    ) -> None:
        self._load_image = load
        self._caption = caption
        self._settings = settings
        self._batch_size = settings.batch_size or _BATCH
        self._window = max(2 * self._batch_size, self._batch_size + settings.workers)
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Takes no further input; what is in flight is finished. May be called from a signal handler."""
        self._stopping.set()

    @property
    def stopped(self) -> bool:
        return self._stopping.is_set()

    def run(self, inputs: Iterable[PipelineInput[Source]]) -> Generator[Result[Source, Said], None, None]:
        """Yields a result for every input, in order. Closing the generator ends its threads.

        Args:
            inputs: taken in another thread, no more of them than the window holds.
        Raises:
            What `inputs` itself raises, after the results of what came before; what `caption` raises; a CapcliError of
            `load` that is no ImageError.
        """
        jobs: queue.Queue[_Job | BaseException | None] = queue.Queue(self._window)
        to_load: queue.Queue[_Job | None] = queue.Queue()
        abandoned = threading.Event()
        reader = _Reader(inputs, jobs, to_load, self._stopping, abandoned)
        threading.Thread(target=reader.run, name="capcli-reader", daemon=True).start()
        for _ in range(self._settings.workers):
            threading.Thread(target=self._load, args=(reader,), name="capcli-loader", daemon=True).start()
        try:
            yield from self._results(jobs, reader)
        finally:
            abandoned.set()
            for _ in range(self._settings.workers):
                to_load.put(None)

    def _results(self, jobs: queue.Queue[_Job | BaseException | None], reader: _Reader) -> Iterator[Result[Any, Said]]:
        waiting: list[_Job] = []
        to_caption = 0
        while True:
            # With nothing in hand there is nothing to flush, so the wait has no end (but a Ctrl-C must get through).
            job = self._next(jobs, self._settings.flush_after_s if waiting else None)
            if job is _NOTHING_YET:
                yield from self._flush(waiting, reader)
                waiting, to_caption = [], 0
                continue
            if job is None or isinstance(job, BaseException):
                yield from self._flush(waiting, reader)
                if job is not None:
                    raise job
                return
            assert isinstance(job, _Job)
            if not job.loaded.wait(self._settings.flush_after_s) and waiting:
                yield from self._flush(waiting, reader)
                waiting, to_caption = [], 0
            while not job.loaded.wait(0.2):
                pass
            if job.fatal is not None:
                yield from self._flush(waiting, reader)
                raise job.fatal
            waiting.append(job)
            to_caption += job.pixels is not None
            # Inputs without a picture of their own (errors, repeats) need no batch; behind one they wait their turn,
            # but not without end.
            if to_caption >= self._batch_size or not to_caption or len(waiting) >= self._window:
                yield from self._flush(waiting, reader)
                waiting, to_caption = [], 0

    def _next(
        self, jobs: queue.Queue[_Job | BaseException | None], timeout: float | None
    ) -> _Job | BaseException | object | None:
        while True:
            try:
                return jobs.get(timeout=0.2 if timeout is None else timeout)
            except queue.Empty:
                if timeout is not None:
                    return _NOTHING_YET
                if self.stopped:
                    return None

    def _flush(self, waiting: list[_Job], reader: _Reader) -> Iterator[Result[Any, Said]]:
        fresh = [job for job in waiting if job.pixels is not None]
        if fresh:
            pixels = np.stack([job.pixels for job in fresh if job.pixels is not None])
            for job, captions in zip(fresh, self._caption(pixels), strict=True):
                job.captions, job.pixels = tuple(captions), None
        for job in waiting:
            answered = job.same_as or job
            reader.remember(answered)
            yield Result(job.given.source, answered.captions, answered.error)

    def _load(self, reader: _Reader) -> None:
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


_NOTHING_YET = object()


class _Reader:
    """Takes inputs from the source as the window allows, and gives the files among them to the loaders."""

    def __init__(
        self,
        inputs: Iterable[PipelineInput[Any]],
        jobs: queue.Queue[_Job | BaseException | None],
        to_load: queue.Queue[_Job | None],
        stopping: threading.Event,
        abandoned: threading.Event,
    ) -> None:
        self._inputs = inputs
        self._jobs = jobs
        self._to_load = to_load
        self._stopping = stopping
        self._abandoned = abandoned
        self._known: OrderedDict[tuple[object, ...], _Job] = OrderedDict()
        self._lock = threading.Lock()
        self._bytes_waiting = 0
        self._room = threading.Condition()

    def run(self) -> None:
        end: BaseException | None = None
        try:
            for given in self._inputs:
                if self._stopping.is_set() or self._abandoned.is_set():
                    break
                self._put(self._job(given))
                del given
                self._wait_for_room()
        except BaseException as error:  # raised again where the results are read
            end = error
        self._put(end)

    def next_to_load(self) -> _Job | None:
        """The next job for a loader; None when nothing more is to be loaded."""
        job = self._to_load.get()
        return None if self._abandoned.is_set() else job

    def forget_bytes(self, job: _Job) -> None:
        """Lets go of an image's bytes, which are decoded now."""
        with self._room:
            self._bytes_waiting -= _bytes_of(job)
            job.given = replace(job.given, image=None)
            self._room.notify()

    def remember(self, job: _Job) -> None:
        """Drops the oldest known files beyond the bound."""
        with self._lock:
            while len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)

    def _wait_for_room(self) -> None:
        with self._room:
            while self._bytes_waiting > _MOST_BYTES_WAITING and not self._stopping.is_set():
                if self._abandoned.is_set():
                    return
                self._room.wait(0.2)

    def _put(self, job: _Job | BaseException | None) -> None:
        while True:
            try:
                self._jobs.put(job, timeout=0.2)
            except queue.Full:
                # After a stop no further input goes in, but the end must, as long as somebody reads.
                if self._abandoned.is_set() or (self._stopping.is_set() and isinstance(job, _Job)):
                    return
            else:
                return

    def _job(self, given: PipelineInput[Any]) -> _Job:
        job = _Job(given)
        if given.error is not None:
            job.error = given.error
            job.loaded.set()
            return job
        key = _identity(given.image)
        if key is not None:
            with self._lock:
                known = self._known.get(key)
                if known is not None:
                    self._known.move_to_end(key)
                    # Its answer is ready by the time this one's turn comes: results keep the order of inputs.
                    job.same_as = known
                    job.loaded.set()
                    return job
                self._known[key] = job
        with self._room:
            self._bytes_waiting += _bytes_of(job)
        self._to_load.put(job)
        return job


def _bytes_of(job: _Job) -> int:
    image = job.given.image
    return len(image) if isinstance(image, bytes) else 0


def _identity(image: object) -> tuple[object, ...] | None:
    """What tells whether a path still names the same, unchanged file; None for what is no path, or no file."""
    if not isinstance(image, (str, os.PathLike)):
        return None
    try:
        status = os.stat(image)
    except (OSError, ValueError):
        return None
    return (os.fspath(image), status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
