"""The command, as a process that sends itself a signal as it is about to touch a file for the N-th time.

    python ends_itself.py PLAN ARGUMENT...

PLAN is a JSON file: `log`, a file that gets a line for each step; `signal`, its number; `at`, the step before which it
is sent, or null; `cut`, how much of what that step writes is written before kill -9, from 0 to 1; `folders`, in which
files count.

A step is whatever changes something on the disk, reads a photo or a bundle, or has the model compute: what Python's
audit hooks tell of, and writing, which they do not. A file of its own, that neither `tests` nor `capcli` has to be
imported for: the first steps are those of their loading.
"""

from __future__ import annotations

import builtins
import io
import itertools
import json
import os
import signal
import sys
from typing import Any

_CHANGES = {
    "os.rename": "rename",
    "os.remove": "unlink",
    "os.link": "link",
    "os.mkdir": "make folder",
    "os.rmdir": "remove folder",
    "os.truncate": "truncate",
    "os.chmod": "permissions",
    "os.chown": "permissions",
    "os.utime": "times",
    "subprocess.Popen": "start a process",
}
_IMPORTED = ("numpy", "onnxruntime", "tokenizers", "pyexiv2", "capcli.captioning", "capcli.pipeline")


class Steps:
    """Counts steps, and sends a signal at one of them."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self._at: int | None = plan["at"]
        self._signal: int = plan["signal"]
        self.cut: float = plan["cut"]
        self._folders = tuple(plan["folders"])
        self._count = itertools.count()
        self._log = os.open(plan["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._write = os.write
        self._watches_model = False

    def take(self, what: str, *, last_words: Any = None) -> None:
        """Tells of a step that is about to be taken."""
        step = next(self._count)
        self._write(self._log, f"{what}\n".encode())
        if step == self._at:
            if last_words is not None and self._signal == signal.SIGKILL:
                last_words()
            os.kill(os.getpid(), self._signal)

    def concerns(self, path: object) -> bool:
        if isinstance(path, int):
            try:
                path = os.readlink(f"/proc/self/fd/{path}")
            except OSError:
                return False
        return isinstance(path, (str, bytes)) and os.fsdecode(path).startswith(self._folders)

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        """The audit hook."""
        sessions = sys.modules.get("capcli.runtime.sessions")
        if not self._watches_model and sessions is not None and hasattr(sessions, "open_session"):
            self._watches_model = True
            watch_model(self, sessions.Session)
        if event == "open":
            path, _, flags = arguments
            if isinstance(path, (str, bytes)) and self.concerns(path):
                writes = flags & (os.O_WRONLY | os.O_RDWR)
                self.take("open to write" if writes else "open to read")
        elif event in _CHANGES and (event == "subprocess.Popen" or any(map(self.concerns, arguments[:2]))):
            self.take(_CHANGES[event])
        elif event == "import" and arguments[0] in _IMPORTED:
            self.take("load")


def watch_writes(steps: Steps) -> None:
    """Has steps of what audit hooks are not told of: bytes that are written, and those that are to reach the disk."""
    write, fsync, plain_open = os.write, os.fsync, builtins.open

    def watched_write(descriptor: int, content: Any) -> int:
        if steps.concerns(descriptor):
            steps.take("write", last_words=lambda: write(descriptor, content[: int(len(content) * steps.cut)]))
        return write(descriptor, content)

    def watched_fsync(descriptor: int) -> None:
        if steps.concerns(descriptor):
            steps.take("to disk")
        fsync(descriptor)

    class WatchedFile(io.FileIO):
        def write(self, content: Any) -> int:
            if steps.concerns(self.fileno()):
                part = content[: int(len(content) * steps.cut)]
                steps.take("write a row", last_words=lambda: super(WatchedFile, self).write(part))
            return super().write(content)

    def watched_open(file: Any, mode: str = "r", buffering: int = -1, *others: Any, **options: Any) -> Any:
        if buffering == 0 and set(mode) & set("wax"):
            return WatchedFile(file, mode.replace("b", ""))
        return plain_open(file, mode, buffering, *others, **options)

    os.write, os.fsync = watched_write, watched_fsync  # type: ignore[assignment]
    # Paths open files by the one, all else by the other.
    io.open = builtins.open = watched_open


def watch_model(steps: Steps, session: Any) -> None:
    """Has a step of each time that the model computes."""
    run = session.run

    def watched(self: Any, *arguments: Any) -> Any:
        steps.take("compute")
        return run(self, *arguments)

    session.run = watched


def main() -> None:
    with open(sys.argv[1]) as file:
        steps = Steps(json.load(file))
    sys.argv = ["capcli", *sys.argv[2:]]
    steps.take("load")
    sys.addaudithook(steps.hear)
    watch_writes(steps)
    from capcli.cli import main as command

    try:
        command()
    finally:
        steps.take("end")


if __name__ == "__main__":
    main()
