"""Where the draft of a file lies, whose it is, and how it gets the file's name.

A draft has one name, made of its file's: a killed process leaves one beside a file at most, and the next draft of that
file takes it away. Whoever writes one has it locked, so that no draft of a living process is taken for a left-over.
Knows nothing of what is written.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import hashlib
import os
import secrets
import stat
import sys
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from typing import Any

from capcli.outputs.file_lock import is_in_place, try_lock

# Hidden and without a photo's suffix, so that a left-over one is never taken for a photo.
_PREFIX, _SUFFIX = ".capcli-", ".tmp"
# What lies under a draft's name may be anything, a pipe that is waited for included.
_CAREFUL = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
# Of Linux's renameat2: paths are relative to the current folder; nothing is replaced.
_AT_FDCWD, _RENAME_NOREPLACE = -100, 1


def draft_path(target: str) -> str:
    """Where a file's draft lies. The file's own name is hashed, as it may be as long as names may be."""
    folder, name = os.path.split(target)
    digest = hashlib.blake2b(os.fsencode(name), digest_size=8).hexdigest()
    return os.path.join(folder, f"{_PREFIX}{digest}{_SUFFIX}")


def open_draft(target: str, mode: int) -> FileIO:
    """A new file beside a file, which takes the place of a left-over one; its `name` is its path.

    Where another process has the draft, or whether one has it cannot be known, it has a name that nobody else has.

    Args:
        target: the file to be; its folder must exist.
        mode: permissions, before the umask.
    Raises:
        OSError: it cannot be made.
    """
    path = draft_path(target)
    while True:
        try:
            file: FileIO = open(path, "xb", buffering=0, opener=lambda name, flags: os.open(name, flags, mode))  # noqa: SIM115
        except FileExistsError:
            if not discard_left_over(target):
                path = draft_path(target).removesuffix(_SUFFIX) + f"-{secrets.token_hex(8)}{_SUFFIX}"
            continue
        try:
            if _is_ours(file, path):
                return file
        except BaseException:
            # A signal: whoever asked for the draft does not get it.
            with contextlib.suppress(OSError):
                os.unlink(path)
            file.close()
            raise
        file.close()


def _is_ours(file: FileIO, path: str) -> bool:
    """Locks a new draft; False where another process has taken it for a left-over one before that."""
    try:
        taken = try_lock(file)
    except OSError:
        # Some network disks know no locks, and nobody takes an unlocked draft away there.
        return True
    return taken and is_in_place(file, Path(path))


def discard_left_over(target: str) -> bool:
    """Takes away the draft of a file that a killed process has left; one that a process writes now stays.

    Returns:
        Whether the draft's name is free.
    """
    path = draft_path(target)
    try:
        if sys.platform == "win32":
            # An open file cannot be deleted there.
            os.unlink(path)
            return True
        with open(path, "r+b", buffering=0, opener=lambda name, flags: os.open(name, flags | _CAREFUL)) as file:
            is_left_over = (
                stat.S_ISREG(os.fstat(file.fileno()).st_mode) and try_lock(file) and is_in_place(file, Path(path))
            )
            if is_left_over:
                os.unlink(path)
            return is_left_over
    except FileNotFoundError:
        return True
    except OSError:
        return False


def rename_new(source: str, target: str) -> None:
    """Renames without ever replacing, which POSIX has no call for.

    Raises:
        FileExistsError: something has the target's name.
        OSError: it cannot be renamed.
    """
    if sys.platform == "win32":
        # Renaming replaces nothing on Windows.
        os.rename(source, target)
    elif not _renamed_at_once(source, target):
        _rename_by_link(source, target)


def _renamed_at_once(source: str, target: str) -> bool:
    """Whether Linux has renamed without replacing: False where the disk, or another system, has no such call.

    Raises:
        FileExistsError: something has the target's name.
    """
    rename = _renameat2()
    if rename is None:
        return False
    sys.audit("os.rename", source, target, -1, -1)
    if rename(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), _RENAME_NOREPLACE) == 0:
        return True
    if ctypes.get_errno() == errno.EEXIST:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)
    # Whatever else is wrong, a link tells it too.
    return False


@functools.cache
def _renameat2() -> Callable[..., Any] | None:
    if sys.platform != "linux":
        return None
    try:
        return ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return None


def _rename_by_link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:
        # FAT, exFAT and some network disks have no hard links. There the name is taken first, with an empty file, and
        # then replaced: nobody's file is lost, though a crash just between the two leaves it empty.
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        try:
            os.replace(source, target)
        except BaseException:
            os.unlink(target)
            raise
    else:
        os.unlink(source)
