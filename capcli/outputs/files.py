"""Files that appear whole or not at all, whatever happens while they are written.

The content goes to a temporary file in the target's own folder, onto the disk, and only then under the target's name.
A crash leaves the old file or the new one, at worst with a `.capcli-*.tmp` beside it, which may be deleted. Knows
nothing of captions or images.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import sys
from dataclasses import dataclass
from types import TracebackType

# Hidden and without a photo's suffix, so that a left-over one is never taken for a photo.
_PREFIX, _SUFFIX = ".capcli-", ".tmp"
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
_NEW_FILE = 0o666


@dataclass(frozen=True)
class Outcome:
    """Whether a file was written; if not, `reason` says why it was left alone, without naming the image.

    `failed` tells what should have been written from what was there already and is kept.
    """

    written: bool
    reason: str | None = None
    failed: bool = False


class Draft:
    """New content for a file, in a temporary file beside it, until `replace` or `publish` puts it in its place.

    A context manager: what was put nowhere is gone when it ends.

    Args:
        target: the file to be; its folder must exist.
        content: all of it, or its beginning.
        mode: permissions of the temporary file, before the umask; None for those of any new file.
    Raises:
        OSError: it cannot be written; nothing is left behind.
    """

    def __init__(self, target: str, content: bytes, *, mode: int | None = None) -> None:
        self._target = target
        self.path = os.path.join(os.path.dirname(target), f"{_PREFIX}{secrets.token_hex(8)}{_SUFFIX}")
        self._descriptor = os.open(self.path, _FLAGS, _NEW_FILE if mode is None else mode)
        try:
            self.write(content)
        except BaseException:
            self.discard()
            raise

    def write(self, content: bytes) -> None:
        """Adds to the content.

        Raises:
            OSError: it cannot be written.
        """
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]

    def replace(self) -> None:
        """Puts the content in the target's place, over what is there."""
        self._finish()
        os.replace(self.path, self._target)

    def publish(self) -> bool:
        """Puts the content in the target's place unless something is there.

        Returns:
            False if something was there, even if it came up this moment; it is left as it is.
        """
        self._finish()
        if sys.platform == "win32":
            # Renaming replaces nothing on Windows.
            rename = os.rename
        else:
            rename = _rename_new
        try:
            rename(self.path, self._target)
        except FileExistsError:
            return False
        return True

    def __enter__(self) -> Draft:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()

    def _finish(self) -> None:
        # Without this, a power cut after the renaming could leave an empty file under the final name.
        os.fsync(self._descriptor)
        self._close()

    def _close(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)

    def discard(self) -> None:
        """Takes away what was put nowhere."""
        with contextlib.suppress(OSError):
            self._close()
        with contextlib.suppress(OSError):
            os.unlink(self.path)


def _rename_new(source: str, target: str) -> None:
    """Renames without ever replacing, which POSIX has no call for.

    Raises:
        FileExistsError: something has the target's name.
    """
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:
        # FAT, exFAT and some network disks have no hard links. There the name is taken first, with an empty file, and
        # then replaced: nobody's file is lost, though a crash just between the two leaves it empty.
        os.close(os.open(target, _FLAGS, _NEW_FILE))
        try:
            os.replace(source, target)
        except BaseException:
            os.unlink(target)
            raise
    else:
        os.unlink(source)


def why(error: OSError) -> str:
    """What went wrong, in the middle of a sentence."""
    reasons = {
        errno.ENOSPC: "no space is left on the disk",
        errno.EDQUOT if hasattr(errno, "EDQUOT") else None: "the disk quota is used up",
        errno.EROFS: "it is on a read-only disk",
        errno.ENAMETOOLONG: "its name is too long",
    }
    reason = error.strerror or str(error)
    return reasons.get(error.errno) or reason[:1].lower() + reason[1:]
