"""What is told of a machine and a bundle."""

from __future__ import annotations

from pathlib import Path

from capcli.benchmark.machine import machine, precision
from capcli.bundle.bundle import load_bundle
from tests.conftest import TINY_BUNDLE


def test_flags_that_decide_the_speed_of_int8_are_read_from_the_first_processor(tmp_path: Path) -> None:
    told = tmp_path / "cpuinfo"
    told.write_text(
        "model name\t: Fast CPU\nflags\t\t: fpu avx2 avx512f avx512_vnni\n\nmodel name\t: Other\nflags\t\t: fpu\n"
    )
    found = machine(told)
    assert (found["cpu"], found["flags"]) == ("Fast CPU", ["avx2", "avx512f", "avx512_vnni"])


def test_a_system_that_tells_no_flags_is_not_said_to_have_none(tmp_path: Path) -> None:
    found = machine(tmp_path / "missing")
    assert found["flags"] is None and found["cpu"]


def test_int8_weights_that_are_unpacked_are_not_int8_arithmetic() -> None:
    assert precision(load_bundle(TINY_BUNDLE)) == "float32, from int8 weights"
