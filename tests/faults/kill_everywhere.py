"""Kills the command everywhere, goes on as a user would, and says what was lost, doubled, half or left behind.

    python -m tests.faults.kill_everywhere [--kills 200] [--seed 0] [--only NAME] [--jobs 2] [--signal KILL]

Half of the kills come at a chosen step of the run (`ends_itself`: the N-th time that it loads, reads, computes, writes,
renames), spread over all kinds of steps, and a write is cut where the seed says; the others come at any moment. A third
of the repeated runs are killed too. The laws are in `laws`, the runs in `killed_runs`. With TERM or INT the run may say
one line, ends with 143 or 130, and leaves no temporary file. Prints a table, and ends with 1 if a law was broken. Needs
Linux and the metadata extra; 200 kills take some ten minutes on two cores.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tests.conftest import EXPORT_TIME, TINY_BUNDLE, environment
from tests.faults.killed_runs import RUNS, KilledRun
from tests.faults.laws import Course, is_draft, read_folder
from tests.processes import left_over

_PROGRAM = Path(__file__).with_name("ends_itself.py")
_END_S = 900
_AGAIN_TOO = 1 / 3
# What a run ends with that a signal has stopped; a negative one before it can heed it.
_CODES = {"KILL": (-signal.SIGKILL,), "TERM": (143, -signal.SIGTERM), "INT": (130, -signal.SIGINT)}


@dataclass(frozen=True)
class Ended:
    """How a process ended: its code, what it said, the kinds of its steps, its seconds, and processes it left."""

    code: int
    errors: str
    steps: list[str]
    seconds: float
    left: list[int]


@dataclass
class Figures:
    """What kills of one run came to. `where`: kinds of steps at which it was killed; `partly`: folders that were
    neither as before nor as after; `drafts`: those with left-over temporary files; `missed`: kills that came late."""

    name: str
    where: Counter[str] = field(default_factory=Counter)
    killed: int = 0
    missed: int = 0
    partly: int = 0
    drafts: int = 0
    broken: list[str] = field(default_factory=list)


class Ground:
    """A run's folder as it was before and after it, and copies of it to kill the run in."""

    def __init__(self, run: KilledRun, place: Path, signal_name: str = "KILL") -> None:
        self.run, self._place = run, place
        self._signal, self._codes = signal.Signals[f"SIG{signal_name}"], _CODES[signal_name]
        self._numbers = itertools.count()
        self._template = place / "template"
        self._template.mkdir(parents=True)
        run.prepare(self._template)
        whole = self.copy()
        ended = self.start(whole, run.command)
        if ended.code != run.code or ended.left:
            raise RuntimeError(f"{run.name}: without a kill it ends with {ended.code}: {ended.errors}")
        self.course = Course(read_folder(self._template), read_folder(whole), run.rows)
        self.steps, self.seconds = ended.steps, ended.seconds
        shutil.rmtree(whole)

    def new_place(self) -> Path:
        """An empty folder of its own."""
        place = self._place / f"copy{next(self._numbers)}"
        place.mkdir()
        return place

    def copy(self, place: Path | None = None) -> Path:
        """The folder as it was before the run, once more: in a new place, or in this one."""
        copy = (place or self.new_place()) / "work"
        # Times of files too.
        shutil.copytree(self._template, copy)
        return copy

    def start(
        self,
        folder: Path,
        command: Sequence[str],
        *,
        kill_at: int | None = None,
        cut: float = 0.0,
        after_s: float | None = None,
    ) -> Ended:
        """Runs the command in a folder; signals it at a step, or after some seconds."""
        # Not on the disk that the run is on, which may be full.
        plan, log = (self._place / f"{folder.parent.name}-{name}" for name in ("plan.json", "steps.txt"))
        log.write_bytes(b"")
        folders = [str(folder), str(TINY_BUNDLE), str(folder.parent / "state")]
        plan.write_text(
            json.dumps({"log": str(log), "signal": self._signal, "at": kill_at, "cut": cut, "folders": folders})
        )
        begin = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-P", str(_PROGRAM), str(plan), *command],
            cwd=folder,
            env=environment(XDG_STATE_HOME=str(folder.parent / "state"), SOURCE_DATE_EPOCH=EXPORT_TIME),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            _, errors = process.communicate(timeout=_END_S if after_s is None else after_s)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL if after_s is None else self._signal)
            _, errors = process.communicate()
        seconds = time.monotonic() - begin
        return Ended(process.returncode, errors, log.read_text().splitlines(), seconds, left_over(process.pid))

    def kill(self, chance: random.Random, step: int | None, figures: Figures) -> None:
        """Kills the run once, perhaps also the one that goes on, and lets the last one end."""
        folder = self.copy()
        command: Sequence[str] = self.run.command
        earlier = self.course.before
        while True:
            after_s = None if step is not None else chance.uniform(0.05, self.seconds * 1.05)
            ended = self.start(folder, command, kill_at=step, cut=chance.random(), after_s=after_s)
            found = read_folder(folder)
            moment = f"{self.run.name}, killed at step {step} ({ended.steps[-1:]}, {after_s}): "
            if ended.code in self._codes:
                figures.killed += 1
                figures.where[_where(ended.steps, step, self._signal)] += 1
                figures.partly += found not in (self.course.before, self.course.after)
                figures.drafts += any(map(is_draft, found))
            elif ended.code == self.run.code:
                figures.missed += 1
            else:
                figures.broken.append(f"{moment}ends with {ended.code}: {ended.errors}")
            broken = self.course.broken_by_fault(found, earlier)
            figures.broken += [f"{moment}{law}" for law in broken]
            figures.broken += [f"{moment}process {number} left" for number in ended.left]
            if self._signal != signal.SIGKILL:
                figures.broken += [f"{moment}left behind: {name}" for name in found if is_draft(name)]
                if ended.code > 0 and not all(line.startswith("capcli: ") for line in ended.errors.splitlines()):
                    figures.broken.append(f"{moment}says: {ended.errors}")
            command, earlier = self.run.again, found
            if chance.random() >= _AGAIN_TOO:
                break
            step = chance.randrange(len(self.steps)) if chance.random() < 0.5 else None
        ended = self.start(folder, command)
        if ended.code != self.run.code or "Traceback" in ended.errors or "internal" in ended.errors or ended.left:
            figures.broken.append(f"{moment}gone on with, it ends with {ended.code}: {ended.errors} {ended.left}")
        figures.broken += [f"{moment}{law}" for law in self.course.broken_in_the_end(read_folder(folder))]
        shutil.rmtree(folder.parent)


