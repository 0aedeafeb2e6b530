"""A file that appears whole or not at all: proved writable first, filled beside its place, then renamed.

For results that take minutes to make. Knows nothing of what is written.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from capcli.errors import OutputError, UsageError


class WholeFile:
    """A new file, reserved by an empty one beside it until it is written; leaving the `with` takes that away.

    Args:
        path: the file. A symbolic link stays one; what it points to is written.
        overwrite: replace an existing file, once the new one is whole.
    Raises:
        UsageError: the file exists and `overwrite` is false.
        OutputError: it cannot be written.
    """

    def __init__(self, path: Path, *, overwrite: bool) -> None:
        self._path = path
        self._overwrite = overwrite
        self._target = Path(os.path.realpath(path))
        if not overwrite and os.path.lexists(path):
            raise UsageError(f"{path}: exists; use --overwrite to replace it, or choose another file")
        if self._target.exists() and not self._target.is_file():
            what = "a folder" if self._target.is_dir() else "not a regular file"
            raise OutputError(f"{path}: is {what}; name a file to write to")
        # Random, so that two runs never fill one file; short, where a name has a longest length.
        self._partial = self._target.with_name(f".capcli-{secrets.token_hex(4)}.part")
        try:
            self._partial.open("xb").close()
        except OSError as error:
            raise self._failed(error) from error

    def write(self, chunks: Iterable[bytes]) -> None:
        """Fills the file and puts it in its place.

        Raises:
            OutputError: it cannot be written; what was in its place before is still there.
        """
        try:
            with self._partial.open("wb") as file:
                file.writelines(chunks)
                file.flush()
                os.fsync(file.fileno())
            if not self._overwrite and os.path.lexists(self._path):
                raise OutputError(f"{self._path}: somebody else has written it in the meantime; it is left as it is")
            self._partial.replace(self._target)
        except OSError as error:
            raise self._failed(error) from error

    def __enter__(self) -> WholeFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._partial.unlink()

    def _failed(self, error: OSError) -> OutputError:
        return OutputError(f"{self._path}: cannot be written: {(error.strerror or str(error)).lower()}")
