"""Peak memory of `capcli caption` over few and many images: python -m tests.benchmarks.measure_memory [--model BUNDLE].

Prints the peak resident set of each run and the ratio of the medians. Not a test: it takes minutes, and its figures
belong in a note with the machine they were measured on.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import tempfile
from pathlib import Path

from tests.conftest import TINY_BUNDLE, command, environment
from tests.shapes import COLOURS, GROUNDS, SHAPES, draw


def write_photos(folder: Path, count: int, size: int) -> None:
    chance = random.Random(count)
    kinds = [(shape, colour, ground) for shape in SHAPES for colour in COLOURS for ground in GROUNDS]
    for number in range(count):
        path = folder / f"{number // 1000}" / f"{number}.jpg"
        path.parent.mkdir(exist_ok=True)
        draw(*chance.choice(kinds), number, size).save(path, quality=90)


def peak_megabytes(folder: Path, model: str, options: list[str]) -> float:
    """Peak resident set of one run, MB, as the kernel counts it."""
    with tempfile.TemporaryDirectory() as place:
        process = subprocess.Popen(
            [command(), "caption", folder, "-o", Path(place) / "captions.csv", "--model", model, *options],
            env=environment(),
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=str(TINY_BUNDLE))
    parser.add_argument("--few", type=int, default=500)
    parser.add_argument("--many", type=int, default=5000)
    parser.add_argument("--size", type=int, default=640, help="width and height of the images, in pixels")
    parser.add_argument("--runs", type=int, default=3)
    arguments, options = parser.parse_known_args()
    medians = []
    for count in (arguments.few, arguments.many):
        with tempfile.TemporaryDirectory() as folder:
            write_photos(Path(folder), count, arguments.size)
            peaks = [peak_megabytes(Path(folder), arguments.model, options) for _ in range(arguments.runs)]
        medians.append(statistics.median(peaks))
        print(f"{count} images: {', '.join(f'{peak:.1f}' for peak in peaks)} MB, median {medians[-1]:.1f} MB")
    print(f"ratio of the medians: {medians[1] / medians[0]:.3f}")


if __name__ == "__main__":
    main()
