"""Files that appear whole or not at all, whatever happens while they are written.

The content goes to a temporary file in the target's own folder, onto the disk, and only then under the target's name.
A crash leaves the old file or the new one, at worst with a `.capcli-*.tmp` beside it, which may be deleted, and which
the next one who writes that file takes away. `Draft` is that temporary file; `WholeFile` is a draft with the checks and
messages of a file that a user has named. Knows nothing of what is written.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from capcli.errors import OutputError, UsageError
from capcli.outputs.drafts import open_draft, rename_new
from capcli.outputs.file_lock import is_in_place
from capcli.outputs.spared import check_output_file

_NEW_FILE = 0o666


class Draft:
    """New content for a file, in a temporary file beside it, until `replace` or `publish` puts it in its place.

    A context manager: what was put nowhere is gone when it ends.

    Args:
        target: the file to be; its folder must exist.
        content: all of it, or its beginning.
        mode: permissions of the temporary file, before the umask; None for those of any new file.
    Raises:
        OSError: it cannot be written; nothing is left behind.

    `path` is where the temporary file lies.
    """

    def __init__(self, target: str, content: bytes, *, mode: int | None = None) -> None:
        self._target = target
        self._is_there, self._is_on_disk = True, False
        self._file = open_draft(target, _NEW_FILE if mode is None else mode)
        self.path = str(self._file.name)
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
        self._is_on_disk = False
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(self._file.fileno(), rest) :]

    def copy_access(self, status: os.stat_result) -> None:
        """Takes over another file's permissions, and its owner as far as the system allows it.

        Args:
            status: of the other file.
        """
        if hasattr(os, "chown"):
            with contextlib.suppress(PermissionError):
                os.chown(self.path, -1, status.st_gid)
            with contextlib.suppress(PermissionError):
                os.chown(self.path, status.st_uid, -1)
        os.chmod(self.path, stat.S_IMODE(status.st_mode))

    def to_disk(self) -> None:
        """Has the content on the disk, for who has a last look at the target: that takes time, and renaming takes none.

        Raises:
            OSError: it cannot be written.
        """
        # Without this, a power cut after the renaming could leave an empty file under the final name.
        if not self._is_on_disk:
            os.fsync(self._file.fileno())
        self._is_on_disk = True

    def replace(self) -> None:
        """Puts the content in the target's place, over what is there."""
        self._finish()
        os.replace(self.path, self._target)
        self._is_there = False

    def publish(self) -> bool:
        """Puts the content in the target's place unless something is there.

        Returns:
            False if something was there, even if it came up this moment; it is left as it is.
        """
        self._finish()
        try:
            rename_new(self.path, self._target)
        except FileExistsError:
            return False
        self._is_there = False
        return True

    def __enter__(self) -> Draft:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()

    def _finish(self) -> None:
        self.to_disk()
        if sys.platform == "win32":
            # An open file cannot be renamed there. Elsewhere its lock lasts as long as it has its name.
            self._file.close()

    def discard(self) -> None:
        """Takes away what was put nowhere."""
        if sys.platform == "win32":
            self._close()
        if self._is_there:
            self._is_there = False
            with contextlib.suppress(OSError):
                # A signal may come right after it was renamed.
                if sys.platform == "win32" or is_in_place(self._file, Path(self.path)):
                    os.unlink(self.path)
        self._close()

    def _close(self) -> None:
        with contextlib.suppress(OSError):
            self._file.close()


class WholeFile:
    """A new file that is proved writable before the minutes that making its content takes.

    The proof is an empty draft; leaving the `with` takes it away.

    Args:
        path: the file. A symbolic link stays one; what it points to is written.
        overwrite: replace an existing file, once the new one is whole.
        inputs: what the same command reads: paths.
        makes_picture: as `check_output_file` takes it.
    Raises:
        UsageError: the file exists and `overwrite` is false, or it is a photo or one of the inputs.
        OutputError: it cannot be written.
    """

    def __init__(
        self, path: Path, *, overwrite: bool, inputs: Iterable[Path] = (), makes_picture: bool = False
    ) -> None:
        check_output_file(path, inputs, makes_picture=makes_picture)
        self._path = path
        self._overwrite = overwrite
        target = Path(os.path.realpath(path))
        if not overwrite and os.path.lexists(path):
            raise UsageError(f"{path}: exists; use --overwrite to replace it, or choose another file")
        if target.exists() and not target.is_file():
            what = "a folder" if target.is_dir() else "not a regular file"
            raise OutputError(f"{path}: is {what}; name a file to write to")
        try:
            self._draft = Draft(str(target), b"")
        except OSError as error:
            raise cannot_be_written(path, error) from error

    def write(self, chunks: Iterable[bytes]) -> None:
        """Fills the file and puts it in its place.

        Raises:
            OutputError: it cannot be written; what was in its place before is still there.
        """
        try:
            for chunk in chunks:
                self._draft.write(chunk)
            if self._overwrite:
                self._draft.replace()
            elif not self._draft.publish():
                raise OutputError(f"{self._path}: somebody else has written it in the meantime; it is left as it is")
        except OSError as error:
            raise cannot_be_written(self._path, error) from error

    def __enter__(self) -> WholeFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._draft.discard()


def is_unchanged(path: str, status: os.stat_result) -> bool:
    """Whether a file is still the one that it was, by its status before it was read."""
    now = os.stat(path)
    return (now.st_ino, now.st_size, now.st_mtime_ns) == (status.st_ino, status.st_size, status.st_mtime_ns)


def cannot_be_written(path: str | os.PathLike[str], error: OSError) -> OutputError:
    """The error that says so, with the reason."""
    return OutputError(f"{os.fspath(path)}: cannot be written: {why(error)}")


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
