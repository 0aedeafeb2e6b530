"""Images that nobody has looked at -> RGB arrays, read in processes of their own.

Readers of images are large, written in C, and fed with files that others made: one that crashes, hangs or fills the
memory ends its own process, and its image has an error. Decodes nothing in this process; knows nothing of models.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from types import TracebackType

import numpy as np

from capcli.errors import ImageError
from capcli.inputs.started_loader import TICK_S, EndedError, StartedLoader

# One of 200 million pixels takes some 10 s, and a slow network a minute for its bytes.
LONGEST_S = 120
# A further process is started when images have waited for one that long: it takes 0.1 s of the processor and 35 MB, and
# one alone keeps up with a CPU's captions of most photos.
_PATIENCE_S = 1.0


class Loaders:
    """Processes that read images; started as they are needed, ended by `close` or with this process.

    Args:
        count: processes at most.
        longest_s: seconds after which a process that still reads one image is ended.

    `load` may be called in several threads at once, of which as many as there are processes do not wait.
    """

    def __init__(self, count: int, *, longest_s: float = LONGEST_S) -> None:
        self._count = count
        self._longest_s = longest_s
        self._changed = threading.Condition()
        self._all: list[StartedLoader] = []
        self._idle: list[StartedLoader] = []
        self._turns: deque[object] = deque()
        self._none_idle_since: float | None = None
        self._closed = threading.Event()
        self._clock = threading.Thread(target=self._watch, name="capcli-loader-clock", daemon=True)

    def __enter__(self) -> Loaders:
        """Starts the first process, and does not wait until it is ready.

        Raises:
            CapcliError: it cannot be started.
        """
        with self._changed:
            self._idle.append(self._start())
        self._clock.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def load(self, image: str | os.PathLike[str] | bytes, *, size: tuple[int, int], max_pixels: int) -> np.ndarray:
        """What `load_image` makes of a path or of a file's bytes: uint8 [height, width, 3].

        Raises:
            ImageError: it cannot be read; or the process that read it crashed, or took too long.
            CapcliError: no process can be started.
        """
        again = False
        while True:
            process = self._take()
            try:
                pixels = process.load(image, size, max_pixels)
            except EndedError as ended:
                self._forget(process)
                # One that ended before it had the image in hand did so for another reason.
                if not ended.in_hand and not again and not self._closed.is_set():
                    again = True
                    continue
                raise ImageError(ended.reason) from None
            except ImageError:
                self._give_back(process)
                raise
            except BaseException:
                process.kill()
                self._forget(process)
                raise
            self._give_back(process)
            return pixels

    @property
    def processes(self) -> list[int]:
        """The process ids of those that are running."""
        with self._changed:
            return [process.number for process in self._all]

    def close(self) -> None:
        """Ends all processes at once, and whatever they read."""
        self._closed.set()
        with self._changed:
            processes, self._all, self._idle = self._all, [], []
            self._changed.notify_all()
        for process in processes:
            process.kill()
        for process in processes:
            process.reap()

    def _take(self) -> StartedLoader:
        """A process for one image; those who wait get theirs in turn, or the first image of a run would come last."""
        with self._changed:
            if self._idle and not self._turns:
                self._none_idle_since = None
                return self._idle.pop()
            turn = object()
            self._turns.append(turn)
            try:
                while not (self._idle and self._turns[0] is turn):
                    if self._closed.is_set():
                        raise ImageError("was not read before the end")
                    if self._turns[0] is turn and self._wants_another():
                        return self._start()
                    self._changed.wait(_PATIENCE_S)
                return self._idle.pop()
            finally:
                self._turns.remove(turn)
                self._changed.notify_all()

    def _wants_another(self) -> bool:
        now = time.monotonic()
        since = self._none_idle_since = self._none_idle_since or now
        return not self._all or (len(self._all) < self._count and now - since >= _PATIENCE_S)

    def _give_back(self, process: StartedLoader) -> None:
        with self._changed:
            if process in self._all:
                self._idle.append(process)
            self._changed.notify_all()

    def _forget(self, process: StartedLoader) -> None:
        with self._changed:
            if process in self._all:
                self._all.remove(process)
            # Whoever waits may now start another.
            self._changed.notify_all()

    def _start(self) -> StartedLoader:
        process = StartedLoader(self._longest_s)
        self._all.append(process)
        return process

    def _watch(self) -> None:
        """Counts the seconds of each image. By ticks, which a process that is suspended does not get either."""
        while not self._closed.wait(TICK_S):
            with self._changed:
                processes = list(self._all)
            for process in processes:
                process.tick()
