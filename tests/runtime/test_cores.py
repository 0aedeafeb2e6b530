"""How many cores there are for this process, with real affinity and quota files as the kernel writes them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from capcli.runtime import cores
from tests.conftest import Finished, python


def test_there_is_at_least_one_core_and_no_more_than_the_machine_has() -> None:
    assert 1 <= cores.available_cores() <= (os.cpu_count() or 1)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="there is no affinity to honour")
def test_a_process_bound_to_one_cpu_uses_one_thread() -> None:
    done = python(
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from capcli.runtime.cores import available_cores; print(available_cores())"
    )
    assert done == Finished(0, f"1{os.linesep}".encode(), b"")


def test_the_smallest_quota_of_a_cgroup_and_those_above_it_counts(tmp_path: Path) -> None:
    own = tmp_path / "user.slice" / "job"
    own.mkdir(parents=True)
    assert cores._cgroup_quota(tmp_path, "/user.slice/job") is None
    (own / "cpu.max").write_text("max 100000\n")
    assert cores._cgroup_quota(tmp_path, "/user.slice/job") is None
    (tmp_path / "user.slice" / "cpu.max").write_text("250000 100000\n")
    assert cores._cgroup_quota(tmp_path, "/user.slice/job") == 2.5
    (own / "cpu.max").write_text("150000 100000\n")
    assert cores._cgroup_quota(tmp_path, "/user.slice/job") == 1.5
    assert cores._cgroup_quota(tmp_path, "/") is None
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("-1")
    assert cores._cgroup_quota(tmp_path, "/") is None
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("400000")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000")
    assert cores._cgroup_quota(tmp_path, "/") == 4
