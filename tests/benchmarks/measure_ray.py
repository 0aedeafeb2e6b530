"""What jobs on Ray cost and survive: python -m tests.benchmarks.measure_ray speed|memory|kills FOLDER [--model BUNDLE].

speed: COUNT photos of FOLDER by `capcli caption` with two threads, and by `capcli ray` with one actor and with two of
one CPU each, with and without the start. memory: the resident memory of the driver and of two actors, four times a
second, over COUNT photos (named again and again if FOLDER has fewer). kills: ROUNDS times, an actor and then the
driver are killed at random moments of a job, until `--resume` ends; counts rows lost, doubled and captioned again. Not
a test: the photos, and the minutes, are yours.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import signal
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pyarrow.parquet

from tests.conftest import command, environment
from tests.scale_out.test_job import children_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["speed", "memory", "kills"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="default")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ray-") as folder:
        work = Path(folder)
        link_photos(arguments.folder, work / "photos", arguments.count)
        if arguments.what == "speed":
            measure_speed(work, arguments.model)
        elif arguments.what == "memory":
            measure_memory(work, arguments.model)
        else:
            count_kills(work, arguments.model, arguments.rounds, random.Random(arguments.seed))


def link_photos(folder: Path, links: Path, count: int) -> None:
    links.mkdir()
    photos = sorted(path.resolve() for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    for number, photo in enumerate(itertools.islice(itertools.cycle(photos), count)):
        (links / f"{number:06}{photo.suffix}").symlink_to(photo)


def start(work: Path, *arguments: object) -> subprocess.Popen[bytes]:
    words = [str(command()), *map(str, arguments)]
    return subprocess.Popen(words, cwd=work, env=environment(HOME=str(work)), stderr=subprocess.DEVNULL)


def parts_of(out: Path) -> dict[str, int]:
    return {part.name: part.stat().st_mtime_ns for part in out.glob("captions-*.parquet")}


def paths_of(out: Path) -> dict[str, list[str]]:
    return {
        part.name: pyarrow.parquet.read_table(part, columns=["path"]).column("path").to_pylist()
        for part in out.glob("captions-*.parquet")
    }


def measure_speed(work: Path, model: str) -> None:
    count = sum(1 for _ in (work / "photos").iterdir())
    plain = _timed(work, "caption", "photos", "-o", "plain.csv", "--model", model, "--threads", 2)
    _tell("capcli caption --threads 2", count, plain, plain)
    for actors in (2, 1):
        out = work / f"out{actors}"
        took = _timed(work, "ray", "photos", out, "--model", model, "--actors", actors)
        _tell(f"capcli ray --actors {actors}", count, took, plain)
        # Without the start: what came after the first part of each actor.
        ended = sorted((when, name) for name, when in parts_of(out).items())
        rows, seconds = paths_of(out), (ended[-1][0] - ended[actors - 1][0]) / 1e9
        later = sum(len(rows[name]) for _, name in ended[actors:])
        print(f"  once it runs: {later / seconds:.2f} photos/s, {later / seconds / (count / plain):.2f} x", flush=True)


def _timed(work: Path, *arguments: object) -> float:
    begin = time.perf_counter()
    assert start(work, *arguments).wait() == 0
    return time.perf_counter() - begin


def _tell(what: str, count: int, seconds: float, plain: float) -> None:
    print(f"{what}: {seconds:.1f} s, {count / seconds:.2f} photos/s, {plain / seconds:.2f} x", flush=True)


def measure_memory(work: Path, model: str) -> None:
    process = start(work, "ray", "photos", "out", "--model", model, "--actors", 2)
    seen: defaultdict[str, list[float]] = defaultdict(list)
    while process.poll() is None:
        actors = [number for number, name in children_of(process.pid) if "CaptionPhotos" in name]
        if actors and any((work / "out").glob("captions-*")):
            for name, number in [("driver", process.pid), *((f"actor {actor}", actor) for actor in actors)]:
                seen[name].extend(_resident_mib(number))
        time.sleep(0.25)
    print(f"ended with {process.returncode}")
    for name, sizes in seen.items():
        tenth = max(1, len(sizes) // 10)
        steps = [
            f"{median(sizes[at : at + tenth]):.0f}" for at in range(0, tenth * 10, tenth) if sizes[at : at + tenth]
        ]
        print(f"{name}: peak {max(sizes):.0f} MiB; median of each tenth of the time: {' '.join(steps)}")


def _resident_mib(process: int) -> Iterator[float]:
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return
    yield from (int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:"))


def count_kills(work: Path, model: str, rounds: int, chance: random.Random) -> None:
    photos = {f"photos/{path.name}" for path in (work / "photos").iterdir()}
    actors_killed = drivers_killed = lost = doubled = again = torn = 0
    seconds = 0.0
    for turn in range(rounds + 1):
        out = work / f"out{turn}"
        process = start(work, "ray", "photos", out, "--model", model, "--actors", 2)
        while len(actors := _actors(process)) < 2:
            assert process.poll() is None
            time.sleep(0.02)
        if not turn:  # undisturbed: how long it takes from here to the last part
            begin = time.time()
            assert process.wait() == 0
            seconds = max(parts_of(out).values()) / 1e9 - begin
            continue
        first, second = sorted(chance.uniform(0, seconds) for _ in range(2))
        time.sleep(first)
        try:
            os.kill(chance.choice(actors), signal.SIGKILL)
            actors_killed += process.poll() is None
        except ProcessLookupError:
            pass
        time.sleep(second - first)
        drivers_killed += process.poll() is None
        process.kill()
        process.wait()
        # Some of its workers may still be writing as the next one begins.
        before = parts_of(out)
        code = start(work, "ray", "photos", out, "--model", model, "--actors", 2, "--resume").wait()
        assert code == 0, code
        aside = {part.name[1:].removesuffix(".torn") for part in out.glob("_captions-*")}
        rows = [path for paths in paths_of(out).values() for path in paths]
        lost += len(photos - set(rows))
        doubled += len(rows) - len(set(rows))
        after = parts_of(out)
        again += sum(after.get(name) != when for name, when in before.items() if name not in aside)
        torn += len(aside)
        print(
            f"{turn}: killed after {first:.1f} and {second:.1f} of {seconds:.1f} s; {len(before)} parts then, "
            f"{len(after)} now, {len(aside)} set aside",
            flush=True,
        )
    print(
        f"{actors_killed} actors and {drivers_killed} drivers killed in mid-run: {lost} photos lost, {doubled} rows "
        f"doubled, {again} finished parts changed, {torn} torn parts set aside"
    )


def _actors(process: subprocess.Popen[bytes]) -> list[int]:
    return [number for number, name in children_of(process.pid) if "CaptionPhotos" in name]


if __name__ == "__main__":
    main()
