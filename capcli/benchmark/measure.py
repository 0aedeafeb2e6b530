"""Photos -> a `Benchmark`: every stage alone, whole runs, and the limits that capcli holds itself to.

What is compared takes turns, round by round, so that both see the same machine; figures are medians of the rounds.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from capcli.benchmark import photos as generated
from capcli.benchmark import processes
from capcli.benchmark.machine import machine, precision, versions
from capcli.benchmark.report import Benchmark, Limit, Stage
from capcli.bundle.precision import INT8
from capcli.caption_settings import CaptionSettings
from capcli.captioner import Captioner
from capcli.captioning import CaptioningRun
from capcli.errors import ImageError, UsageError
from capcli.inputs.paths import InputItem
from capcli.opening import LANES_FOR_MANY
from capcli.outputs.destinations import Destinations
from capcli.outputs.provenance import ProvenanceMemory
from capcli.outputs.row_file import RowFile
from capcli.outputs.rows import Row, row_format
from capcli.pipeline import PipelineSettings
from capcli.runtime.int8_speed import measure_int8_speed

# Of 12 megapixels each; they take a while to make.
_LARGE_PHOTOS = 8
# Starts of a process for each round: they vary more than what runs inside one.
_STARTS = 3


@dataclass(frozen=True)
class BenchmarkSettings:
    """How it is measured.

    `batch_size` and `workers` as a run has them, None for a run's own batches; `threads` None for one a core; `limit`:
    photos at most; `rounds`: how often each measurement is made.
    """

    model: str = "default"
    provider: str = "auto"
    threads: int | None = None
    batch_size: int | None = None
    workers: int = 2
    limit: int = 96
    rounds: int = 3


def measure(
    paths: Sequence[str], settings: BenchmarkSettings, version: str, note: Callable[[str], None] = lambda line: None
) -> Benchmark:
    """Measures on photos of the user's, or on generated ones where `paths` is empty.

    Args:
        paths: photos; those beyond `settings.limit` are left alone, and those that cannot be read are left out.
        settings: how.
        version: capcli's.
        note: told in one line what is being done, and of each photo that cannot be read.
    Raises:
        UsageError: none of the photos can be read.
        BundleError, ProviderError: the model cannot be loaded.
    """
    captioner = Captioner(settings.model, provider=settings.provider, threads=settings.threads)
    many = Captioner(captioner.bundle, provider=captioner.provider, threads=captioner.threads, lanes=LANES_FOR_MANY)
    with tempfile.TemporaryDirectory(prefix="capcli-bench-") as name:
        folder = Path(name)
        large: list[Path] = []
        failed = 0
        if paths:
            chosen = [Path(path) for path in paths[: settings.limit]]
        else:
            note("making photos")
            chosen = generated.write_photos(folder, settings.limit, generated.SMALL)
            large = generated.write_photos(folder, min(_LARGE_PHOTOS, settings.limit), generated.LARGE, seed=1)
        small = []
        for path in chosen:
            try:
                captioner.load(path)
                small.append(path)
            except ImageError as error:
                failed += 1
                note(f"{path}: {error}")
        if not small:
            raise UsageError(f"none of the {len(chosen)} photos can be read")
        megabytes = sum(path.stat().st_size for path in small) / 1e6
        meter = _Meter(captioner, many, settings, folder, note)
        stages = meter.stages(small)
        limits, rates = meter.runs(small, large)
        left_out = {} if large else dict.fromkeys(("large_photos", "loading"), "generated photos are needed: name none")
        limits += meter.int8(left_out)
        limits += meter.starts(small[0], left_out)
        limits += meter.memory(small, left_out)
    search = captioner.settings()
    return Benchmark(
        machine=machine(),
        versions=versions(version),
        model={
            "name": captioner.bundle.manifest.name,
            "weights": captioner.bundle.fingerprint,
            "provider": captioner.provider,
            "provider_note": captioner.provider_note,
            "precision": precision(captioner.bundle),
            "input_size": captioner.input_size,
            "beam": search.beam,
            "batch_size": meter.batch_size,
            "workers": settings.workers,
            "threads": meter.threads,
            "lanes": many.lanes,
        },
        photos={
            "generated": not paths,
            "measured": len(small),
            "unreadable": failed,
            "megabytes": megabytes,
            "rounds": settings.rounds,
        },
        stages=stages,
        photos_per_second=rates[0],
        encoder_per_second=rates[1],
        limits=tuple(limits),
        left_out=left_out,
    )


class _Meter:
    """Measures a model: its stages as one photo has them, and whole runs as `many` photos; `folder` holds what these
    write."""

    def __init__(
        self,
        captioner: Captioner,
        many: Captioner,
        settings: BenchmarkSettings,
        folder: Path,
        note: Callable[[str], None],
    ) -> None:
        self._captioner = captioner
        self._many = many
        self._settings = settings
        self._folder = folder
        self._note = note
        self._runs = 0
        self.threads = captioner.threads
        self.batch_size = settings.batch_size or many.batch_size

    def stages(self, photos: Sequence[Path]) -> tuple[Stage, ...]:
        """Each stage alone: loading in one thread, the graphs in all of theirs."""
        self._note(f"each stage alone, {len(photos)} photos")
        captioner, search = self._captioner, self._captioner.settings()
        batches = self._batches(photos)
        encoded = [captioner.encode(batch) for batch in batches]
        rows = [Row(str(path), "A photo of a meadow under a wide sky.", -0.5, None) for path in photos]
        taken = take_turns(
            self._settings.rounds,
            lambda: [captioner.load(path) for path in photos],
            lambda: [captioner.encode(batch) for batch in batches],
            lambda: [captioner.caption_encoded(outputs, search) for outputs in encoded],
            lambda: self._write(rows),
        )
        seconds = [statistics.median(each) / len(photos) for each in taken]
        names = ("load", "encode", "search", "write")
        return tuple(Stage(name, each, each / sum(seconds)) for name, each in zip(names, seconds, strict=True))

    def runs(self, photos: Sequence[Path], large: Sequence[Path]) -> tuple[list[Limit], tuple[float, float]]:
        """Whole runs beside each other: limits, and photos a second of the whole run and of the encoder alone."""
        self._note(f"whole runs, {len(photos)} photos" + (f" and {len(large)} of 12 megapixels" if large else ""))
        batches = self._batches(photos)
        size = self._captioner.input_size
        encoder, whole, greedy, *of_large = take_turns(
            self._settings.rounds,
            lambda: [self._captioner.encode(batch) for batch in batches],
            lambda: self._caption(photos),
            lambda: self._caption(photos, beam=1),
            *(
                (
                    lambda: self._caption(large),
                    lambda: [self._captioner.load(path) for path in large],
                    lambda: [_reduced(path, size) for path in large],
                )
                if large
                else ()
            ),
        )
        beam = self._captioner.settings().beam
        limits = [
            ratio("whole_run", "whole run / encoder alone, photos a second", encoder, whole, 0.75, at_most=False),
            ratio("beam", f"beam {beam} / greedy, time of a whole run", whole, greedy, 1.25),
        ]
        if large:
            runs, loading, reduced = of_large
            each = len(photos) / len(large)
            limits += [
                ratio(
                    "large_photos",
                    "12-megapixel photos / 500 x 375, time of a whole run",
                    [each * seconds for seconds in runs],
                    whole,
                    3.5,
                ),
                ratio("loading", "loading them / Pillow's reduced-size decoding, time", loading, reduced, 1.1),
            ]
        return limits, (len(photos) / statistics.median(whole), len(photos) / statistics.median(encoder))

    def int8(self, left_out: dict[str, str]) -> list[Limit]:
        """A block of an encoder's layers in int8 beside float32, where the model computes in int8."""
        if self._captioner.bundle.manifest.precision.encoder != INT8:
            left_out["int8"] = "the model computes in float32"
            return []
        found = measure_int8_speed(self._captioner.provider, self.threads)
        return [
            Limit("int8", "float32 / int8, time of a block of layers", found.ratio, found.low, found.high, 1, False)
        ]

    def starts(self, photo: Path, left_out: dict[str, str]) -> list[Limit]:
        """One photo from a cold shell beside a bare script."""
        if self._captioner.provider != "cpu":
            left_out["cold_start"] = "measured on the CPU alone"
            return []
        self._note("one photo from a cold shell")
        bundle = self._captioner.bundle
        encoder, decoder = bundle.path("encoder"), bundle.path("decoder")
        ours, bare = take_turns(
            _STARTS * self._settings.rounds,
            lambda: processes.capcli_start(photo, self._options()),
            lambda: processes.bare_start(encoder, decoder, photo, self._captioner.input_size, self.threads),
        )
        return [ratio("cold_start", "one photo, cold / a bare script, time", ours, bare, 1.3)]

    def memory(self, photos: Sequence[Path], left_out: dict[str, str]) -> list[Limit]:
        """Peak memory of a run in a process of its own."""
        self._note("memory of a whole run")
        options = [*self._options(), "--batch-size", str(self.batch_size)]
        options += ["--workers", str(self._settings.workers)]
        peaks = [processes.capcli_run(photos, options).peak_megabytes for _ in range(self._settings.rounds)]
        known = [peak for peak in peaks if peak is not None]
        if not known:
            left_out["memory"] = "this system does not tell a process's peak memory"
            return []
        middle = statistics.median(known)
        return [Limit("memory", "peak memory of a whole run", middle, min(known), max(known), 400, True, "MB")]

    def _options(self) -> list[str]:
        bundle, provider = self._captioner.bundle.folder.resolve(), self._captioner.provider
        return ["--model", str(bundle), "--provider", provider, "--threads", str(self.threads)]

    def _batches(self, photos: Sequence[Path]) -> list[np.ndarray]:
        pixels = [self._captioner.load(path) for path in photos]
        size = self._settings.batch_size or self._captioner.batch_size
        return [np.stack(pixels[begin : begin + size]) for begin in range(0, len(pixels), size)]

    def _caption(self, photos: Sequence[Path], beam: int | None = None) -> None:
        """What `capcli caption` does once the model is loaded, but that threads read the photos, not processes."""
        speed = PipelineSettings(self.batch_size, self._settings.workers)
        run = CaptioningRun(lambda: self._many, CaptionSettings(beam=beam), Destinations(self._csv()), speed)
        run.run(InputItem(str(path)) for path in photos)

    def _write(self, rows: Sequence[Row]) -> None:
        file = self._csv()
        with file.opened():
            for row in rows:
                file.wants(row.path)
                file.put([row])

    def _csv(self) -> RowFile:
        self._runs += 1
        memory = ProvenanceMemory(self._folder / "state")
        return RowFile(self._folder / f"captions-{self._runs}.csv", row_format("csv", ranked=False), memory=memory)


def take_turns(rounds: int, *jobs: Callable[[], object]) -> list[list[float]]:
    """Seconds of each job in each round; a first round, which warms up, is not counted."""
    seconds: list[list[float]] = [[] for _ in jobs]
    for number in range(rounds + 1):
        for job, taken in zip(jobs, seconds, strict=True):
            begin = time.perf_counter()
            done = job()
            # A process says itself how long it ran, without what measured it.
            spent = done.seconds if isinstance(done, processes.Ran) else time.perf_counter() - begin
            if number:
                taken.append(spent)
    return seconds


def ratio(
    key: str, what: str, above: Sequence[float], below: Sequence[float], target: float, *, at_most: bool = True
) -> Limit:
    """The ratio of each round, and their median."""
    ratios = [one / other for one, other in zip(above, below, strict=True)]
    return Limit(key, what, statistics.median(ratios), min(ratios), max(ratios), target, at_most)


def _reduced(path: Path, size: int) -> np.ndarray:
    """Decodes a JPEG as small as Pillow thinks well for a thumbnail of `size`."""
    with Image.open(path) as image:
        image.thumbnail((size, size), Image.Resampling.BICUBIC)
        return np.asarray(image)
