"""Paths -> an ordered stream of results, in a bounded window: load, batch, caption.

A reader takes inputs from their source (which may wait for somebody to type the next path), a few workers read and
decode images ahead, and the caller's own thread runs the model on full batches. Results come in the order of the
inputs, as soon as they are known; a batch that cannot be filled right now is not waited for. Memory depends on the
window, never on the number of inputs. Knows nothing of output formats or terminals.
"""

from __future__ import annotations

import queue
import threading
from collections import OrderedDict
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from capcli.captioner import Caption, Captioner
from capcli.decoding.search import SearchSettings
from capcli.errors import ImageError
from capcli.inputs.paths import InputItem

# Captions of this many files are remembered, for streams that name a file again and again.
_REMEMBERED = 1024


@dataclass(frozen=True)
class Result:
    """What became of one input: captions, best first, or the reason why there are none."""

    path: str
    captions: tuple[Caption, ...]
    error: str | None


@dataclass(frozen=True)
class PipelineSettings:
    """How much is done at once.

    `batch_size`: images a call of the encoder. `workers`: threads that read and decode. `max_pixels`: larger images
    are refused before they are decoded. `flush_after_s`: how long a started batch waits for the next image.
    """

    batch_size: int = 16
    workers: int = 2
    max_pixels: int | None = None
    flush_after_s: float = 0.02


@dataclass
class _Job:
    """An input on its way through; `loaded` is set when `pixels` or `error` is."""

    item: InputItem
    key: tuple[object, ...] | None
    loaded: threading.Event = field(default_factory=threading.Event)
    pixels: np.ndarray | None = None
    error: str | None = None
    same_as: _Job | None = None
    captions: tuple[Caption, ...] = ()


class Pipeline:
    """Captions a stream of inputs.

    Args:
        captioner: the model; used by the thread that iterates, and by no other.
        search: search settings.
        settings: how much is done at once.
    """

    def __init__(self, captioner: Captioner, search: SearchSettings, settings: PipelineSettings) -> None:
        self._captioner = captioner
        self._search = search
        self._settings = settings
        self._window = max(2 * settings.batch_size, settings.batch_size + settings.workers)
        self._stopping = threading.Event()
        self._abandoned = threading.Event()

    def stop(self) -> None:
        """Takes no further input; what is in flight is finished. May be called from a signal handler."""
        self._stopping.set()

    @property
    def stopped(self) -> bool:
        return self._stopping.is_set()

    def run(self, items: Iterable[InputItem]) -> Generator[Result, None, None]:
        """Yields a result for every input, in order.

        Errors of the source itself (not of single inputs) are raised after the results of what came before.
        """
        jobs: queue.Queue[_Job | BaseException | None] = queue.Queue(self._window)
        to_load: queue.Queue[_Job | None] = queue.Queue()
        reader = _Reader(items, jobs, to_load, self._stopping, self._abandoned)
        threading.Thread(target=reader.run, name="capcli-reader", daemon=True).start()
        for _ in range(self._settings.workers):
            threading.Thread(target=self._load, args=(to_load,), name="capcli-loader", daemon=True).start()
        try:
            yield from self._results(jobs, reader)
        finally:
            self._abandoned.set()
            for _ in range(self._settings.workers):
                to_load.put(None)

    def _results(self, jobs: queue.Queue[_Job | BaseException | None], reader: _Reader) -> Iterator[Result]:
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
            waiting.append(job)
            to_caption += job.pixels is not None
            # Inputs without a picture of their own (errors, repeats) need no batch; behind one they wait their turn,
            # but not without end.
            if to_caption >= self._settings.batch_size or not to_caption or len(waiting) >= self._window:
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

    def _flush(self, waiting: list[_Job], reader: _Reader) -> Iterator[Result]:
        fresh = [job for job in waiting if job.pixels is not None]
        if fresh:
            pixels = np.stack([job.pixels for job in fresh if job.pixels is not None])
            for job, captions in zip(fresh, self._captioner.caption_pixels(pixels, self._search), strict=True):
                job.captions, job.pixels = tuple(captions), None
        for job in waiting:
            answered = job.same_as or job
            reader.remember(answered)
            yield Result(job.item.path, answered.captions, answered.error)

    def _load(self, to_load: queue.Queue[_Job | None]) -> None:
        while (job := to_load.get()) is not None:
            try:
                source = job.item.path if job.item.content is None else job.item.content
                job.pixels = self._captioner.load(source, max_pixels=self._settings.max_pixels)
            except ImageError as error:
                job.error = str(error)
            except Exception as error:  # a worker that dies would leave the run waiting for ever
                job.error = f"cannot be read ({type(error).__name__}: {error})"
            job.loaded.set()


_NOTHING_YET = object()


class _Reader:
    """Takes inputs from the source as the window allows, and gives the files among them to the loaders."""

    def __init__(
        self,
        items: Iterable[InputItem],
        jobs: queue.Queue[_Job | BaseException | None],
        to_load: queue.Queue[_Job | None],
        stopping: threading.Event,
        abandoned: threading.Event,
    ) -> None:
        self._items = items
        self._jobs = jobs
        self._to_load = to_load
        self._stopping = stopping
        self._abandoned = abandoned
        self._known: OrderedDict[tuple[object, ...], _Job] = OrderedDict()
        self._lock = threading.Lock()

    def run(self) -> None:
        end: BaseException | None = None
        try:
            for item in self._items:
                if self._stopping.is_set() or self._abandoned.is_set():
                    break
                self._put(self._job(item))
        except BaseException as error:  # raised again where the results are read
            end = error
        self._put(end)

    def remember(self, job: _Job) -> None:
        """Drops the oldest known files beyond the bound."""
        with self._lock:
            while len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)

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

    def _job(self, item: InputItem) -> _Job:
        job = _Job(item, None)
        if item.error is not None:
            job.error = item.error
            job.loaded.set()
            return job
        if item.content is None:
            key = _identity(item.path)
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
        self._to_load.put(job)
        return job


def _identity(path: str) -> tuple[object, ...] | None:
    """What tells whether a path still names the same, unchanged file."""
    try:
        status = Path(path).stat()
    except (OSError, ValueError):
        return None
    return (path, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
