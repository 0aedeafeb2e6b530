"""Streams of inputs: in order, in a bounded window, without waiting for what is not there yet."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given as given_any
from hypothesis import settings
from hypothesis import strategies as st

from capcli import BundleError, CapcliError, Caption, Captioner, ImageError, UsageError
from capcli.pipeline import Pipeline, PipelineInput, PipelineSettings, Result
from tests.conftest import RunCommand, command, environment, python
from tests.processes import left_over
from tests.shapes import COLOURS, GROUNDS, SHAPES, draw


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """24 photos and, among them, three files that are none."""
    folder = tmp_path_factory.mktemp("photos")
    paths = []
    for n, (shape, colour, ground) in enumerate((s, c, g) for s in SHAPES for c in COLOURS for g in GROUNDS):
        draw(shape, colour, ground, 1000 + n, 64).save(folder / f"{n}.png")
        paths.append(str(folder / f"{n}.png"))
    for n in (0, 5, 20):
        (folder / f"bad{n}.png").write_text("no photo")
        paths.insert(n, str(folder / f"bad{n}.png"))
    return paths


Input = PipelineInput[str]
Said = Result[str, Caption]


def pipeline_of(captioner: Captioner, **settings: int) -> Pipeline[Caption]:
    return captioner.pipeline(captioner.settings(), PipelineSettings(**settings))


def given(path: str) -> Input:
    return PipelineInput(path, path)


def run(captioner: Captioner, inputs: list[Input], **settings: int) -> list[Said]:
    return list(pipeline_of(captioner, **settings).run(inputs))


def said(results: list[Said]) -> list[tuple[str, str | None, str | None]]:
    return [(each.source, each.captions[0].text if each.captions else None, each.error) for each in results]


@pytest.mark.parametrize("batch_size", [1, 7, 32])
@pytest.mark.parametrize("workers", [1, 4])
def test_results_keep_the_order_and_do_not_depend_on_batches_or_workers(
    captioner: Captioner, photos: list[str], batch_size: int, workers: int
) -> None:
    items = [given(path) for path in photos]
    results = run(captioner, items, batch_size=batch_size, workers=workers)
    assert [result.source for result in results] == photos
    assert said(results) == said(run(captioner, items))
    assert sum(result.error is not None for result in results) == 3


def test_a_repeated_path_is_answered_each_time_and_looked_at_once(
    captioner: Captioner, photos: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[object] = []
    load = captioner.load

    def counted(image: str, **how: Any) -> np.ndarray:
        loaded.append(image)
        return load(image, **how)

    monkeypatch.setattr(captioner, "load", counted)
    order = [photos[1], photos[1], photos[0], photos[2], photos[1], photos[0]] * 20
    results = run(captioner, [given(path) for path in order])
    assert [result.source for result in results] == order
    assert len({result.captions[0].text for result in results if result.source == photos[1]}) == 1
    assert len(loaded) == 3


def test_a_changed_file_is_looked_at_again(captioner: Captioner, tmp_path: Path) -> None:
    path = tmp_path / "x.png"

    def items() -> Iterator[Input]:
        for colour in ("red", "blue"):
            draw("circle", colour, "white", 1000, 64).save(path)
            yield given(str(path))
            # The next one is drawn over this one only once it has been read.
            assert read.acquire(timeout=10)

    read = threading.Semaphore(0)
    texts = []
    for result in pipeline_of(captioner).run(items()):
        texts.append(result.captions[0].text)
        read.release()
    assert ["red" in texts[0], "blue" in texts[1]] == [True, True]


def test_an_error_of_the_source_comes_after_the_results_before_it(captioner: Captioner, photos: list[str]) -> None:
    def items() -> Iterator[Input]:
        yield given(photos[1])
        raise OSError("the disk is gone")

    results = pipeline_of(captioner).run(items())
    assert next(results).source == photos[1]
    with pytest.raises(OSError, match="the disk is gone"):
        next(results)


def test_no_more_inputs_are_taken_than_the_window_holds(captioner: Captioner, photos: list[str]) -> None:
    taken = 0

    def items() -> Iterator[Input]:
        nonlocal taken
        for n in range(500):
            taken += 1
            yield given(f"/no/such/file{n}")

    results = pipeline_of(captioner, batch_size=4).run(items())
    for answered in range(1, 101):
        next(results)
        if answered == 50:
            # Whoever takes results slowly holds back the rest.
            time.sleep(0.2)
        assert taken <= answered + 4 * 4 + 2
    results.close()


def test_a_stopped_pipeline_answers_what_it_has_taken(captioner: Captioner, photos: list[str]) -> None:
    taken = 0

    def endless() -> Iterator[Input]:
        nonlocal taken
        for path in photos * 1000:
            taken += 1
            yield given(path)

    pipeline = pipeline_of(captioner, batch_size=4)
    results = []
    for result in pipeline.run(endless()):
        results.append(result)
        if len(results) == 10:
            pipeline.stop()
    assert 10 <= len(results) < 200 and taken < 300
    assert [result.source for result in results] == (photos * 20)[: len(results)]


def test_what_loads_and_what_captions_may_be_any_functions() -> None:
    def load(image: int) -> np.ndarray:
        if image % 5 == 0:
            raise ImageError("is a multiple of five")
        if image % 7 == 0:
            raise RuntimeError("seven")
        return np.full((2, 2, 3), image, np.uint8)

    def double(pixels: np.ndarray) -> list[list[int]]:
        assert pixels.shape[1:] == (2, 2, 3)
        return [[2 * int(image[0, 0, 0])] for image in pixels]

    inputs = [PipelineInput(f"n{n}", n, "is known" if n == 3 else None) for n in range(1, 15)]
    results: list[Result[str, int]] = []
    pipeline = Pipeline(load, double, PipelineSettings(batch_size=4))
    # A thread that reads images and dies would be waited for without end.
    running = threading.Thread(target=lambda: results.extend(pipeline.run(inputs)), daemon=True)
    running.start()
    running.join(20)
    assert [result.source for result in results] == [given.source for given in inputs]
    errors = {result.source: result.error for result in results if result.error is not None}
    seven = "cannot be read (RuntimeError: seven)"
    five = "is a multiple of five"
    assert errors == {"n3": "is known", "n5": five, "n7": seven, "n10": five, "n14": seven}
    assert all(result.captions == (2 * int(result.source[1:]),) for result in results if result.error is None)


# Photos by number, of which each fifth cannot be read; texts are errors that are known before.
INPUTS = st.lists(st.one_of(st.integers(1, 9), st.just("is known")), max_size=30)


@settings(max_examples=25, deadline=None)
@given_any(
    inputs=INPUTS,
    batch_size=st.integers(1, 5),
    workers=st.integers(1, 3),
    lanes=st.integers(1, 3),
    slow=st.sets(st.integers(1, 9), max_size=2),
    named=st.booleans(),
)
def test_every_input_has_its_own_answer_in_its_turn(
    inputs: list[int | str],
    batch_size: int,
    workers: int,
    lanes: int,
    slow: set[int],
    named: bool,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Whatever comes between, however often a file is named, however long one takes, whatever is captioned together."""
    folder = tmp_path_factory.mktemp("numbers")
    for number in range(1, 10) if named else ():
        (folder / str(number)).write_bytes(b"x" * number)

    def load(image: str) -> np.ndarray:
        number = int(Path(image).name)
        if number in slow:
            time.sleep(0.003)
        if number % 5 == 0:
            raise ImageError(f"{number} is a multiple of five")
        return np.full((2, 2, 3), number, np.uint8)

    def say(pixels: np.ndarray) -> list[list[int]]:
        assert 1 <= len(pixels) <= math.ceil(batch_size / lanes)
        if int(pixels[0, 0, 0, 0]) in slow:
            time.sleep(0.003)
        return [[int(image[0, 0, 0]), 0] for image in pixels]

    def wanted(image: int | str) -> tuple[tuple[int, ...], str | None]:
        if isinstance(image, str):
            return (), image
        return ((), f"{image} is a multiple of five") if image % 5 == 0 else ((image, 0), None)

    given_inputs = [
        PipelineInput(place, str(folder / str(image)), image if isinstance(image, str) else None)
        for place, image in enumerate(inputs)
    ]
    results = list(Pipeline(load, say, PipelineSettings(batch_size, workers), lanes).run(given_inputs))
    assert [result.source for result in results] == list(range(len(inputs)))
    assert [(result.captions, result.error) for result in results] == list(map(wanted, inputs))


