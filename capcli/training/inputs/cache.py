"""A file of arrays, one an image, that many runs read and add to at once.

Rows are self-describing: each begins with the content key of its image, which is compared whenever the row is read.
Knows nothing of images or networks.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from capcli.dataset.content_key import KEY_BYTES
from capcli.errors import DataError, OutputError
from capcli.outputs.file_lock import is_in_place, try_lock, wait_for_lock
from capcli.outputs.files import why
from capcli.training.inputs.cache_folder import LOCK, make_folder, rows_name

_NO_KEY = bytes(KEY_BYTES)
# What a kill may cost, in seconds of work, for as seldom a wait for the disk.
_COMMIT_EVERY_S = 1.0


class FeatureStore:
    """Arrays of one shape, one an image, found by the image's content key: rows of one file, key first.

    Safe to read from threads and, forked or pickled, from other processes, while another run adds to it: rows are only
    ever added, each gets its key once it is on the disk, and the file never shrinks. As long as the store is in use,
    `capcli doctor --prune-cache` leaves it alone.

    Args:
        folder: made if missing; one store a folder.
        shape: of one array: [C, h, w] for maps, [H, W, 3] for pixels.
        dtype: float16 for maps, uint8 for pixels.
    Raises:
        OutputError: the folder cannot be made or opened.
    """

    def __init__(self, folder: Path, shape: tuple[int, int, int], dtype: type[np.generic] = np.float16) -> None:
        self.folder = folder
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self.path = folder / rows_name(shape, self.dtype.name)
        self.row_bytes = KEY_BYTES + self.dtype.itemsize * int(np.prod(shape))
        self._rows: dict[str, int] = {}
        self._seeking = threading.Lock()
        self._file: FileIO | None = self._open()
        self.read_keys()

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, key: object) -> bool:
        return key in self._rows

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_file", "_seeking")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _file=None, _seeking=threading.Lock())

    def read(self, keys: Sequence[str]) -> np.ndarray:
        """Arrays of the keys, [len(keys), *shape].

        Raises:
            DataError: a row cannot be read, or is no longer that of its key.
        """
        arrays = np.empty((len(keys), *self.shape), self.dtype)
        for array, key in zip(arrays, keys, strict=True):
            row = self._rows.get(key)
            content = b"" if row is None else self._read_at(row * self.row_bytes, self.row_bytes)
            if len(content) != self.row_bytes or content[:KEY_BYTES] != bytes.fromhex(key):
                raise DataError(
                    f"{self.path}: something else than capcli has changed it; run the same command again, which "
                    "computes anew what is damaged"
                )
            array[...] = np.frombuffer(content, self.dtype, offset=KEY_BYTES).reshape(self.shape)
        return arrays

    def read_keys(self) -> int:
        """Learns from the file which rows it holds.

        Returns:
            How many rows there are up to the last one that has a key.
        """
        found: dict[str, int] = {}
        end = 0
        for row in range(self._size() // self.row_bytes):
            key = self._read_at(row * self.row_bytes, KEY_BYTES)
            if key != _NO_KEY:
                found.setdefault(key.hex(), row)
                end = row + 1
        self._rows = found
        return end

    def added(self, key: str, row: int) -> None:
        """Called by the writer: the row is on the disk."""
        self._rows[key] = row

    def _opened(self) -> FileIO:
        if self._file is None:
            self._file = self._open()
        return self._file

    def _size(self) -> int:
        return os.fstat(self._opened().fileno()).st_size

    def _read_at(self, start: int, count: int) -> bytes:
        # Not a memory map: should a disk or another program cut the file off, that is an error and no dead process.
        try:
            file = self._opened()
            if sys.platform == "win32":
                with self._seeking:
                    file.seek(start)
                    return file.read(count) or b""
            # Processes that a fork has made share the file's position, which this does not touch.
            return os.pread(file.fileno(), count, start)
        except OSError as error:
            raise DataError(f"{self.path}: the feature cache cannot be read: {why(error)}") from error

    def _open(self) -> FileIO:
        make_folder(self.folder)
        try:
            while True:
                try:
                    file = self.path.open("rb", buffering=0)
                except FileNotFoundError:
                    make_folder(self.folder)
                    with contextlib.suppress(FileNotFoundError):
                        self.path.open("ab").close()
                    continue
                with contextlib.suppress(OSError):
                    # Keeps the file from being pruned, which takes a moment if it is going on right now.
                    while not try_lock(file, shared=True):
                        time.sleep(0.01)
                if is_in_place(file, self.path):
                    return file
                file.close()
        except OSError as error:
            raise _not_writable(self.path, error) from error


class StoreWriter:
    """Adds rows to a store, alone: other runs that want to wait until this one leaves the `with`.

    Rows are written behind all that have a key, without theirs, and get it once they are on the disk. So a row that has
    a key is whole, whatever ends the process or the machine, and what a kill has left of others is written over.

    Args:
        store: the store; it learns what others have added while this run waited.
        waiting: called with one line if another run has to be waited for.
    Raises:
        OutputError: the store cannot be written, or its disk knows no locks.
    """

    def __init__(self, store: FeatureStore, waiting: Callable[[str], None]) -> None:
        self._store = store
        line = f"waiting for another run of capcli, which is filling {store.folder}"
        try:
            self._lock = wait_for_lock(store.folder / LOCK, lambda: waiting(line))
        except OSError as error:
            raise _not_writable(store.folder, error) from error
        try:
            self._end = store.read_keys()
            self._file = store.path.open("r+b", buffering=0)
        except BaseException as error:
            self._lock.close()
            if isinstance(error, OSError):
                raise _not_writable(store.path, error) from error
            raise
        self._without_key: list[tuple[str, int]] = []
        self._committed = time.monotonic()

    def append(self, keys: Sequence[str], arrays: np.ndarray) -> None:
        """Adds arrays, [len(keys), *shape], that the store does not hold.

        Raises:
            OutputError: they cannot be written; the rows before them stay.
        """
        rows = np.zeros((len(keys), self._store.row_bytes), np.uint8)
        values = np.ascontiguousarray(arrays, dtype=self._store.dtype).view(np.uint8)
        rows[:, KEY_BYTES:] = values.reshape(len(keys), self._store.row_bytes - KEY_BYTES)
        try:
            self._file.seek(self._end * self._store.row_bytes)
            rest = memoryview(rows.tobytes())
            while rest:
                rest = rest[self._file.write(rest) or 0 :]
        except OSError as error:
            raise _not_writable(self._store.path, error) from error
        self._without_key += ((key, self._end + number) for number, key in enumerate(keys))
        self._end += len(keys)
        if time.monotonic() - self._committed >= _COMMIT_EVERY_S:
            self._commit()

    def _commit(self) -> None:
        try:
            # A power cut must not leave a key before a row that is not there.
            os.fsync(self._file.fileno())
            for key, row in self._without_key:
                self._file.seek(row * self._store.row_bytes)
                self._file.write(bytes.fromhex(key))
                self._store.added(key, row)
        except OSError as error:
            raise _not_writable(self._store.path, error) from error
        self._without_key.clear()
        self._committed = time.monotonic()

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._commit()
        finally:
            self._file.close()
            self._lock.close()


def _not_writable(path: Path, error: OSError) -> OutputError:
    return OutputError(
        f"{path}: the feature cache cannot be written: {why(error)}; free some space, or choose another folder with "
        "--cache, or --no-cache"
    )
