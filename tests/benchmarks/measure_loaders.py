"""What it costs to read photos in processes of their own instead of threads: time and memory of whole runs.

python -m tests.benchmarks.measure_loaders [--photos N] [--size WIDTHxHEIGHT] [--pairs N]

Generated photos into a CSV, `capcli caption FOLDER -o FILE`, with threads and with processes by turns. Prints for each
pair the seconds on the clock and of the processors, and the most memory of the command with all that it started: what
each process has alone, and its part of what they share (Pss), looked at twenty times a second. Needs Linux.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from capcli.benchmark.photos import write_photos

_COMMAND = """
import sys
import capcli.inputs.loaders as loaders
if sys.argv.pop(1) == "threads":
    loaders.Loaders = lambda count: None
from capcli.cli import run
sys.exit(run(sys.argv[1:]))
"""
_LOOK_S = 0.05


@dataclass(frozen=True)
class Run:
    """One run: seconds, seconds of the processors, and megabytes."""

    seconds: float
    cpu_seconds: float
    megabytes: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=200)
    parser.add_argument("--size", default="500x375")
    parser.add_argument("--pairs", type=int, default=5)
    given = parser.parse_args()
    width, height = map(int, given.size.split("x"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "photos").mkdir()
        write_photos(folder / "photos", given.photos, (width, height))
        measured(folder, "threads")
        pairs = []
        for number in range(given.pairs):
            order = ("threads", "processes") if number % 2 else ("processes", "threads")
            ran = {how: measured(folder, how) for how in order}
            pairs.append((ran["threads"], ran["processes"]))
            print(*(f"{how}: {ran[how]}" for how in ("threads", "processes")), flush=True)
    for what in ("seconds", "cpu_seconds", "megabytes"):
        ratios = [getattr(processes, what) / getattr(threads, what) for threads, processes in pairs]
        print(f"{what}, processes / threads: {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})")


def measured(folder: Path, how: str) -> Run:
    command = [sys.executable, "-c", _COMMAND, how, "caption", str(folder / "photos"), "-q", "--overwrite"]
    begin, before = time.perf_counter(), os.times()
    running = subprocess.Popen([*command, "-o", str(folder / f"{how}.csv")], env=os.environ | {"HOME": str(folder)})
    most = 0.0
    while running.poll() is None:
        most = max(most, sum(map(pss, tree(running.pid))))
        time.sleep(_LOOK_S)
    if running.returncode:
        sys.exit(f"ended with {running.returncode}")
    after = os.times()
    # The command's own children count once it has waited for them.
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return Run(time.perf_counter() - begin, spent, most)


def tree(process: int) -> list[int]:
    """A process and its children."""
    children: list[str] = []
    with suppress(OSError):
        for thread in Path(f"/proc/{process}/task").iterdir():
            children += (thread / "children").read_text().split()
    return [process, *map(int, children)]


def pss(process: int) -> float:
    """Megabytes."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("Pss:")), 0.0)


if __name__ == "__main__":
    main()