def red(image: object) -> np.ndarray:
    return np.zeros((2, 2, 3), np.uint8)


def words(pixels: np.ndarray) -> list[list[str]]:
    return [["said"] for _ in pixels]


class Lanes:
    """Captions nothing before two batches have been in hand at the same time; remembers how many there were at most."""

    def __init__(self) -> None:
        self._met = threading.Event()
        self._lock = threading.Lock()
        self._now = 0
        self.most = 0
        self.sizes: list[int] = []

    def caption(self, pixels: np.ndarray) -> list[list[str]]:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
            self.sizes.append(len(pixels))
        if self._now == 2:
            self._met.set()
        assert self._met.wait(5), "a batch was alone"
        time.sleep(0.01)
        with self._lock:
            self._now -= 1
        return words(pixels)


def test_batches_are_captioned_in_lanes_of_which_each_has_its_share() -> None:
    lanes = Lanes()
    pipeline = Pipeline(red, lanes.caption, PipelineSettings(batch_size=6), lanes=2)
    results = list(pipeline.run(PipelineInput(n, n) for n in range(24)))
    assert [(result.source, result.error) for result in results] == [(n, None) for n in range(24)]
    assert lanes.most == 2 and max(lanes.sizes) <= 3


def test_what_is_left_at_the_end_is_shared_out() -> None:
    ended = threading.Event()
    lanes = Lanes()

    def inputs() -> Iterator[PipelineInput[int]]:
        yield from (PipelineInput(n, n) for n in range(8))
        ended.set()

    def load(image: int) -> np.ndarray:
        if image == 7:
            assert ended.wait(10)
            time.sleep(0.05)
        return red(image)

    # There would be room for all of them in one lane.
    pipeline = Pipeline(load, lanes.caption, PipelineSettings(batch_size=16, flush_after_s=5), lanes=2)
    assert len(list(pipeline.run(inputs()))) == 8
    assert max(lanes.sizes) == 4 and sum(lanes.sizes) == 8


