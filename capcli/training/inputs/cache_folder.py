"""Where the feature cache lies, what is in it, and how it is emptied.

    <cache>/<store>/lock                    locked by the run that fills the store
    <cache>/<store>/rows.<shape>.<dtype>    the rows (`cache`), a shared lock on it while a run reads

Needs neither NumPy nor torch, for `capcli doctor` looks at machines on which these are broken. Knows nothing of what is
in a row.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import tempfile
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from capcli import user_folders
from capcli.errors import OutputError
from capcli.outputs.file_lock import is_in_place, locked_by, try_lock
from capcli.outputs.files import why

LOCK = "lock"
# Of a run that keeps no features: the beginning of its folder's name, and the file in it that it has locked.
_TEMPORARY, _OF_RUN = "capcli-features-", ".capcli-lock"
# The second line of each is what earlier versions made: no run reads it any more.
_STORES = re.compile(
    r"(?:pixels-\d+|[0-9a-f]{16}-stage\d-[a-z0-9]+)-read\d+"
    r"|pixels-\d+|[0-9a-f]{16}-stage\d-[a-z0-9]+"
)
_FILES = re.compile(
    r"lock|rows\.\d+x\d+x\d+\.[a-z0-9]+"
    r"|maps\.f16|maps\.uint8|keys\.txt"
)


@dataclass(frozen=True)
class StoreOnDisk:
    """One store in a cache: what capcli made of it, and how many bytes that is."""

    folder: Path
    files: tuple[Path, ...]
    size: int


@dataclass(frozen=True)
class Pruned:
    """What emptying a cache freed, in bytes and stores, and the folders that are left, with the reason."""

    size: int
    stores: int
    left: dict[Path, str]


def default_cache() -> Path:
    """Where features are kept unless --cache says otherwise."""
    return user_folders.cache_folder() / "capcli" / "features"


def store_name(what: str, preprocessing: int) -> str:
    """The folder name of a store.

    Args:
        what: "pixels-SIZE", or FINGERPRINT-stageN-PRECISION for maps.
        preprocessing: `capcli.inputs.images.PREPROCESSING`.
    """
    return f"{what}-read{preprocessing}"


def rows_name(shape: tuple[int, ...], dtype: str) -> str:
    """The file name of a store's rows: of another shape or type, it is another file."""
    return f"rows.{'x'.join(map(str, shape))}.{dtype}"


def make_folder(folder: Path) -> None:
    """Makes a cache's folder, or a store's, and those above it.

    Raises:
        OutputError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        in_way = next((path for path in (folder, *folder.parents) if path.exists() and not path.is_dir()), None)
        reason = f"{in_way} is not a folder" if in_way is not None else why(error)
        raise OutputError(
            f"{folder}: the feature cache cannot be made: {reason}; choose another folder with --cache, or --no-cache"
        ) from error


def in_bytes(size: int) -> str:
    """A size for people, in MB or GB."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


@contextlib.contextmanager
def cache_for_run(cache: Path | None, keep: bool) -> Iterator[Path]:
    """The folder that a run keeps its features in.

    Args:
        cache: None for the default place.
        keep: if not, it is a new temporary folder that is gone when the `with` is left, however it is left.
    Raises:
        OutputError: it cannot be made.
    """
    if keep:
        folder = cache or default_cache()
        make_folder(folder)
        yield folder
        return
    try:
        _discard_left_over()
        temporary = tempfile.TemporaryDirectory(prefix=_TEMPORARY)
    except OSError as error:
        raise OutputError(f"no temporary folder for the features can be made: {why(error)}; set TMPDIR") from error
    with temporary as name, locked_by(Path(name) / _OF_RUN):
        try:
            yield Path(name)
        except BaseException as error:
            # The run's frames hold its open files, and Windows removes no folder with an open file in it.
            traceback.clear_frames(error.__traceback__)
            raise


def _discard_left_over() -> None:
    """Takes away the temporary folders of runs that were killed: those that no process has locked any more."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_TEMPORARY}*"):
        lock = folder / _OF_RUN
        # One that is just being made has no lock yet.
        with contextlib.suppress(OSError):
            with lock.open("r+b", buffering=0) as file:
                is_left_over = try_lock(file) and is_in_place(file, lock)
            if is_left_over:
                shutil.rmtree(folder)


def stores(cache: Path) -> list[StoreOnDisk]:
    """The stores in a cache, in the order of their names; whatever capcli did not make is not among them.

    Raises:
        OSError: the cache is there and cannot be looked into.
    """
    try:
        entries = sorted(cache.iterdir())
    except FileNotFoundError:
        return []
    found = []
    for folder in entries:
        if not _STORES.fullmatch(folder.name) or folder.is_symlink() or not folder.is_dir():
            continue
        sizes = {}
        for path in folder.iterdir():
            # A run may end, and a file be gone, at any moment.
            with contextlib.suppress(OSError):
                status = path.lstat()
                if _FILES.fullmatch(path.name) and stat.S_ISREG(status.st_mode):
                    sizes[path] = status.st_size
        found.append(StoreOnDisk(folder, tuple(sizes), sum(sizes.values())))
    return found


def prune(cache: Path) -> Pruned:
    """Removes every store that no run uses; other files, and folders that hold some, stay.

    Raises:
        OSError: the cache is there and cannot be looked into.
    """
    size = removed = 0
    left = {}
    for store in stores(cache):
        try:
            with contextlib.ExitStack() as locks:
                if not all(_taken(path, locks) for path in store.files):
                    left[store.folder] = "in use by a run"
                    continue
                for path in store.files:
                    if os.name == "nt":
                        # Nothing is deleted there while it is open.
                        locks.close()
                    path.unlink()
            with contextlib.suppress(OSError):
                store.folder.rmdir()
        except OSError as error:
            left[store.folder] = "in use by a run" if os.name == "nt" else why(error)
            continue
        size += store.size
        removed += 1
    return Pruned(size, removed, left)


def _taken(path: Path, locks: contextlib.ExitStack) -> bool:
    """Whether no run has a lock on the file; it cannot get one before `locks` ends."""
    file = locks.enter_context(path.open("r+b", buffering=0))
    try:
        return try_lock(file) and is_in_place(file, path)
    except OSError:
        # Where the disk knows no locks, no run has one.
        return True
