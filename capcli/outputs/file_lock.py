"""The operating system's locks on open files: they end with the process, however it ends.

A lock holds for a file, not for its name, which another process may have given to a new file in the meantime:
`is_in_place` tells. Knows nothing of what is in the files.
"""

from __future__ import annotations

import os
import stat
import sys
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path

_EVERY_S = 0.1
# Windows locks bytes, from the file's present position, and keeps others from reading them: one byte far behind the
# end of any file, at the same place wherever a run that appends stands. Its runtime counts with 31 bits.
_WINDOWS_PLACE = 0x7FFFFFF0
# Files whose locks end with this process: not with the last of its forks, which may outlive it for seconds.
_own: weakref.WeakSet[FileIO] = weakref.WeakSet()


def try_lock(file: FileIO, *, shared: bool = False) -> bool:
    """Takes the lock unless another open file has it; closing the file, in every process that it is open in, ends it.

    Args:
        file: an open file.
        shared: others may take a shared lock too. Windows has no such lock for whole files: nothing is taken there,
            and an open file cannot be deleted.
    Returns:
        Whether it was taken.
    Raises:
        OSError: the disk or the pipe knows no locks.
    """
    if sys.platform == "win32":
        import msvcrt

        if shared:
            return True
        position = os.lseek(file.fileno(), 0, os.SEEK_CUR)
        os.lseek(file.fileno(), _WINDOWS_PLACE, os.SEEK_SET)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
        finally:
            os.lseek(file.fileno(), position, os.SEEK_SET)
        return True
    import fcntl

    try:
        fcntl.flock(file.fileno(), (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def is_in_place(file: FileIO, path: Path) -> bool:
    """Whether `path` still names the open file."""
    here = os.fstat(file.fileno())
    if not stat.S_ISREG(here.st_mode):
        return True
    try:
        there = path.stat()
    except OSError:
        return False
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)


def wait_for_lock(path: Path, waiting: Callable[[], None]) -> FileIO:
    """Locks a file that is there for its lock only; made if missing.

    Args:
        path: the file; its folder must exist.
        waiting: called once if another process has the lock, before it is waited for.
    Returns:
        The open file; closing it ends the lock.
    Raises:
        OSError: it cannot be made, or the disk knows no locks.
    """
    told = False
    while True:
        file = path.open("ab", buffering=0)
        try:
            while not try_lock(file):
                if not told:
                    waiting()
                    told = True
                time.sleep(_EVERY_S)
            if is_in_place(file, path):
                return file
        except BaseException:
            file.close()
            raise
        file.close()


@contextmanager
def locked_by(path: Path) -> Iterator[bool]:
    """A lock of this process alone, by a file that is there for its lock only, and goes with it.

    Folders above the file are made if missing, and go too where nothing else has come into them.

    Args:
        path: the file.
    Yields:
        False if another process has the lock. True also where the disk knows no locks.
    Raises:
        OSError: it cannot be made.
    """
    made = [folder for folder in path.parents if not folder.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file, taken = _lock_at_once(path)
        with file:
            _own.add(file)
            try:
                yield taken
            finally:
                if sys.platform == "win32":
                    # An open file cannot be deleted there, and one that another process has open stays.
                    file.close()
                if taken:
                    # Before the lock ends: whoever has just opened the file sees that it has lost its name.
                    with suppress(OSError):
                        path.unlink()
    finally:
        for folder in made:
            with suppress(OSError):  # something else is in it
                folder.rmdir()


def _lock_at_once(path: Path) -> tuple[FileIO, bool]:
    while True:
        file = path.open("ab", buffering=0)
        try:
            taken = try_lock(file)
        except OSError:
            return file, True
        if not taken or is_in_place(file, path):
            return file, taken
        file.close()


def _forget_own() -> None:
    for file in list(_own):
        file.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_own)