def test_what_comes_while_no_lane_is_free_is_captioned_together() -> None:
    begun, all_given = threading.Event(), threading.Event()
    sizes: list[int] = []

    def inputs() -> Iterator[PipelineInput[int]]:
        yield PipelineInput(0, 0)
        assert begun.wait(5)
        for number in range(1, 5):
            time.sleep(0.03)
            yield PipelineInput(number, number)
        time.sleep(0.03)
        all_given.set()
        time.sleep(0.1)

    def caption(pixels: np.ndarray) -> list[list[str]]:
        sizes.append(len(pixels))
        begun.set()
        assert all_given.wait(5)
        return words(pixels)

    settings = PipelineSettings(batch_size=8, flush_after_s=0.01)
    assert len(list(Pipeline(red, caption, settings).run(inputs()))) == 5
    assert sizes == [1, 4]


def test_what_waits_for_no_more_is_shared_out() -> None:
    lanes = Lanes()
    answered = threading.Event()

    def inputs() -> Iterator[PipelineInput[int]]:
        yield from (PipelineInput(n, n) for n in range(5))
        # Whoever types paths has typed these, and waits.
        answered.wait(5)

    for number, _ in enumerate(Pipeline(red, lanes.caption, PipelineSettings(batch_size=16), lanes=2).run(inputs())):
        if number == 4:
            answered.set()
    assert lanes.sizes[0] < 5 and sum(lanes.sizes) == 5


