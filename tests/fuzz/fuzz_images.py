"""Hostile files by the thousand through loaders and pipeline, as a run of the command reads them.

python -m tests.fuzz.fuzz_images LOG [--seed N] [--count N] [--processes N] [--every-length]

Every input must have exactly one result, in its turn: pixels, or one line that says why there are none. What crashes
its process, takes more than ten seconds or more memory than its pixels can need is a finding, and so is an exception
that nobody has put into words; its file is kept beside LOG. LOG has a line for each thousand, which a later run with
the same seed does not do again. With --every-length each whole file is cut at each of its lengths instead.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from capcli.inputs.loaders import Loaders
from capcli.pipeline import Pipeline, PipelineInput, PipelineSettings
from tests.fuzz.mutations import hostile
from tests.fuzz.seeds import seeds

SIZE = (64, 64)
LONGEST_S = 10
# With 48 bytes a pixel at most and what the process itself takes.
MAX_PIXELS = 4_000_000
MOST_MEGABYTES = 300
_BLOCK = 1000
_NO_FILE_EVERY = 100
_WRONG = re.compile(r"its decoder crashed|is given up|was killed|\([A-Z]\w*(Error|Exception)\b")
_LONGEST_MESSAGE = 300

Make = Callable[[int], tuple[str, bytes]]


@dataclass
class Block:
    """What became of some inputs: the first's number and how many, pictures read, reasons of the others, findings."""

    begin: int
    count: int
    read: int = 0
    seconds: float = 0.0
    megabytes: float = 0.0
    reasons: dict[str, int] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)


def mutated(seed: int) -> Make:
    files = seeds()
    return lambda number: hostile(files, seed, number)


def every_length() -> tuple[Make, int]:
    """Each whole file cut at each of its lengths, and how many that are."""
    cuts = [(name, length) for name, content in seeds().items() for length in range(len(content))]
    files = seeds()

    def cut(number: int) -> tuple[str, bytes]:
        name, length = cuts[number]
        return f"{name} cut at {length}", files[name][:length]

    return cut, len(cuts)


def fuzz(loaders: Loaders, workers: int, make: Make, begin: int, count: int, folder: Path) -> Block:
    """Reads inputs `begin` to `begin + count`; every second one from a file in `folder`, others as bytes."""
    block = Block(begin, count)
    started = time.monotonic()
    no_files = what_is_no_file(folder)

    def given() -> Iterator[PipelineInput[int]]:
        for number in range(begin, begin + count):
            content = make(number)[1]
            if number % _NO_FILE_EVERY == 0:
                yield PipelineInput(number, no_files[number // _NO_FILE_EVERY % len(no_files)])
            elif number % 2:
                path = folder / f"{number}.jpg"
                path.write_bytes(content)
                yield PipelineInput(number, str(path))
            else:
                yield PipelineInput(number, content)

    def load(image: str | bytes) -> np.ndarray:
        pixels = loaders.load(image, size=SIZE, max_pixels=MAX_PIXELS)
        assert pixels.shape == (*SIZE, 3) and pixels.dtype == np.uint8
        return pixels

    pipeline = Pipeline(load, lambda pixels: [["read"]] * len(pixels), PipelineSettings(workers=workers))
    numbers = []
    for result in pipeline.run(given()):
        numbers.append(result.source)
        with suppress(FileNotFoundError):
            (folder / f"{result.source}.jpg").unlink()
        problem = judged(result.captions, result.error)
        if problem is not None:
            block.findings.append(f"{result.source} ({make(result.source)[0]}): {problem}")
        if result.error is None:
            block.read += 1
        else:
            reason = re.sub(r"\d+", "N", result.error)
            block.reasons[reason] = block.reasons.get(reason, 0) + 1
    if numbers != list(range(begin, begin + count)):
        block.findings.append(f"{begin}: {len(numbers)} results, or not in their turn")
    block.megabytes = peak_megabytes(loaders)
    if block.megabytes > MOST_MEGABYTES:
        block.findings.append(f"{begin} to {begin + count}: a process took {block.megabytes:.0f} MB")
    block.seconds = time.monotonic() - started
    return block


def what_is_no_file(folder: Path) -> list[str]:
    """Paths that are named like photos and are none: opening or reading some would wait for ever."""
    directory, pipe, link = folder / "folder.jpg", folder / "pipe.jpg", folder / "link.jpg"
    directory.mkdir(exist_ok=True)
    if not link.is_symlink():
        link.symlink_to(link)
    paths = [str(directory), str(link), str(folder / "missing.jpg"), str(folder / ("x" * 5000)), "", "a\0.jpg"]
    if hasattr(os, "mkfifo"):
        if not pipe.exists():
            os.mkfifo(pipe)
        paths += [str(pipe), "/dev/zero", "/dev/stdin"]
    return paths


def judged(captions: Iterable[str], error: str | None) -> str | None:
    """What is wrong with a result; None if nothing is."""
    if error is None:
        return None if tuple(captions) == ("read",) else "neither pixels nor an error"
    if tuple(captions) or not error.isprintable() or not 0 < len(error) <= _LONGEST_MESSAGE:
        return f"no line to print: {error!r}"
    return error if _WRONG.search(error) else None


def peak_megabytes(loaders: Loaders) -> float:
    """The most that one of the processes has taken; 0 where the system does not tell."""
    peaks = [0.0]
    for process in loaders.processes:
        with suppress(OSError):
            status = Path(f"/proc/{process}/status").read_text()
            peaks += [int(kilobytes) * 1024 / 1e6 for kilobytes in re.findall(r"VmHWM:\s+(\d+)", status)]
    return max(peaks)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("log", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=50_000)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--every-length", action="store_true")
    options = parser.parse_args()
    make, count = every_length() if options.every_length else (mutated(options.seed), options.count)
    run = "every length" if options.every_length else f"seed {options.seed}"
    lines = options.log.read_text().splitlines() if options.log.exists() else []
    done = [line for line in map(json.loads, lines) if line["run"] == run]
    with tempfile.TemporaryDirectory() as name, Loaders(options.processes, longest_s=LONGEST_S) as loaders:
        for begin in range(0, count, _BLOCK):
            if any(line["begin"] == begin for line in done):
                continue
            block = fuzz(loaders, options.processes, make, begin, min(_BLOCK, count - begin), Path(name))
            for finding in block.findings:
                print(finding, flush=True)
                number = int(re.match(r"\d+", finding)[0])  # type: ignore[index]
                options.log.with_name(f"{run.replace(' ', '-')}-{number}.bin").write_bytes(make(number)[1])
            done.append({"run": run, **asdict(block)})
            with options.log.open("a") as log:
                log.write(json.dumps(done[-1]) + "\n")
    found = sum(len(line["findings"]) for line in done)
    print(
        f"{run}: {sum(line['count'] for line in done)} inputs, {sum(line['read'] for line in done)} read, {found} "
        f"findings, {max(line['megabytes'] for line in done):.0f} MB at most, "
        f"{sum(line['seconds'] for line in done):.0f} s"
    )
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
