"""The file that rows go to: new, replaced, or gone on with after a run that was stopped or killed.

Each path is in it once. The rows of a path are written whole and at once, and the operating system's own lock, which
ends with the process however that ends, keeps other runs out. Knows nothing of models or terminals.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
from collections.abc import Sequence
from enum import Enum
from io import FileIO
from pathlib import Path
from types import TracebackType

from capcli.errors import OutputError, UsageError
from capcli.outputs.file_lock import is_in_place, try_lock
from capcli.outputs.files import Draft, cannot_be_written, discard_left_over_drafts
from capcli.outputs.rows import Record, RecordError, Row, RowFormat, read_records

_COPY_BYTES = 1 << 20


class Existing(Enum):
    """What to do with a file that is there already."""

    REFUSE = "refuse"
    REPLACE = "replace"
    RESUME = "resume"


class OutputFile:
    """A file of rows, locked while it is open.

    Args:
        path: the file. A replaced one keeps its content until the first row is ready.
        rows: how rows become bytes.
        existing: what to do with a file that is there already.
        retry_failed: take paths whose row is an error as not done. Their new rows replace the old ones when the file
            is closed; until then both are there, so that nothing is lost if the run is killed.
        captions: rows a path has; a last path with fewer was cut off and is not done.
    Raises:
        UsageError: the file exists, or the one to go on with was not written by capcli in this format.
        OutputError: it cannot be written, or another run writes it.
    """

    def __init__(
        self,
        path: Path,
        rows: RowFormat,
        *,
        existing: Existing = Existing.REFUSE,
        retry_failed: bool = False,
        captions: int = 1,
    ) -> None:
        self._path = path
        self._rows = rows
        self._retry_failed = retry_failed
        self._captions = captions
        self._started = False
        self._done: set[bytes] = set()
        self._failed: dict[bytes, tuple[int, int]] = {}
        self._outdated: list[tuple[int, int]] = []
        self._kept = 0
        self._end = 0
        if path.is_dir():
            raise OutputError(f"{path}: is a folder; name a file to write to")
        self._existed = path.exists()
        if existing is Existing.REFUSE and (self._existed or path.is_symlink()):
            raise UsageError(_exists(path))
        resumes = existing is Existing.RESUME and self._existed
        if resumes and not path.is_file():
            raise UsageError(f"{path}: is no regular file; --resume needs one")
        self._file = self._open()
        if resumes:
            try:
                self._read()
            except BaseException:
                self._file.close()
                raise

    @property
    def kept(self) -> int:
        """Paths that the resumed file already answers, failed ones included."""
        return self._kept

    @property
    def kept_failures(self) -> int:
        """Paths whose row in the resumed file is an error that no row of this run replaces."""
        return len(self._failed)

    def claim(self, path: str) -> bool:
        """Whether a path is still to be captioned; True once for each path."""
        key = _key(path)
        if key in self._done:
            return False
        self._done.add(key)
        return True

    def write(self, rows: Sequence[Row]) -> None:
        """Writes all rows of one path.

        Raises:
            OutputError: they cannot be written; what was written before stays.
        """
        records = b"".join(map(self._rows.record, rows))
        if not self._started:
            self._start()
        self._append(records)
        replaced = self._failed.pop(_key(rows[0].path), None)
        if replaced is not None:
            self._outdated.append(replaced)

    def close(self) -> None:
        """Ends the file; one without a row gets its header all the same.

        Raises:
            OutputError: the header, or the file without outdated rows, cannot be written.
        """
        if self._file.closed:
            return
        try:
            if not self._started:
                self._start()
            if self._outdated:
                self._compact()
        finally:
            self._file.close()

    def discard(self) -> None:
        """Leaves things as they were if no row was written."""
        new = not self._started and not self._existed
        if sys.platform == "win32":
            # No file that is open, here or in another run, is deleted there.
            self._file.close()
            if new:
                with contextlib.suppress(OSError):
                    self._path.unlink()
        else:
            # Only as long as it is locked can no other run have begun to write to it.
            if new and not self._file.closed and is_in_place(self._file, self._path):
                self._path.unlink(missing_ok=True)
            self._file.close()

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
                raise UsageError(_exists(self._path)) from error
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

    def _read(self) -> None:
        """Learns what a file already holds; an end that a kill has torn is forgotten."""
        try:
            with self._path.open("rb") as file:
                group: list[Record] = []
                for record in read_records(
                    file, self._rows.name, columns=self._rows.columns, spreadsheet_safe=self._rows.spreadsheet_safe
                ):
                    if group and record.row.path != group[0].row.path:
                        self._keep(group)
                        group = []
                    group.append(record)
                if group and (len(group) >= self._captions or group[0].row.caption is None):
                    self._keep(group)
        except RecordError as error:
            raise UsageError(
                f"{self._path}: cannot be gone on with: {error}; choose another file, or --overwrite to replace it"
            ) from error
        except OSError as error:
            raise cannot_be_written(self._path, error) from error

    def _keep(self, group: Sequence[Record]) -> None:
        key = _key(group[0].row.path)
        place = (group[0].start, group[-1].end)
        self._end = group[-1].end
        if key in self._done or key in self._failed:
            # A run that retried this path was killed; its row is the newer one.
            older = self._failed.pop(key, None)
            if older is None:
                self._outdated.append(place)
                return
            self._outdated.append(older)
            self._kept -= 1
        self._kept += 1
        if group[-1].row.error is not None:
            self._failed[key] = place
            if self._retry_failed:
                return
        self._done.add(key)

    def _start(self) -> None:
        self._started = True
        try:
            if os.fstat(self._file.fileno()).st_size > self._end:
                self._file.truncate(self._end)
        except OSError as error:
            raise cannot_be_written(self._path, error) from error
        # The header, or what a kill has left of it, is written again where nothing follows it.
        if not self._end:
            self._append(self._rows.header())

    def _append(self, record: bytes) -> None:
        start = os.fstat(self._file.fileno()).st_size
        try:
            rest = memoryview(record)
            while rest:
                # Unbuffered, so that a record is on its way whole before the next image is looked at.
                rest = rest[self._file.write(rest) or 0 :]
        except OSError as error:
            # Half a record would be read as a whole one; this may fail too, on a disk that is gone.
            with contextlib.suppress(OSError):
                os.ftruncate(self._file.fileno(), start)
            raise cannot_be_written(self._path, error) from error

    def _compact(self) -> None:
        """Puts a copy without outdated rows in the file's place, whole or not at all."""
        target = os.path.realpath(self._path)
        # A run that was killed just here left its copy behind, and the outdated rows that bring this one here too.
        discard_left_over_drafts(target)
        try:
            # Others may not look into the copy before it has the permissions of the file.
            with open(target, "rb") as old, Draft(target, b"", mode=0o600) as copy:
                status = os.fstat(old.fileno())
                for start, end in _between(sorted(self._outdated), status.st_size):
                    old.seek(start)
                    while start < end:
                        content = old.read(min(_COPY_BYTES, end - start))
                        copy.write(content)
                        start += len(content)
                copy.copy_access(status)
                if sys.platform == "win32":
                    old.close()
                    self._file.close()
                copy.replace()
        except OSError as error:
            raise cannot_be_written(self._path, error) from error


def _between(gaps: Sequence[tuple[int, int]], end: int) -> list[tuple[int, int]]:
    """What is left of 0 to `end` without the gaps, which are in order."""
    starts = [0, *(gap[1] for gap in gaps)]
    ends = [*(gap[0] for gap in gaps), end]
    return [(start, stop) for start, stop in zip(starts, ends, strict=True) if start < stop]


def _key(path: str) -> bytes:
    # A digest, so that a million paths are some 100 MB less to remember than the paths themselves.
    return hashlib.blake2b(os.fsencode(path), digest_size=12).digest()


def _exists(path: Path) -> str:
    return f"{path}: exists; use --resume to go on with it, --overwrite to replace it, or choose another file"
