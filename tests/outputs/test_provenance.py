"""What is remembered of output files, and where."""

from __future__ import annotations

import errno
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from capcli.outputs.provenance import Provenance, ProvenanceMemory

MADE = Provenance("default", "abc", 3, 20, 0.7, 1, raw=False)


def test_what_made_a_file_is_known_to_the_next_run_and_of_no_other_file(tmp_path: Path) -> None:
    ProvenanceMemory(tmp_path / "state").remember(tmp_path / "x.csv", MADE)
    again = ProvenanceMemory(tmp_path / "state")
    assert again.recall(tmp_path / "x.csv") == MADE
    assert again.recall(tmp_path / "y.csv") is None
    assert again.recall(tmp_path / "elsewhere" / "x.csv") is None


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[]", b'{"model": "default"}', b'{"smell": 1}'])
def test_a_memory_that_is_damaged_or_of_another_version_is_none(content: bytes, tmp_path: Path) -> None:
    memory = ProvenanceMemory(tmp_path / "state")
    memory.remember(tmp_path / "x.csv", MADE)
    (file,) = (tmp_path / "state").iterdir()
    file.write_bytes(content)
    assert memory.recall(tmp_path / "x.csv") is None
    memory.remember(tmp_path / "x.csv", MADE)
    assert memory.recall(tmp_path / "x.csv") == MADE


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="XDG folders are meant")
def test_a_relative_state_home_counts_for_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_STATE_HOME", "state")
    ProvenanceMemory().remember(Path("x.csv"), MADE)
    assert [path.name for path in tmp_path.iterdir()] == ["home"]
    assert len(list((tmp_path / "home" / ".local" / "state" / "capcli" / "outputs").iterdir())) == 1
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "own"))
    ProvenanceMemory().remember(Path("x.csv"), MADE)
    assert len(list((tmp_path / "own" / "capcli" / "outputs").iterdir())) == 1


def test_without_a_home_nothing_is_remembered_and_nothing_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("XDG_STATE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    # What it gives where neither HOME nor the list of users knows.
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    memory = ProvenanceMemory()
    memory.remember(Path("x.csv"), MADE)
    assert memory.recall(Path("x.csv")) is None and list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_leaves_what_was_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing half beside it."""
    memory = ProvenanceMemory(tmp_path / "state")
    memory.remember(tmp_path / "x.csv", MADE)
    names = [path.name for path in (tmp_path / "state").iterdir()]

    def full(descriptor: int, content: memoryview) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    memory.remember(tmp_path / "x.csv", replace(MADE, beam=5))
    assert memory.recall(tmp_path / "x.csv") == MADE
    assert [path.name for path in (tmp_path / "state").iterdir()] == names
