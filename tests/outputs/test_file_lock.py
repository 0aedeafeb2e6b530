"""Locks: taken by one, and on Windows always of the same byte. The Windows half has only met a stand-in of msvcrt."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from capcli.outputs.file_lock import try_lock


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
