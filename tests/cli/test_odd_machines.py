"""Machines that are not as others are: no home folder, no UTF-8, one core, hardly any memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import command
from tests.shapes import draw

linux = pytest.mark.skipif(sys.platform != "linux", reason="affinity and limits as Linux knows them")


@linux
def test_without_home_utf_8_and_a_second_core_names_keep_their_bytes(tiny: Path, tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + "/ünï 漢".encode() + b"\xff"
    os.mkdir(folder)
    draw("circle", "red", "white", 1000, 64).save(os.fsdecode(folder + b"/\xe4 b.png"))

    def one_core() -> None:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

    # Neither Python's UTF-8 mode nor its own way out of the C locale.
    env = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "HOME": "/nonexistent", "PATH": "/nonexistent"}
    words: list[str | Path] = [command(), "caption", os.fsdecode(folder), "--model", tiny]
    done = subprocess.run(words, env=env, capture_output=True, preexec_fn=one_core, timeout=120)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == folder + b"/\xe4 b.png\tA red circle on a white ground.\n"


@linux
def test_where_memory_is_not_enough_that_is_said_and_no_traceback(tiny: Path, tmp_path: Path) -> None:
    import resource

    draw("circle", "red", "white", 1000, 64).save(tmp_path / "a.png")
    codes: list[int] = []
    # What each of them fails at, and whether it does, is for the versions of NumPy and ONNX Runtime.
    for megabytes in (165, 205, 220, 4000):

        def little_memory(limit: int = megabytes << 20) -> None:
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

        words: list[str | Path] = [command(), "caption", tmp_path / "a.png", "--model", tiny, "--provider", "cpu"]
        done = subprocess.run(words, capture_output=True, preexec_fn=little_memory, timeout=120)
        codes.append(done.returncode)
        assert done.returncode in (0, 1, 3) and b"Traceback" not in done.stderr
        assert b"not a usable ONNX graph" not in done.stderr and b"internal error" not in done.stderr
        assert (done.stdout == b"A red circle on a white ground.\n") == (done.returncode == 0) == (done.stderr == b"")
    assert codes[0] != 0 and codes[-1] == 0