@pytest.mark.parametrize("lanes", [1, 2])
def test_what_captioning_raises_comes_after_the_results_before_it(lanes: int) -> None:
    def caption(pixels: np.ndarray) -> list[list[str]]:
        if pixels[0, 0, 0, 0] == 6:
            raise BundleError("the decoder is broken")
        time.sleep(0.05)
        return words(pixels)

    def load(image: int) -> np.ndarray:
        return np.full((2, 2, 3), image, np.uint8)

    said = []
    with pytest.raises(BundleError, match="is broken"):
        pipeline = Pipeline(load, caption, PipelineSettings(batch_size=lanes), lanes=lanes)
        for result in pipeline.run(PipelineInput(n, n) for n in range(20)):
            said.append((result.source, result.captions))
    assert said == [(n, ("said",)) for n in range(6)]


def test_a_closed_run_has_nothing_in_hand() -> None:
    now = 0

    def caption(pixels: np.ndarray) -> list[list[str]]:
        nonlocal now
        now += 1
        time.sleep(0.12)
        now -= 1
        return words(pixels)

    results = Pipeline(red, caption, PipelineSettings(batch_size=2)).run(PipelineInput(n, n) for n in range(50))
    next(results)
    # A batch is in the lane by then, and the next one waits for it.
    time.sleep(0.05)
    closing = threading.Thread(target=results.close, daemon=True)
    closing.start()
    closing.join(5)
    assert not closing.is_alive() and now == 0


