"""Runs the command on disks that get full, once at each size, and goes on when there is room again.

    python -m tests.faults.fill_disk [--sizes 8] [--seed 0] [--only NAME]

The runs and the laws are those of `kill_everywhere`: what was there is there, no file is half, what could not be
written is told in its row or ends the run with one line and exit code 4, and the repeated run makes all of it good. The
disks are in memory (tmpfs), of a few pages more than the folder takes, so it needs Linux and root. Prints a table, and
ends with 1 if a law was broken.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.kill_everywhere import Ground
from tests.faults.killed_runs import RUNS
from tests.faults.laws import Files, is_draft, read_folder

_PAGE = 4096
_TOLD = "no space is left on the disk"
_OUTPUT_ERROR = 4


@dataclass
class Figures:
    """What full disks made of one run: how often it ended with which code, and which laws were broken."""

    name: str
    codes: Counter[int] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)


@contextlib.contextmanager
def disk(place: Path, pages: int) -> Iterator[None]:
    """A disk of that size in a folder."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={pages * _PAGE}", "tmpfs", place], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", place], check=True)


def pages_of(files: Files) -> int:
    return sum(-(-len(content) // _PAGE) for content in files.values())


def fill(ground: Ground, pages: int, figures: Figures) -> None:
    """Runs the command on a disk that has as many pages besides those of its folder, and then with more."""
    place, run, course = ground.new_place(), ground.run, ground.course
    with disk(place, pages_of(course.before) + pages):
        folder = ground.copy(place)
        ended = ground.start(folder, run.command)
        found = read_folder(folder)
        figures.codes[ended.code] += 1
        moment = f"{run.name}, with {pages} pages: "
        lines = ended.errors.splitlines()
        if ended.code not in (run.code, 1, _OUTPUT_ERROR) or not all(line.startswith("capcli: ") for line in lines):
            figures.broken.append(f"{moment}ends with {ended.code}: {ended.errors}")
        if "internal error" in ended.errors or (found != course.after and _TOLD not in ended.errors):
            figures.broken.append(f"{moment}does not say why: {ended.errors}")
        figures.broken += [f"{moment}{law}" for law in course.broken_by_fault(found, course.before, told=_TOLD)]
        figures.broken += [f"{moment}left behind: {name}" for name in found if is_draft(name)]
        subprocess.run(["mount", "-o", "remount,size=64m", place], check=True)
        again = [*run.again, "--retry-failed"] if "--resume" in run.again else run.again
        ended = ground.start(folder, again)
        if ended.code != run.code or "internal error" in ended.errors:
            figures.broken.append(f"{moment}repeated, it ends with {ended.code}: {ended.errors}")
        figures.broken += [f"{moment}{law}" for law in course.broken_in_the_end(read_folder(folder))]
    shutil.rmtree(place)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="of runs with this in their names")
    given = parser.parse_args()
    all_figures = []
    for run in RUNS:
        if given.only not in run.name:
            continue
        figures, chance = Figures(run.name), random.Random(f"{given.seed} {run.name}")
        all_figures.append(figures)
        with tempfile.TemporaryDirectory(prefix="capcli-full-") as name:
            ground = Ground(run, Path(name) / "ground")
            most = pages_of(ground.course.after) - pages_of(ground.course.before) + 3
            for pages in sorted(chance.sample(range(most + 1), min(given.sizes, most + 1))):
                fill(ground, pages, figures)
        print(f"{run.name}: {dict(figures.codes)}, {len(figures.broken)} violations", file=sys.stderr, flush=True)
    print(f"{'run':28} {'full':>5} {'exit 0':>7} {'exit 1':>7} {'exit 4':>7} {'violations':>11}")
    for each in all_figures:
        codes = " ".join(f"{each.codes[code]:7}" for code in (0, 1, _OUTPUT_ERROR))
        print(f"{each.name:28} {sum(each.codes.values()):5} {codes} {len(each.broken):11}")
    broken = [line for each in all_figures for line in each.broken]
    print(f"{sum(sum(each.codes.values()) for each in all_figures)} disks, {len(broken)} violations", *broken, sep="\n")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
