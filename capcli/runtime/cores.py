"""How many CPU cores this process may use: affinity, hyper-threads and container limits taken into account."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

_CGROUPS = Path("/sys/fs/cgroup")


def available_cores() -> int:
    """Physical cores that this process may use, at least 1.

    Two hyper-threads share one core's arithmetic, which is what a network needs: a second thread there only waits.
    """
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    # Hyper-threads of one core list the same siblings.
    cores = {_siblings(cpu) for cpu in os.sched_getaffinity(0)}
    quota = _cgroup_quota(_CGROUPS, _own_cgroup())
    return max(1, len(cores) if quota is None else min(len(cores), int(quota)))


def _siblings(cpu: int) -> str:
    try:
        return Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text("ascii").strip()
    except OSError:
        return str(cpu)


def _own_cgroup() -> str:
    """The path of this process in the version 2 hierarchy; "/" where there is none."""
    try:
        lines = Path("/proc/self/cgroup").read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return "/"
    return next((line[3:] for line in lines if line.startswith("0::/")), "/")


def _cgroup_quota(root: Path, own: str) -> float | None:
    """The smallest CPU quota on the way from a cgroup up to the root, in cores; None where there is none.

    Args:
        root: where the cgroup file system is mounted.
        own: the process's cgroup, as /proc/self/cgroup gives it.
    """
    place = PurePosixPath(own)
    folders = [root.joinpath(*folder.parts[1:]) for folder in (place, *place.parents)]
    quotas = [_quota(folder / "cpu.max") for folder in folders] + [_quota_v1(root / "cpu")]
    return min((quota for quota in quotas if quota is not None), default=None)


def _quota(file: Path) -> float | None:
    """Version 2: "150000 100000" is one and a half cores, "max 100000" no limit."""
    try:
        quota, period = file.read_text("ascii").split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _quota_v1(folder: Path) -> float | None:
    try:
        quota = int((folder / "cpu.cfs_quota_us").read_text("ascii"))
        return None if quota <= 0 else quota / int((folder / "cpu.cfs_period_us").read_text("ascii"))
    except (OSError, ValueError, ZeroDivisionError):
        return None
