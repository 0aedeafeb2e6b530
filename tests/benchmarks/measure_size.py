"""What size costs: files of a million rows, trees of 200,000 photos, lists of ten million paths. Needs Linux.

python -m tests.benchmarks.measure_size [WHAT...] [--list N...] [--folder DIR]

WHAT is some of first, resume, tree, list, rows (all by default). All with the tiny bundle, by `python -m capcli`:
  first   one photo that is named, and a folder of one: the latter's photo is read in a process of its own
  resume  a CSV, TSV and JSON Lines file of 1,000,000 rows gone on with, --retry-failed of rows that all failed, and
          what a run needs without them: the time that resuming takes is the difference (at most 8 s)
  tree    200,000 photos in one folder, and in folders of 1,000: caption, --dry-run, --newer-than, --sidecar where all
          have theirs
  list    one photo and N - 1 missing files on standard input, without and with -o: what a path costs in time and memory
          (at most 100 bytes with -o, none without). N is 200,000 and 1,000,000; `--list 10000000` takes an hour or so
  rows    `capcli review` and `capcli apply` of files of captions, whose time must grow as their rows do

Each line has the seconds to the first caption, of the whole run, and of the processors (where others use the machine
too, these tell what it costs), and the most memory (VmHWM) of the command and of one of its loaders, in MB of 1,000,000
bytes.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import BinaryIO

from capcli.outputs.rows import Row, row_format
from tests.benchmarks.measure_loaders import tree
from tests.shapes import draw

_BUNDLE = Path(__file__).parent.parent / "tiny_bundle"
_ROWS = 1_000_000
_FILES = 200_000
_LOOK_S = 0.02
# Less than any file system's limit of links to one file.
_LINKS = 30_000


@dataclass(frozen=True)
class Ran:
    """One run: seconds to the first caption, None where there was none, of all, and of the processors; megabytes."""

    first_s: float | None
    seconds: float
    cpu_s: float
    megabytes: float
    loader_megabytes: float

    def __str__(self) -> str:
        first = "" if self.first_s is None else f"first caption after {self.first_s:.2f} s, "
        loader = f", a loader {self.loader_megabytes:.0f} MB" if self.loader_megabytes else ""
        return f"{first}{self.seconds:.2f} s (processors {self.cpu_s:.2f} s), {self.megabytes:.1f} MB{loader}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", metavar="WHAT", help=", ".join(_PARTS))
    parser.add_argument("--list", type=int, nargs="+", default=[200_000, 1_000_000], metavar="N", dest="lengths")
    parser.add_argument("--folder", help="where it works; some 1 GB for a while")
    given = parser.parse_args()
    if unknown := set(given.what) - set(_PARTS):
        parser.error(f"no such part: {', '.join(unknown)}")
    for name in given.what or _PARTS:
        with tempfile.TemporaryDirectory(dir=given.folder, prefix="capcli-size-") as folder:
            os.environ.update(HOME=folder, XDG_STATE_HOME=f"{folder}/state")
            draw("circle", "red", "white", 1, 64).save(Path(folder) / "photo.png")
            _PARTS[name](Path(folder), given.lengths)


def first(folder: Path, _: Sequence[int]) -> None:
    photos = folder / "photos"
    photos.mkdir()
    os.link(folder / "photo.png", photos / "photo.png")
    for what, given in (("one photo that is named", photos / "photo.png"), ("a folder of it", photos)):
        runs = sorted((measured("caption", str(given)) for _ in range(7)), key=lambda ran: ran.first_s or 0.0)
        told(f"{what}, median of {len(runs)}", runs[len(runs) // 2])


def resume(folder: Path, _: Sequence[int]) -> None:
    (folder / "photos").mkdir()
    os.link(folder / "photo.png", folder / "photos" / "new.png")
    new = str(folder / "photos")
    for name in ("csv", "tsv", "jsonl"):
        out = folder / f"captions.{name}"
        without = measured("caption", new, "-o", str(out), out=out)
        out.unlink()
        write_rows(out, name, (captioned(f"photos/{number // 1000}/{number}.jpg") for number in range(_ROWS)))
        ran = measured("caption", new, "-o", str(out), "--resume", out=out)
        told(f"{name} of {_ROWS:,} rows, one photo more", ran)
        print(f"    of it for the rows: {lost(ran, without)}", flush=True)
        out.unlink()
    out = folder / "failed.csv"
    for options in ((), ("--retry-failed",)):
        paths = (f"photos/{number // 1000}/{number}.jpg" for number in range(_ROWS))
        write_rows(out, "csv", (Row(path, None, None, "does not exist") for path in paths))
        ran = measured("caption", new, "-o", str(out), "--resume", *options, out=out)
        told(f"csv of {_ROWS:,} failed rows, one photo more {' '.join(options)}".rstrip(), ran)
        print(f"    of it for the rows: {lost(ran, without)}", flush=True)


def lost(ran: Ran, without: Ran) -> str:
    seconds, busy = (ran.first_s or ran.seconds) - (without.first_s or without.seconds), ran.cpu_s - without.cpu_s
    kept = (ran.megabytes - without.megabytes) * 1e6 / _ROWS
    return f"{seconds:.2f} s (processors {busy:.2f} s), {kept:.0f} bytes a row"


def tree_of_files(folder: Path, _: Sequence[int]) -> None:
    for what, each in (("one folder", _FILES), ("folders of 1,000", 1000)):
        place = folder / what.replace(" ", "_").replace(",", "")
        link_photos(folder, place, _FILES, each, ".png")
        told(f"{_FILES:,} photos in {what}, until the first caption", measured("caption", str(place), stop=True))
        told("    --dry-run", measured("caption", str(place), "--dry-run"))
        told("    --newer-than 2000-01-01", measured("caption", str(place), "--newer-than", "2000-01-01", stop=True))
        none = measured("caption", str(place), "--newer-than", "2100-01-01")
        told("    --newer-than 2100-01-01, which none is", none)
        link_photos(folder, place, _FILES, each, ".txt")
        told("    --sidecar .txt, where all have theirs", measured("caption", str(place), "--sidecar", ".txt"))


def link_photos(folder: Path, place: Path, count: int, each: int, suffix: str) -> None:
    """Makes so many files in numbered folders of so many each; few of them are more than a link."""
    content = (folder / "photo.png").read_bytes() if suffix == ".png" else b"A red circle.\n"
    for number in range(count):
        inner = place / str(number // each)
        file = inner / f"IMG_{number}{suffix}"
        if number % each == 0:
            inner.mkdir(parents=True, exist_ok=True)
        if number % _LINKS == 0:
            linked = file
            file.write_bytes(content)
        else:
            os.link(linked, file)


def lists(folder: Path, lengths: Sequence[int]) -> None:
    earlier: dict[str, tuple[int, Ran]] = {}
    for length in lengths:
        for options in (("-o", str(folder / "captions.csv")), ()):
            out = folder / "captions.csv" if options else None
            ran = measured("caption", "-", "-q", *options, paths=(folder / "photo.png", length), out=out, codes=(1,))
            where = "with -o" if options else "without"
            told(f"{length:,} paths on standard input, {where}", ran)
            each, busy = ran.seconds / length * 1e6, ran.cpu_s / length * 1e6
            print(f"    {each:.0f} microseconds a path (processors {busy:.0f})", flush=True)
            if where in earlier:
                shorter, before = earlier[where]
                cost = (ran.megabytes - before.megabytes) * 1e6 / (length - shorter)
                print(f"    {cost:.0f} bytes a path more than with {shorter:,}", flush=True)
            earlier[where] = (length, ran)
            if out is not None:
                out.unlink()


def rows(folder: Path, _: Sequence[int]) -> None:
    for count in (25_000, 100_000):
        place, out = folder / f"photos-{count}", folder / f"captions-{count}.csv"
        link_photos(folder, place, count, 1000, ".png")
        write_rows(out, "csv", (captioned(f"{place}/{number // 1000}/IMG_{number}.png") for number in range(count)))
        page = str(folder / "review.html")
        told(f"review of {count:,} rows", measured("review", str(out), "-o", page, "--overwrite"))
        told("    apply --dry-run", measured("apply", str(out), "--sidecar", ".txt", "--dry-run"))
        if count > 25_000:
            # Each file that is written is waited for until it is on the disk.
            continue
        told("    apply --sidecar .txt", measured("apply", str(out), "--sidecar", ".txt"))
        told("    the same again, which does nothing", measured("apply", str(out), "--sidecar", ".txt"))
        report = str(folder / f"report-{count}.csv")
        told("    with --xmp -o", measured("apply", str(out), "--xmp", "-o", report))
        told("    --undo of it", measured("apply", "--undo", report))


def captioned(path: str) -> Row:
    return Row(path, "A red circle on a white ground, as the tiny bundle says it.", -0.4321, None, confidence=0.5)


def write_rows(path: Path, name: str, those: Iterator[Row]) -> None:
    form = row_format(name, ranked=False)
    with path.open("wb") as file:
        file.write(form.header())
        file.writelines(map(form.record, those))


def told(what: str, ran: Ran) -> None:
    print(f"{what}: {ran}", flush=True)


def measured(
    *arguments: str,
    out: Path | None = None,
    paths: tuple[Path, int] | None = None,
    stop: bool = False,
    codes: tuple[int, ...] = (0, 1),
) -> Ran:
    """Runs a command of capcli and looks at it.

    Args:
        arguments: the command's.
        out: the file in which the first caption appears; else it is the first line on standard output.
        paths: given on standard input: a photo, and how many paths, the others missing.
        stop: it is ended after the first caption.
        codes: with which it may end.
    """
    model = ("--model", str(_BUNDLE)) if arguments[0] == "caption" else ()
    before = out.stat().st_size if out is not None and out.exists() else 0
    begin, cpu = time.perf_counter(), spent()
    running = subprocess.Popen(
        [sys.executable, "-m", "capcli", *arguments, *model],
        stdin=subprocess.DEVNULL if paths is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert running.stdout is not None
    firsts: list[float] = []
    Thread(target=_drain, args=(running.stdout, begin, firsts), daemon=True).start()
    if paths is not None and running.stdin is not None:
        Thread(target=_feed, args=(running.stdin, *paths), daemon=True).start()
    most, loaders = 0.0, dict[int, float]()
    while running.poll() is None:
        mine, *others = tree(running.pid)
        most = max(most, peak(mine))
        # The last of each: until it runs a program of its own, a new process has what its parent has.
        loaders |= {other: found for other in others if (found := peak(other))}
        # The header of a new file is no caption, and shorter than one with it.
        if out is not None and not firsts and out.exists() and out.stat().st_size > before + 60:
            firsts.append(time.perf_counter() - begin)
        if stop and firsts:
            running.send_signal(signal.SIGINT)
            stop, codes = False, (130,)
        time.sleep(_LOOK_S if len(firsts) and time.perf_counter() - begin < 60 else 0.005)
    seconds = time.perf_counter() - begin
    if running.returncode not in codes:
        sys.exit(f"capcli {' '.join(arguments)} ended with {running.returncode}")
    return Ran(firsts[0] if firsts else None, seconds, spent() - cpu, most, max(loaders.values(), default=0.0))


def spent() -> float:
    """Seconds of the processors that ended processes have taken, with those that they waited for."""
    times = os.times()
    return times.children_user + times.children_system


def peak(process: int) -> float:
    """Megabytes."""
    with suppress(OSError, ValueError, IndexError):
        status = Path(f"/proc/{process}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6
    return 0.0


def _drain(stream: BinaryIO, begin: float, firsts: list[float]) -> None:
    for _ in stream:
        if not firsts:
            firsts.append(time.perf_counter() - begin)


def _feed(stream: BinaryIO, photo: Path, count: int) -> None:
    with suppress(BrokenPipeError), stream:
        stream.write(f"{photo}\n".encode())
        stream.flush()
        for start in range(1, count, 1000):
            numbers = range(start, min(start + 1000, count))
            stream.write("".join(f"photos/{number // 1000}/IMG_{number}.jpg\n" for number in numbers).encode())


_PARTS: dict[str, Callable[[Path, Sequence[int]], None]] = {
    "first": first,
    "resume": resume,
    "tree": tree_of_files,
    "list": lists,
    "rows": rows,
}

if __name__ == "__main__":
    main()
