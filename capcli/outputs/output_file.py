"""The file that rows go to: new, replaced, or gone on with after a run that was stopped or killed.

Each path is in it once. The rows of a path are written whole and at once, and the operating system's own lock, which
ends with the process however that ends, keeps other runs out. Knows nothing of models or terminals.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from io import FileIO
from types import TracebackType

from capcli.errors import OutputError, UsageError
from capcli.outputs.compaction import put_copy_without
from capcli.outputs.earlier_file import EarlierFile, Existing, exists_already
from capcli.outputs.file_lock import is_in_place, try_lock
from capcli.outputs.files import cannot_be_written
from capcli.outputs.rows import Row

__all__ = ["Existing", "OutputFile"]


class OutputFile(EarlierFile):
    """A file of rows, locked while it is open, with the arguments of an `EarlierFile`.

    A replaced one keeps its content until the first row is ready. With `retry_failed`, new rows of paths that failed
    replace the old ones when the file is closed; until then both are there, so that nothing is lost if the run is
    killed.
    """

    _file: FileIO
    _started = False

    def _take_hold(self) -> None:
        # What tells what is about to be replaced: starts and ends.
        self._unfinished: list[tuple[int, int]] = []
        self._file = self._open()

    def _let_go(self) -> None:
        self._file.close()

    def write(self, rows: Sequence[Row]) -> None:
        """Writes all rows of one path.

        Raises:
            UsageError: what the file holds turns out not to be of a run.
            OutputError: they cannot be written; what was written before stays.
        """
        records = b"".join(map(self._rows.record, rows))
        if self._earlier.unproven:
            if not records:
                return
            self._prove(records)
        if not self._started:
            self._start()
        self._append(records)
        self._outdate(rows[0].path)
        for start, end in self._unfinished:
            self._earlier.outdated.add(start, end)
        self._unfinished = []

    def write_first(self, rows: Sequence[Row]) -> None:
        """Writes rows of one path onto the disk that others take the place of: those of the next `write`.

        A file that has no notes cannot tell what they do, and gets none.

        Raises:
            UsageError, OutputError: as `write`.
        """
        if "note" not in self._rows.columns:
            return
        if not self._started:
            self._start()
        start = os.fstat(self._file.fileno()).st_size
        self._append(b"".join(map(self._rows.record, rows)))
        end = os.fstat(self._file.fileno()).st_size
        self._unfinished.append((start, end))
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise cannot_be_written(self._path, error) from error

    def drop_failure(self, path: str) -> None:
        """Forgets a failure of the resumed file; its row goes when the file is closed."""
        if self._earlier.has_failed(path):
            self._outdate(path)

    def close(self) -> None:
        """Ends the file; one without a row gets its header all the same.

        Raises:
            UsageError: what the file holds was not shown to be of a run.
            OutputError: the header, or the file without outdated rows, cannot be written.
        """
        if self._file.closed:
            return
        try:
            if self._earlier.unproven:
                raise UsageError(self._refusal("line 1: has no end, and is no row that a run was writing"))
            if not self._started:
                self._start()
            if self._earlier.outdated:
                put_copy_without(self._earlier.outdated, self._path, self._file)
        finally:
            self._file.close()

    def discard(self) -> None:
        """Leaves things as they were if no row was written."""
        is_ours = (
            not self._file.closed and not self._started and not self._existed and is_in_place(self._file, self._path)
        )
        if is_ours and sys.platform != "win32":
            # Before the lock ends: another run that has just opened the file sees that it has lost its name.
            self._path.unlink(missing_ok=True)
        self._file.close()
        if is_ours and sys.platform == "win32":
            # An open file cannot be deleted there, and one that another run has open stays.
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)

    def __enter__(self) -> OutputFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    def _open(self) -> FileIO:
        while True:
            try:
                file = self._path.open("ab" if self._existed else "xb", buffering=0)
            except FileExistsError as error:
                raise UsageError(exists_already(self._path)) from error
            except OSError as error:
                raise cannot_be_written(self._path, error) from error
            try:
                taken = try_lock(file)
            except OSError:
                # Some network disks and pipes know no locks; that is no reason not to write.
                taken = True
            if not taken:
                file.close()
                raise OutputError(f"{self._path}: is being written by another run of capcli")
            # A run that ended between opening and locking may have put another file in this one's place.
            if is_in_place(file, self._path):
                return file
            file.close()

    def _prove(self, records: bytes) -> None:
        """Takes a torn line of text for one of a run only where it begins as the first row of this run does."""
        torn, tab, _ = self._earlier.unproven.partition(b"\t")
        path = records.partition(b"\t")[0]
        if path != torn if tab else not path.startswith(torn):
            raise UsageError(self._refusal("line 1: has no end, and is no row that a run was writing"))
        self._earlier.unproven = b""

    def _start(self) -> None:
        try:
            if os.fstat(self._file.fileno()).st_size > self._earlier.end:
                self._file.truncate(self._earlier.end)
        except OSError as error:
            raise cannot_be_written(self._path, error) from error
        if self._earlier.missing:
            self._append(self._earlier.missing)
        self._started = True

    def _append(self, record: bytes) -> None:
        start = os.fstat(self._file.fileno()).st_size
        try:
            rest = memoryview(record)
            while rest:
                # Unbuffered, so that a record is on its way whole before the next image is looked at.
                rest = rest[self._file.write(rest) or 0 :]
        except OSError as error:
            # Half a record would be read as a whole one, and what comes next is to follow what is whole. This may fail
            # too, on a disk that is gone.
            with contextlib.suppress(OSError):
                os.ftruncate(self._file.fileno(), start)
                os.lseek(self._file.fileno(), start, os.SEEK_SET)
            raise cannot_be_written(self._path, error) from error
