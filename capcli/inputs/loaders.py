"""Images that nobody has looked at -> RGB arrays, read in processes of their own.

Readers of images are large, written in C, and fed with files that others made: one that crashes, hangs or fills the
memory ends its own process, and its image has an error. Decodes nothing in this process; knows nothing of models.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any

import numpy as np

from capcli.errors import CapcliError, ImageError
from capcli.inputs.loader_process import ERROR, PIXELS, READY, REPLY, REQUEST, TAKEN

# One of 200 million pixels takes some 10 s, and a slow network a minute for its bytes.
LONGEST_S = 120
# A further process is started when images have waited for one that long: it takes 0.1 s of the processor and 35 MB, and
# one alone keeps up with a CPU's captions of most photos.
_PATIENCE_S = 1.0
_START = "import sys; sys.path[:] = sys.argv[1:]; from capcli.inputs.loader_process import main; main()"
_TICK_S = 1.0
_MOST_PIXELS = 1 << 62
# Of pixels; what is said of an image is shorter.
_LONGEST_REPLY = 1 << 28
_KILLED = -9


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
        self._all: list[_Process] = []
        self._idle: list[_Process] = []
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
            except _EndedError as ended:
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

    def _take(self) -> _Process:
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

    def _give_back(self, process: _Process) -> None:
        with self._changed:
            if process in self._all:
                self._idle.append(process)
            self._changed.notify_all()

    def _forget(self, process: _Process) -> None:
        with self._changed:
            if process in self._all:
                self._all.remove(process)
            # Whoever waits may now start another.
            self._changed.notify_all()

    def _start(self) -> _Process:
        process = _Process(self._longest_s)
        self._all.append(process)
        return process

    def _watch(self) -> None:
        """Counts the seconds of each image. By ticks, which a process that is suspended does not get either."""
        while not self._closed.wait(_TICK_S):
            with self._changed:
                processes = list(self._all)
            for process in processes:
                process.tick()


class _EndedError(Exception):
    """A process has ended; `in_hand` if it had taken the image, `reason` is what to say of that."""

    def __init__(self, reason: str, *, in_hand: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.in_hand = in_hand


class _Process:
    """One loader process, used by one thread at a time.

    Raises:
        CapcliError: it cannot be started.
    """

    def __init__(self, longest_s: float) -> None:
        self._longest_s = longest_s
        self._busy = True
        self._ready = self._overdue = False
        self._ticks = 0
        if not sys.executable or getattr(sys, "frozen", False):
            raise _cannot_start("there is no Python to start")
        options: dict[str, Any] = {}
        if sys.platform == "win32":
            # No window; and Ctrl-C is for this process, which lets the others finish.
            options["creationflags"] = subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP
        try:
            with _no_signals():
                # -P: a folder of photos may hold a numpy.py. The paths are this process's own.
                self._popen = subprocess.Popen(
                    [sys.executable, "-P", "-c", _START, *(path or os.getcwd() for path in sys.path)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    # NumPy's threads, for which it has no use, are memory.
                    env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
                    **options,
                )
        except OSError as error:
            raise _cannot_start(error.strerror or str(error)) from error

    def load(self, image: str | os.PathLike[str] | bytes, size: tuple[int, int], max_pixels: int) -> np.ndarray:
        """Reads one image.

        Raises:
            ImageError: it cannot be read.
            _EndedError: the process has ended.
            CapcliError: the process does not start.
        """
        self._ticks, self._busy = 0, True
        try:
            if not self._ready:
                self._await_start()
            return self._load(image, size, max_pixels)
        finally:
            self._busy = False

    @property
    def number(self) -> int:
        return self._popen.pid

    def tick(self) -> None:
        """One more second; ends a process that has read one image for too long."""
        self._ticks += self._busy
        if self._ticks * _TICK_S > self._longest_s:
            self._overdue = True
            self.kill()

    def kill(self) -> None:
        with suppress(OSError):
            self._popen.kill()

    def reap(self) -> int:
        """Waits for the end; returns the exit code."""
        code = self._popen.wait()
        for stream in (self._popen.stdin, self._popen.stdout):
            with suppress(OSError, ValueError):
                if stream is not None:
                    stream.close()
        return code

    def _await_start(self) -> None:
        try:
            what, text = self._reply()
        except _EndedError:
            raise _cannot_start(f"it ended with {_name(self.reap())}") from None
        if what != READY:
            raise _cannot_start(text.decode("utf-8", "replace"))
        self._ready = True

    def _load(self, image: str | os.PathLike[str] | bytes, size: tuple[int, int], max_pixels: int) -> np.ndarray:
        content, is_path = (image, False) if isinstance(image, bytes) else (os.fsencode(image), True)
        request = REQUEST.pack(is_path, len(content), *size, min(max_pixels, _MOST_PIXELS))
        assert self._popen.stdin is not None
        try:
            self._popen.stdin.write(request)
            self._popen.stdin.write(content)
            self._popen.stdin.flush()
        except (OSError, ValueError):
            raise self._ended() from None
        what, _ = self._reply()
        in_hand = what == TAKEN
        what, answer = self._reply(in_hand=in_hand)
        if what == ERROR:
            raise ImageError(answer.decode("utf-8", "surrogatepass"))
        if not in_hand or what != PIXELS or len(answer) != size[0] * size[1] * 3:
            raise self._ended(in_hand=True)
        return np.frombuffer(answer, np.uint8).reshape(size[1], size[0], 3)

    def _reply(self, *, in_hand: bool = False) -> tuple[bytes, bytearray]:
        header = bytearray(REPLY.size)
        if self._read(header):
            what, length = REPLY.unpack(header)
            # A decoder that was taken over may claim anything.
            if length <= _LONGEST_REPLY:
                answer = bytearray(length)
                if self._read(answer):
                    return what, answer
        raise self._ended(in_hand=in_hand)

    def _read(self, into: bytearray) -> bool:
        """Whether all of it came."""
        assert self._popen.stdout is not None
        try:
            return not into or self._popen.stdout.readinto(into) == len(into)  # type: ignore[attr-defined]
        except (OSError, ValueError):
            return False

    def _ended(self, *, in_hand: bool = False) -> _EndedError:
        # One that crashed has closed its streams and is about to be gone; its own end tells more than ours.
        with suppress(subprocess.TimeoutExpired):
            self._popen.wait(timeout=1)
        self.kill()
        code = self.reap()
        if self._overdue:
            reason = f"is given up: reading it took longer than {self._longest_s:g} s"
        elif code == _KILLED:
            reason = "cannot be read: the process that read it was killed, perhaps for want of memory"
        else:
            reason = f"is damaged, or made to do harm: its decoder crashed ({_name(code)})"
        return _EndedError(reason, in_hand=in_hand)


def _name(code: int) -> str:
    """An exit code as systems tell it: the signal that ended a process, or a number."""
    if code < 0:
        with suppress(ValueError):
            return signal.Signals(-code).name
    return f"{code:#x}" if code > 255 else f"exit code {code}"


def _cannot_start(reason: str) -> CapcliError:
    return CapcliError(
        f"no process to read photos in can be started ({reason}); a photo that is named alone needs none"
    )


@contextmanager
def _no_signals() -> Iterator[None]:
    """What is started meanwhile is not stopped by Ctrl-C or SIGTERM, which are this process's to heed."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
