"""A file that is proved writable before the minutes that making its content takes; whole or not at all.

What `atomic_files` does, with the checks and messages of an output file that a user has named. Knows nothing of what
is written.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from capcli.errors import OutputError, UsageError
from capcli.outputs.files import Draft, why


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
        try:
            self._draft = Draft(str(self._target), b"")
        except OSError as error:
            raise self._failed(error) from error

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
            raise self._failed(error) from error

    def __enter__(self) -> WholeFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._draft.discard()

    def _failed(self, error: OSError) -> OutputError:
        return OutputError(f"{self._path}: cannot be written: {why(error)}")
