"""What a review teaches the shipped model: python -m tests.benchmarks.measure_loop FOLDER [train options].

Captions small drawings of the tests, writes the corrected file that `capcli review` gives when a person corrects those
captions (`review` is "edited"), trains on it with `--init default`, and captions other drawings of the kind, before and
after. Prints how many of those are right: they name the shape and the colour, and neither another shape nor colour.
Takes some minutes; needs the train extra. Not a test: times are a machine's.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import time
from pathlib import Path

from capcli.outputs.records import read_rows
from tests.conftest import command, environment
from tests.shapes import COLOURS, GROUNDS, SHAPES, draw, sentence_for


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    arguments, options = parser.parse_known_args()
    folder: Path = arguments.folder
    truth = {**_draw(folder / "photos", range(4)), **_draw(folder / "others", range(100, 102))}
    captions, corrected = folder / "captions.csv", folder / "captions-reviewed.csv"
    _run("caption", folder / "photos", "-o", captions)
    with captions.open(newline="") as given, corrected.open("w", newline="") as written:
        rows = csv.reader(given)
        writer = csv.writer(written)
        writer.writerow([*next(rows), "review"])
        for path, _, *rest in rows:
            writer.writerow([path, truth[path], *rest, "edited"])
    _right(folder, "before", truth)
    begin = time.perf_counter()
    data = ("--images", folder / "photos", "--captions", corrected)
    _run("train", "--init", "default", *data, "--out", folder / "run", *options)
    _run("export", folder / "run", folder / "bundle")
    print(f"trained and exported in {time.perf_counter() - begin:.0f} s")
    _right(folder, "after", truth, "--model", folder / "bundle")


def _draw(folder: Path, seeds: range) -> dict[str, str]:
    """Draws one of each shape, colour and ground for each seed; what each shows, by its path."""
    folder.mkdir(parents=True)
    truth = {}
    for shape in SHAPES:
        for colour in COLOURS:
            for ground in GROUNDS:
                for seed in seeds:
                    path = folder / f"{shape}-{colour}-{ground}-{seed}.png"
                    draw(shape, colour, ground, seed, 224).save(path)
                    truth[str(path)] = f"{sentence_for(shape, colour, ground).capitalize()}."
    return truth


def _right(folder: Path, when: str, truth: dict[str, str], *options: str | Path) -> None:
    out = folder / f"{when}.csv"
    _run("caption", folder / "others", "-o", out, *options)
    rows = list(read_rows(out, "csv"))
    right = sum(_named(row.caption or "") == _named(truth[row.path]) for row in rows)
    print(f"{when}: {right} of {len(rows)} right, such as: {rows[0].path.rpartition('/')[2]}: {rows[0].caption}")


def _named(caption: str) -> set[str]:
    """The shapes and colours that a caption names, those of the ground too."""
    return set(caption.lower().removesuffix(".").split()) & {*SHAPES, *COLOURS, *GROUNDS}


def _run(*arguments: str | Path) -> None:
    subprocess.run([command(), *arguments], env=environment(), check=True)


if __name__ == "__main__":
    main()
