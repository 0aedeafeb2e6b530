"""How processes that prepare batches begin and end: with a folder for their sockets; silently where the run was
stopped, with one line where they fail.

torch's DataLoader tells of them by errors of its own, some of them from a signal handler. Knows nothing of batches.
"""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path

from capcli.errors import CapcliError, TrainingError

# Tensors reach the network through a socket TMPDIR/pymp-xxxxxxxx/listener-xxxxxxxx. Linux allows its name 107 bytes,
# macOS 103; with a longer one the process's own thread fails, and the run waits for ever.
_LONGEST_FOLDER = 103 - len("/pymp-xxxxxxxx/listener-xxxxxxxx")
_SHORT_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")


def socket_folder() -> str:
    """The folder for the temporary files of such processes: TMPDIR, or where its name is too long another.

    Raises:
        TrainingError: it is too long, and no other can be written to.
    """
    chosen = tempfile.gettempdir()
    if os.name == "nt" or len(os.fsencode(chosen)) <= _LONGEST_FOLDER:
        return chosen
    for folder in _SHORT_FOLDERS:
        if os.access(folder, os.W_OK | os.X_OK):
            return folder
    raise TrainingError(
        f"{chosen}: too long a name for the sockets of processes that prepare batches; "
        f"set TMPDIR to one of at most {_LONGEST_FOLDER} bytes, or give --workers 0"
    )


@contextlib.contextmanager
def worker_errors(run: Path) -> Iterator[None]:
    """Around all that uses such processes; they are gone once an error leaves it.

    Args:
        run: the run's folder, for messages.
    Raises:
        TrainingError: one of them died.
        CapcliError: what one of them raised.
    """
    try:
        yield
    except BaseException as error:
        _end_workers(error)
        told = _in_one_line(error, run)
        if told is error:
            raise
        raise told from None


def _in_one_line(error: BaseException, run: Path) -> BaseException:
    told = isinstance(error, RuntimeError) and str(error).startswith("DataLoader worker (pid")
    if told or _is_of_a_lost_process(error):
        stopped = error.__context__
        if stopped is not None and not isinstance(stopped, Exception):
            # Ctrl-C or SIGTERM reached all processes; that they end is no news.
            return stopped
        reason = next(iter(str(error).splitlines()), "").strip() or type(error).__name__
        return TrainingError(
            f"{run}: a process that prepares batches died ({reason}); if memory ran out, "
            "give fewer --workers or a smaller --batch-size. The same command goes on from the last checkpoint"
        )
    if isinstance(error, CapcliError):
        # torch hands errors over with the process's traceback in their text.
        first, *rest = str(error).splitlines()
        if rest and "DataLoader worker process" in first:
            return type(error)(rest[-1].partition(": ")[2] or rest[-1])
    return error


def _is_of_a_lost_process(error: BaseException) -> bool:
    """Whether a batch could not be fetched from the process that made it, which had died before torch noticed."""
    return isinstance(error, (OSError, EOFError)) and any(
        frame.f_globals.get("__name__") == "multiprocessing.resource_sharer"
        for frame, _ in traceback.walk_tb(error.__traceback__)
    )


def _end_workers(error: BaseException) -> None:
    """Frees the loader, which the error's frames hold, and so ends its processes."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGCHLD"):
        return
    # The signal that stopped the run may have reached them too: torch would call that an error while it waits for them.
    handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        for each in (error, error.__context__):
            if each is not None:
                traceback.clear_frames(each.__traceback__)
    finally:
        if handler is not None:
            signal.signal(signal.SIGCHLD, handler)