def chosen_steps(steps: Sequence[str], count: int, chance: random.Random) -> list[int]:
    """As many steps, of all kinds in turn."""
    kinds: dict[str, list[int]] = {}
    for number, kind in enumerate(steps):
        kinds.setdefault(kind, []).append(number)
    for numbers in kinds.values():
        chance.shuffle(numbers)
    order = list(kinds)
    chance.shuffle(order)
    turns = itertools.zip_longest(*(kinds[kind] for kind in order))
    return [number for turn in turns for number in turn if number is not None][:count]


def _where(steps: Sequence[str], step: int | None, number: int) -> str:
    if number == signal.SIGKILL:
        return steps[-1] if steps else "start"
    return "any moment" if step is None else steps[min(step, len(steps) - 1)]


def kill_all(run: KilledRun, kills: int, seed: int, place: Path, signal_name: str) -> Figures:
    """Kills one run as often as that, without the kills of repeated runs."""
    ground, figures, chance = Ground(run, place, signal_name), Figures(run.name), random.Random(f"{seed} {run.name}")
    steps: list[int | None] = [*chosen_steps(ground.steps, (kills + 1) // 2, chance)]
    steps += [None] * (kills - len(steps))
    for step in steps:
        ground.kill(chance, step, figures)
    shutil.rmtree(place)
    print(f"{run.name}: {figures.killed} kills, {len(figures.broken)} violations", file=sys.stderr, flush=True)
    return figures


def print_table(all_figures: Sequence[Figures]) -> None:
    print(f"{'run':28} {'kills':>6} {'late':>5} {'partly done':>12} {'temporary':>10} {'violations':>11}")
    for each in all_figures:
        print(f"{each.name:28} {each.killed:6} {each.missed:5} {each.partly:12} {each.drafts:10} {len(each.broken):11}")
    total = [sum(getattr(each, name) for each in all_figures) for name in ("killed", "missed", "partly", "drafts")]
    broken = [line for each in all_figures for line in each.broken]
    print(f"{'all':28} {total[0]:6} {total[1]:5} {total[2]:12} {total[3]:10} {len(broken):11}\n")
    where = sum((each.where for each in all_figures), Counter[str]())
    print("killed before: " + ", ".join(f"{kind} {count}" for kind, count in where.most_common()))
    for line in broken:
        print(line)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="of runs with this in their names")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--signal", choices=_CODES, default="KILL")
    given = parser.parse_args()
    runs = [run for run in RUNS if given.only in run.name]
    begin = time.monotonic()
    shares = [given.kills // len(runs) + (number < given.kills % len(runs)) for number in range(len(runs))]
    with tempfile.TemporaryDirectory(prefix="capcli-kills-") as folder, ThreadPoolExecutor(given.jobs) as pool:
        tasks = [
            pool.submit(kill_all, run, share, given.seed, Path(folder) / str(number), given.signal)
            for number, (run, share) in enumerate(zip(runs, shares, strict=True))
            if share
        ]
        figures = [task.result() for task in tasks]
    print_table(figures)
    print(f"in {time.monotonic() - begin:.0f} s")
    return 1 if any(each.broken for each in figures) else 0


if __name__ == "__main__":
    sys.exit(main())