# Ctrl-C while a batch is captioned, and once more while its end is waited for.
TWICE_INTERRUPTED = """
import os, signal, time
import numpy as np
from capcli.pipeline import Pipeline, PipelineInput, PipelineSettings

def caption(pixels):
    for _ in range(2):
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.3)
    print("finished", flush=True)
    return [["said"] for _ in pixels]

load = lambda image: np.zeros((2, 2, 3), np.uint8)
signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    list(Pipeline(load, caption, PipelineSettings(1)).run([PipelineInput(0, 0)]))
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_what_is_being_captioned_is_waited_for_however_often_it_is_interrupted() -> None:
    done = python(TWICE_INTERRUPTED)
    assert (done.code, done.text.split(), done.errors) == (0, ["interrupted", "finished"], "")


def pipeline_threads() -> int:
    return sum(thread.name.startswith("capcli-") for thread in threading.enumerate())


def test_a_pipeline_may_run_again() -> None:
    pipeline = Pipeline(red, words, PipelineSettings(batch_size=2))
    for _ in range(2):
        assert [result.source for result in pipeline.run(PipelineInput(n, n) for n in range(5))] == [0, 1, 2, 3, 4]


def test_a_closed_run_reads_no_more_images() -> None:
    read = 0

    def slow(image: int) -> np.ndarray:
        nonlocal read
        read += 1
        time.sleep(0.05)
        return red(image)

    results = Pipeline(slow, words, PipelineSettings(batch_size=16, workers=1)).run(
        PipelineInput(n, n) for n in range(500)
    )
    next(results)
    results.close()
    before = read
    end = time.monotonic() + 2
    while pipeline_threads() and time.monotonic() < end:
        time.sleep(0.01)
    # What waited to be read is left, whatever it would have taken.
    assert pipeline_threads() == 0 and read <= before + 1


def files(folder: Path, count: int) -> list[str]:
    for number in range(count):
        (folder / str(number)).write_bytes(b"x")
    return [str(folder / str(number)) for number in range(count)]


def one_at_a_time(paths: list[str]) -> list[str]:
    """What is loaded when each is asked for only after the one before has been answered."""
    loaded: list[str] = []
    answered = threading.Semaphore(1)

    def load(path: str) -> np.ndarray:
        loaded.append(Path(path).name)
        return red(path)

    def inputs() -> Iterator[Input]:
        for path in paths:
            assert answered.acquire(timeout=10)
            yield given(path)

    for _ in Pipeline(load, words, PipelineSettings(batch_size=1)).run(inputs()):
        answered.release()
    return loaded


def test_files_are_remembered_by_use_and_not_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("capcli.jobs._REMEMBERED", 3)
    a, b, c, d = files(tmp_path, 4)
    # d takes the place of b, since a has been used after it; e takes that of c.
    assert one_at_a_time([a, b, c, a, d, a, b]) == ["0", "1", "2", "3", "1"]


def test_a_file_of_the_same_size_is_another_one_once_it_has_changed(tmp_path: Path) -> None:
    (path,) = files(tmp_path, 1)
    seen: list[bytes] = []
    answered = threading.Semaphore(1)

    def load(image: str) -> np.ndarray:
        seen.append(Path(image).read_bytes())
        return red(image)

    def inputs() -> Iterator[Input]:
        for content in (b"x", b"y"):
            assert answered.acquire(timeout=10)
            Path(path).write_bytes(content)
            os.utime(path, ns=(0, ord(content)))
            yield given(path)

    for _ in Pipeline(load, words, PipelineSettings()).run(inputs()):
        answered.release()
    assert seen == [b"x", b"y"]


def test_a_slow_photo_holds_back_none_before_it() -> None:
    first_answered = threading.Event()

    def load(image: int) -> np.ndarray:
        if image == 1:
            assert first_answered.wait(10)
        return red(image)

    results = Pipeline(load, words, PipelineSettings(batch_size=8)).run(PipelineInput(n, n) for n in range(3))
    assert next(results).source == 0
    first_answered.set()
    assert [(result.source, result.error) for result in results] == [(1, None), (2, None)]


def test_pixels_are_let_go_with_their_captions(tmp_path: Path) -> None:
    alive: list[weakref.ref[np.ndarray]] = []
    lock = threading.Lock()

    def load(path: str) -> np.ndarray:
        pixels = np.zeros((2, 2, 3), np.uint8)
        with lock:
            alive.append(weakref.ref(pixels))
        return pixels

    paths = files(tmp_path, 60)
    most = 0
    for _ in Pipeline(load, words, PipelineSettings(batch_size=4)).run(map(given, paths)):
        with lock:
            most = max(most, sum(reference() is not None for reference in alive))
    assert len(alive) == 60 and most <= 12


@pytest.mark.parametrize("ahead", [1, 3])
def test_a_started_batch_is_captioned_before_the_next_input_comes(ahead: int) -> None:
    answered = threading.Event()
    waited_in_vain = False

    def inputs() -> Iterator[PipelineInput[int]]:
        nonlocal waited_in_vain
        yield from (PipelineInput(n, n) for n in range(ahead))
        # Whoever feeds the pipeline wants what it gave captioned first, and the batch has room for more.
        waited_in_vain = not answered.wait(5)
        yield PipelineInput(ahead, ahead)

    said = []
    for result in Pipeline(red, words, PipelineSettings(batch_size=4)).run(inputs()):
        said.append(result.source)
        if len(said) == ahead:
            answered.set()
    assert said == list(range(ahead + 1))
    assert not waited_in_vain


def test_an_error_waits_for_no_batch() -> None:
    answered = threading.Event()
    in_vain: list[bool] = []

    def inputs() -> Iterator[PipelineInput[int]]:
        yield PipelineInput(0, 0, "is known")
        in_vain.append(not answered.wait(4))

    for result in Pipeline(red, words, PipelineSettings(batch_size=4, flush_after_s=8)).run(inputs()):
        assert result.error == "is known"
        answered.set()
    assert in_vain == [False]


def test_a_picture_waits_behind_no_endless_line_of_errors() -> None:
    taken = 0

    def inputs() -> Iterator[PipelineInput[int]]:
        nonlocal taken
        for number in range(2000):
            taken += 1
            yield PipelineInput(number, number, "is known" if number else None)

    results = Pipeline(red, words, PipelineSettings(batch_size=4, flush_after_s=8)).run(inputs())
    assert next(results).source == 0 and taken < 40
    results.close()


def test_a_stop_is_heard_while_an_input_is_waited_for() -> None:
    never = threading.Event()

    def inputs() -> Iterator[PipelineInput[int]]:
        yield PipelineInput(0, 0)
        never.wait(20)

    pipeline = Pipeline(red, words, PipelineSettings(batch_size=4))
    results = pipeline.run(inputs())
    started = time.monotonic()
    # A started batch is not waited for ...
    assert next(results).source == 0
    threading.Timer(0.2, pipeline.stop).start()
    # ... and neither is an input that does not come.
    assert list(results) == []
    assert time.monotonic() - started < 10
    never.set()


@pytest.mark.parametrize("settings", [{"batch_size": 0}, {"workers": 0}, {"max_pixels": 0}])
def test_a_pipeline_that_could_not_move_is_refused(settings: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="must be at least 1, not 0"):
        PipelineSettings(**settings)


def start(*arguments: str | Path, **pipes: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen([command(), "caption", *arguments], env=environment(), bufsize=0, **pipes)


def test_a_feeder_that_waits_for_each_caption_is_answered(photos: list[str], tiny: Path) -> None:
    process = start("-", "--model", tiny, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None and process.stdout is not None
    guard = threading.Timer(60, process.kill)
    guard.start()
    good = [path for path in photos if "bad" not in path][:20]
    for path in good:
        process.stdin.write(path.encode() + b"\n")
        process.stdin.flush()
        assert process.stdout.readline().startswith(path.encode() + b"\tA ")
    process.stdin.close()
    assert process.wait(30) == 0
    guard.cancel()


def test_a_closed_pipe_ends_the_run_quietly(photos: list[str], tiny: Path) -> None:
    feeder = subprocess.Popen(["yes", photos[1]], stdout=subprocess.PIPE)
    process = start("-", "--model", tiny, stdin=feeder.stdout, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert feeder.stdout is not None and process.stdout is not None and process.stderr is not None
    feeder.stdout.close()
    assert process.stdout.readline().startswith(photos[1].encode() + b"\tA ")
    process.stdout.close()
    assert process.wait(60) == 0
    assert process.stderr.read() == b""
    feeder.wait(60)


def test_ctrl_c_writes_what_is_done_and_ends_with_130(photos: list[str], tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    process = start("-", "--model", tiny, "-o", out, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdin is not None and process.stderr is not None
    process.stdin.write(photos[1].encode() + b"\n")
    while not out.exists() or out.read_bytes().count(b"\n") < 2:
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    errors = process.stderr.read().decode()
    assert errors.count("\n") == 1 and "stopped" in errors
    assert out.read_bytes().count(b"\n") == 2
    process.stdin.close()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_sigterm_or_a_kill_ends_loses_nothing_and_leaves_no_process(
    how: signal.Signals, photos: list[str], tiny: Path, tmp_path: Path
) -> None:
    out = tmp_path / "x.csv"
    process = start(
        *("-", "--model", tiny, "-o", out), stdin=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    assert process.stdin is not None and process.stderr is not None
    process.stdin.write(f"{photos[1]}\n{photos[2]}\n".encode())
    while not out.exists() or out.read_bytes().count(b"\n") < 3:
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(how)
    assert process.wait(60) == (143 if how == signal.SIGTERM else -signal.SIGKILL)
    assert process.stderr.read() == b"" and out.read_bytes().count(b"\n") == 3
    assert sys.platform != "linux" or left_over(process.pid) == []
    process.stdin.close()


def test_an_image_on_standard_input_is_captioned(capcli: RunCommand, photos: list[str], tiny: Path) -> None:
    named = capcli("caption", photos[1], "--model", tiny)
    piped = capcli("caption", "-", "--model", tiny, stdin=Path(photos[1]).read_bytes())
    assert (piped.code, piped.out, piped.err) == (0, named.out, b"")


@pytest.mark.parametrize("option", ["--max-pixels", "--threads", "--workers", "--batch-size", "--captions"])
def test_counts_below_1_start_nothing(option: str, capcli: RunCommand, photos: list[str], tmp_path: Path) -> None:
    for value in ("0", "-5"):
        done = capcli("caption", photos[1], option, value, "-o", tmp_path / "x.csv")
        assert (done.code, done.out) == (2, b"")
        assert done.errors == f"capcli: {option} is {value}; it must be at least 1\n"
    assert not (tmp_path / "x.csv").exists()


@pytest.mark.parametrize("option", ["--beam", "--captions", "--max-length", "--batch-size", "--workers", "--threads"])
def test_counts_beyond_all_use_start_nothing(option: str, capcli: RunCommand, photos: list[str]) -> None:
    done = capcli("caption", photos[1], option, "1000000000", "--model", "no such model")
    assert (done.code, done.out, done.errors.count("\n")) == (2, b"", 1)
    assert done.errors.startswith(f"capcli: {option} is 1000000000; it must be at most ")


def test_the_limit_on_pixels_is_the_users_to_set(capcli: RunCommand, photos: list[str], tiny: Path) -> None:
    done = capcli("caption", photos[1], "--max-pixels", "100", "--model", tiny)
    assert done.code == 1 and "is too large: 64 x 64 pixels, more than 100" in done.errors
    assert capcli("caption", photos[1], "--max-pixels", "4096", "--model", tiny).code == 0


def test_nothing_on_standard_input_starts_nothing(capcli: RunCommand, tiny: Path) -> None:
    done = capcli("caption", "-", "--model", tiny, stdin=b"")
    assert (done.code, done.out, done.errors.count("\n")) == (2, b"", 1)


def test_images_that_come_as_bytes_are_taken_as_fast_as_they_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("capcli.jobs._MOST_BYTES_WAITING", 3000)
    taken, decoding = 0, threading.Semaphore(0)

    def load(image: bytes) -> np.ndarray:
        decoding.acquire()
        return np.zeros((1, 1, 3), np.uint8)

    def images() -> Iterator[PipelineInput[int]]:
        nonlocal taken
        for number in range(20):
            taken += 1
            yield PipelineInput(number, bytes(1000))

    pipeline = Pipeline(load, lambda pixels: [("said",)] * len(pixels), PipelineSettings(batch_size=16, workers=1))
    results = pipeline.run(images())
    first = threading.Thread(target=lambda: next(results))
    first.start()
    # More than 3,000 bytes are four images; the window would take 32 of them.
    deadline = time.monotonic() + 10
    while taken < 4 and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.3)
    assert taken == 4
    decoding.release()
    while taken < 5 and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.3)
    assert taken == 5
    for _ in range(20):
        decoding.release()
    first.join(10)
    assert [result.source for result in results] == list(range(1, 20))


def test_a_run_without_anything_to_read_photos_in_ends_after_the_results_before_it() -> None:
    def load(image: str) -> np.ndarray:
        if image == "c":
            raise CapcliError("no process can be started")
        return np.zeros((8, 8, 3), np.uint8)

    found = []
    with pytest.raises(CapcliError, match="no process"):
        for result in Pipeline(load, lambda pixels: [["x"]] * len(pixels), PipelineSettings()).run(map(given, "abcd")):
            found.append(result.source)
    assert found == ["a", "b"]
