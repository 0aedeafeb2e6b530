"""A loader process as the one that started it sees it: an image goes in, its pixels or its error come out.

What the process does is in `capcli.inputs.loader_process`. Knows nothing of how many there are.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np

from capcli.errors import CapcliError, ImageError
from capcli.inputs.loader_process import ERROR, PIXELS, READY, REPLY, REQUEST, TAKEN

TICK_S = 1.0
_START = "import sys; sys.path[:] = sys.argv[1:]; from capcli.inputs.loader_process import main; main()"
_MOST_PIXELS = 1 << 62
# Of pixels; what is said of an image is shorter.
_LONGEST_REPLY = 1 << 28
_KILLED = -9


class EndedError(Exception):
    """A process has ended; `in_hand` if it had taken the image, `reason` is what to say of that."""

    def __init__(self, reason: str, *, in_hand: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.in_hand = in_hand


class StartedLoader:
    """One loader process, used by one thread at a time.

    Args:
        longest_s: seconds after which it is ended while it still reads one image.
    Raises:
        CapcliError: it cannot be started.
    """

    def __init__(self, longest_s: float) -> None:
        self._longest_s = longest_s
        self._busy = self._ready = self._overdue = False
        self._ticks = 0
        if not sys.executable or getattr(sys, "frozen", False):
            raise _cannot_start("there is no Python to start")
        options: dict[str, Any] = {}
        if sys.platform == "win32":
            # No window; and Ctrl-C is for this process, which lets the others finish.
            options["creationflags"] = subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP
        try:
            with _no_signals():
                # The paths are this process's own: a folder of photos that it is started in may hold a numpy.py.
                self._popen = subprocess.Popen(
                    [sys.executable, "-c", _START, *(path or os.getcwd() for path in sys.path)],
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
            EndedError: the process has ended.
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
        if self._ticks * TICK_S > self._longest_s:
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
        except EndedError:
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

    def _ended(self, *, in_hand: bool = False) -> EndedError:
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
        return EndedError(reason, in_hand=in_hand)


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
