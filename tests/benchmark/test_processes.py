"""What is measured of a process that is started for it."""

from __future__ import annotations

import sys

import pytest

from capcli.benchmark.processes import _run

_CHILD = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"
_LARGE = "import time; taken = b'x' * 200_000_000; time.sleep(0.5)"


@pytest.mark.skipif(sys.platform != "linux", reason="looks at processes as Linux shows them")
def test_the_memory_of_what_it_starts_is_part_of_its_own() -> None:
    alone = _run([sys.executable, "-c", "pass"])
    ran = _run([sys.executable, "-c", _CHILD, _LARGE])
    assert alone.peak_megabytes is not None and ran.peak_megabytes is not None
    assert alone.peak_megabytes < 100
    assert 200 < ran.peak_megabytes < 300
