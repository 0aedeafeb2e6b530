"""Locks: taken by one, and on Windows always of the same byte. The Windows half has only met a stand-in of msvcrt."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from capcli.outputs.file_lock import locked_by, try_lock


def test_a_second_lock_is_refused_until_the_first_file_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with path.open("ab", buffering=0) as one, path.open("ab", buffering=0) as other:
        assert try_lock(one)
        assert not try_lock(other)
        one.close()
        assert try_lock(other)


def test_windows_locks_one_byte_behind_the_end_wherever_the_file_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, int, int]] = []
    taken = False

    def locking(descriptor: int, mode: int, count: int) -> None:
        asked.append((os.lseek(descriptor, 0, os.SEEK_CUR), mode, count))
        if taken:
            raise PermissionError

    path = tmp_path / "x"
    path.write_bytes(b"12345")
    monkeypatch.setitem(sys.modules, "msvcrt", SimpleNamespace(locking=locking, LK_NBLCK=2))
    with path.open("r+b", buffering=0) as file:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "platform", "win32")
            assert try_lock(file) and file.tell() == 0
            file.seek(3)
            assert try_lock(file) and file.tell() == 3
            taken = True
            assert not try_lock(file) and file.tell() == 3
        assert len({place for place, _, _ in asked}) == 1
        assert asked[0][0] > 1 << 30 and asked[0][1:] == (2, 1)
        assert file.read() == b"45" and path.stat().st_size == 5


def test_a_lock_goes_with_its_file_and_with_folders_that_it_made(tmp_path: Path) -> None:
    lock = tmp_path / "new" / "folder" / "lock"
    with locked_by(lock) as first, locked_by(lock) as second:
        assert (first, second, lock.exists()) == (True, False, True)
    assert not any(tmp_path.iterdir())
    lock.parent.mkdir(parents=True)
    # As a killed process leaves it.
    lock.write_bytes(b"")
    with locked_by(lock) as taken:
        assert taken
    assert lock.parent.exists() and not lock.exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a process that is forked")
def test_a_fork_that_outlives_its_process_keeps_no_lock(tmp_path: Path) -> None:
    """As workers do for seconds when kill -9 has ended the run that they prepare batches for."""
    code = (
        "import os, sys, time; from pathlib import Path\n"
        "from capcli.outputs.file_lock import locked_by\n"
        "with locked_by(Path(sys.argv[1])):\n"
        "    if not os.fork(): print(os.getpid(), flush=True)\n"
        "    time.sleep(60)\n"
    )
    killed = subprocess.Popen([sys.executable, "-c", code, tmp_path / "lock"], stdout=subprocess.PIPE)
    assert killed.stdout is not None
    child = int(killed.stdout.readline())
    killed.kill()
    try:
        killed.wait()
        with locked_by(tmp_path / "lock") as taken:
            assert taken
    finally:
        os.kill(child, signal.SIGKILL)
        killed.stdout.close()
