"""Jobs -> batches, captioned in lanes: as many at a time as there are, each by a thread of its own.

Two batches at a time leave no core idle where one would: small products and what is Python in a search use one core,
and layers wait for the slower of two threads. Batches go out in the order of their jobs, and are closed only as a lane
becomes free for them, so that what comes meanwhile still finds room.
"""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import numpy as np

from capcli.jobs import LOOK_UP_S, Job, Jobs, put

# Images that a free lane begins with when the next one is not there yet: so few are almost as fast each as more.
_ENOUGH = 4

Caption = Callable[[np.ndarray], Sequence[Sequence[Any]]]


class Batch:
    """Jobs that are answered together; those of them that have a picture are being captioned."""

    def __init__(self, jobs: Sequence[Job], captioned: Future[None] | None) -> None:
        self.jobs = jobs
        self._captioned = captioned

    def wait(self) -> None:
        """Returns when the jobs have their captions. Raises what captioning them raised."""
        if self._captioned is None:
            return
        while not wait([self._captioned], LOOK_UP_S).done:
            pass
        self._captioned.result()


class Batcher:
    """Takes jobs as they are loaded, and has them captioned.

    Args:
        jobs: to take from.
        ended: set when no more of them will come.
        caption: uint8 [N, size, size, 3] -> for each image its captions. Called in several threads at once.
        lanes: batches captioned at a time.
        most: images of a batch.
        window: jobs that wait for a lane, those without a picture among them.
        flush_after_s: seconds that a started batch waits for the next job.
        stopping: set when nothing more is to be waited for.
        abandoned: set when nobody wants results any more.
    """

    def __init__(
        self,
        jobs: Jobs,
        ended: threading.Event,
        caption: Caption,
        *,
        lanes: int,
        most: int,
        window: int,
        flush_after_s: float,
        stopping: threading.Event,
        abandoned: threading.Event,
    ) -> None:
        self._jobs = jobs
        self._ended = ended
        self._lanes = lanes
        self._caption = caption
        self._most = most
        self._window = window
        self._flush_after_s = flush_after_s
        self._stopping = stopping
        self._abandoned = abandoned
        self._pool = ThreadPoolExecutor(lanes, thread_name_prefix="capcli-lane")
        self._free = threading.Semaphore(lanes)
        # No more than one for each lane, so that whoever takes their results slowly holds back the rest.
        self._batches: queue.Queue[Batch | BaseException | None] = queue.Queue(lanes)

    def run(self) -> None:
        """Takes jobs until their end. For a thread of its own."""
        try:
            end = self._take_all()
        except BaseException as error:  # raised again where the batches are taken
            end = error
        self._put(end)

    def next(self) -> Batch | None:
        """The next batch, in the order of the jobs; None after the last. Raises what ended the jobs."""
        while True:
            try:
                found = self._batches.get(timeout=LOOK_UP_S)
            except queue.Empty:
                continue
            if isinstance(found, BaseException):
                raise found
            return found

    def close(self) -> None:
        """Waits for what is being captioned: a thread that outlives Python in ONNX Runtime takes the process down.

        Call it when nobody wants results any more. It waits for lanes, not for threads: Python up to 3.12 takes a
        thread that it waited for when a signal came to be at its end, and does not wait for it any more.
        """
        for _ in range(self._lanes):
            while not self._free.acquire(timeout=LOOK_UP_S):
                pass
        self._pool.shutdown(wait=False)

    def _take_all(self) -> BaseException | None:
        """What the jobs end with."""
        waiting: list[Job] = []
        while not self._abandoned.is_set():
            try:
                # With nothing in hand there is nothing to flush.
                job = self._jobs.get(timeout=self._flush_after_s if waiting else LOOK_UP_S)
            except queue.Empty:
                if not waiting and self._stopping.is_set():
                    return None
                waiting = self._flushed(waiting)
                continue
            if not isinstance(job, Job):
                self._flush_all(waiting)
                return job
            if not job.loaded.is_set() and _pictures(waiting) >= _ENOUGH * self._lanes:
                waiting = self._flushed(waiting)
            while not job.loaded.wait(self._flush_after_s if waiting else LOOK_UP_S):
                if self._abandoned.is_set():
                    return None
                waiting = self._flushed(waiting)
            if job.fatal is not None:
                self._flush_all(waiting)
                return job.fatal
            waiting.append(job)
            pictures = _pictures(waiting)
            # Inputs without a picture of their own (errors, repeats) need no lane; behind one they wait their turn,
            # but not without end.
            if not pictures or pictures >= self._share(waiting) or len(waiting) >= self._window:
                waiting = self._begin(waiting, self._share)
        return None

    def _share(self, waiting: list[Job]) -> int:
        """Images of the next batch. What is left at the end is shared out, so that lanes end together."""
        # The last of the jobs only says that it is the last.
        left = len(waiting) + max(0, self._jobs.qsize() - 1)
        return min(self._most, math.ceil(left / self._lanes)) if self._ended.is_set() else self._most

    def _share_of_all(self, waiting: list[Job]) -> int:
        """The same where nothing more is to be had right now."""
        return min(self._share(waiting), math.ceil(_pictures(waiting) / self._lanes))

    def _flushed(self, waiting: list[Job]) -> list[Job]:
        """Begins with jobs for as long as a lane is free; returns those that still wait."""
        while waiting and (not _pictures(waiting) or self._free.acquire(blocking=False)):
            waiting = self._begin_in_lane(waiting, self._share_of_all)
        return waiting

    def _flush_all(self, waiting: list[Job]) -> None:
        while waiting and not self._abandoned.is_set():
            waiting = self._begin(waiting, self._share_of_all)

    def _begin(self, waiting: list[Job], share: Callable[[list[Job]], int]) -> list[Job]:
        """Begins with as many jobs as are a batch's share when a lane becomes free; returns those that still wait."""
        while _pictures(waiting) and not self._free.acquire(timeout=LOOK_UP_S):
            if self._abandoned.is_set():
                return waiting
        return self._begin_in_lane(waiting, share)

    def _begin_in_lane(self, waiting: list[Job], share: Callable[[list[Job]], int]) -> list[Job]:
        jobs, left = _split(waiting, share(waiting))
        self._put(self._begun(jobs))
        return left

    def _begun(self, jobs: list[Job]) -> Batch:
        pictured = [job for job in jobs if job.pixels is not None]
        if pictured and self._abandoned.is_set():
            self._free.release()
            pictured = []
        if not pictured:
            return Batch(jobs, None)
        pixels = np.stack([job.pixels for job in pictured if job.pixels is not None])
        for job in pictured:
            job.pixels = None
        return Batch(jobs, self._pool.submit(self._captioned, pictured, pixels))

    def _captioned(self, jobs: list[Job], pixels: np.ndarray) -> None:
        try:
            for job, captions in zip(jobs, self._caption(pixels), strict=True):
                job.captions = tuple(captions)
        finally:
            self._free.release()

    def _put(self, batch: Batch | BaseException | None) -> None:
        put(self._batches, batch, in_vain=self._abandoned.is_set)


def _pictures(jobs: list[Job]) -> int:
    return sum(job.pixels is not None for job in jobs)


def _split(jobs: list[Job], pictures: int) -> tuple[list[Job], list[Job]]:
    """Jobs in their order: as many pictures, with what follows them and has none, and the others."""
    places = [place for place, job in enumerate(jobs) if job.pixels is not None]
    end = places[pictures] if pictures < len(places) else len(jobs)
    return jobs[:end], jobs[end:]
