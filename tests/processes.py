"""Which processes a command has left behind: those of its session, where it was started with one of its own (Linux)."""

from __future__ import annotations

import os
import time
from pathlib import Path


def left_over(session: int, within_s: float = 15) -> list[int]:
    """Processes of a session that have not ended by themselves within some seconds."""
    until = time.monotonic() + within_s
    while found := _processes(session):
        if time.monotonic() > until:
            break
        time.sleep(0.02)
    return found


def _processes(session: int) -> list[int]:
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            fields = Path("/proc", name, "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(name))
    return found
