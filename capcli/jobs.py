"""Inputs -> jobs: what a pipeline has taken and not answered yet, in the order in which it came.

A reader takes inputs from their source (which may wait for somebody to type the next path) as the window allows.
"""

from __future__ import annotations

import os
import queue
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

import numpy as np

from capcli.errors import CapcliError

Source = TypeVar("Source")
Thing = TypeVar("Thing")

# Captions of this many files are remembered, for streams that name a file again and again.
_REMEMBERED = 1024
# How often a wait looks up: a Ctrl-C, or the end of a run, must get through.
LOOK_UP_S = 0.2
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


@dataclass
class Job:
    """An input on its way through; `loaded` is set when `pixels`, `error`, `same_as` or `fatal` is."""

    given: PipelineInput[Any]
    loaded: threading.Event = field(default_factory=threading.Event)
    pixels: np.ndarray | None = None
    error: str | None = None
    same_as: Job | None = None
    fatal: CapcliError | None = None
    captions: tuple[Any, ...] = ()


# Jobs in the order of the inputs; after the last one None, or what the source of the inputs raised.
Jobs = queue.Queue[Job | BaseException | None]


class JobReader:
    """Takes inputs from the source as the window allows, and gives the files among them to the loaders.

    `ended` is set when all of them are among the jobs.
    """

    def __init__(
        self,
        inputs: Iterable[PipelineInput[Any]],
        jobs: Jobs,
        to_load: queue.Queue[Job | None],
        stopping: threading.Event,
        abandoned: threading.Event,
    ) -> None:
        self._inputs = inputs
        self._jobs = jobs
        self._to_load = to_load
        self._stopping = stopping
        self._abandoned = abandoned
        self.ended = threading.Event()
        self._known: OrderedDict[tuple[object, ...], Job] = OrderedDict()
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
        self.ended.set()
        self._put(end)

    def next_to_load(self) -> Job | None:
        """The next job for a loader; None when nothing more is to be loaded."""
        job = self._to_load.get()
        return None if self._abandoned.is_set() else job

    def forget_bytes(self, job: Job) -> None:
        """Lets go of an image's bytes, which are decoded now."""
        with self._room:
            self._bytes_waiting -= _bytes_of(job)
            job.given = replace(job.given, image=None)
            self._room.notify()

    def remember(self, job: Job) -> None:
        """Drops the oldest known files beyond the bound."""
        with self._lock:
            while len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)

    def _wait_for_room(self) -> None:
        with self._room:
            while self._bytes_waiting > _MOST_BYTES_WAITING and not self._stopping.is_set():
                if self._abandoned.is_set():
                    return
                self._room.wait(LOOK_UP_S)

    def _put(self, job: Job | BaseException | None) -> None:
        # After a stop no further input goes in, but the end must, as long as somebody reads.
        put(
            self._jobs,
            job,
            in_vain=lambda: self._abandoned.is_set() or (self._stopping.is_set() and isinstance(job, Job)),
        )

    def _job(self, given: PipelineInput[Any]) -> Job:
        job = Job(given)
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


def put(where: queue.Queue[Thing], thing: Thing, in_vain: Callable[[], bool]) -> None:
    """Puts something into a queue as soon as there is room, unless that has become in vain by then."""
    while True:
        try:
            return where.put(thing, timeout=LOOK_UP_S)
        except queue.Full:
            if in_vain():
                return None


def _bytes_of(job: Job) -> int:
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
