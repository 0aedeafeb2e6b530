"""The feature cache: never a wrong row, whatever tears a write, however many runs share it; pruned and left out."""

from __future__ import annotations

import inspect
import json
import multiprocessing
import os
import pickle
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from hashlib import blake2b
from io import FileIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capcli import cli
from capcli.diagnosis import examine
from capcli.errors import DataError, OutputError
from capcli.inputs.images import PREPROCESSING
from capcli.outputs.file_lock import is_in_place, locked_by, try_lock, wait_for_lock
from capcli.training.inputs import cache as feature_store
from capcli.training.inputs.cache import FeatureStore, StoreWriter
from capcli.training.inputs.cache_folder import LOCK, cache_for_run, make_folder, prune, stores
from capcli.training.inputs.features import fill_store, load_for_training
from tests.conftest import TINY_BUNDLE, RunCommand, command, environment, python
from tests.shapes import write_data_set

SHAPE = (2, 3, 1)
ROW = 16 + 2 * 3 * 2
posix = pytest.mark.skipif(os.name == "nt", reason="needs signals, forks and limits of POSIX")


def key(number: int) -> str:
    return blake2b(str(number).encode(), digest_size=16).hexdigest()


def arrays(*numbers: int, shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """For each number an array that no other number has."""
    values = [np.random.default_rng(number).random(shape).astype(np.float16) for number in numbers]
    return np.array(values, np.float16).reshape(-1, *shape)


def add(store: FeatureStore, *numbers: int) -> None:
    with StoreWriter(store, silent) as writer:
        writer.append([key(number) for number in numbers], arrays(*numbers))


def silent(line: str) -> None:
    raise AssertionError(f"nothing to wait for, and yet: {line}")


def quiet(done: int, total: int) -> None: ...


def assert_right(store: FeatureStore, *numbers: int) -> None:
    """The store has these arrays, and no other."""
    assert len(store) == len(numbers)
    assert np.array_equal(store.read([key(number) for number in numbers]), arrays(*numbers))


def rows_file(folder: Path) -> Path:
    (path,) = folder.glob("rows.*")
    return path


# Torn writes


def test_what_was_added_is_there_for_the_next_run_in_any_order(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, SHAPE)
    add(store, 1, 2, 3)
    assert_right(store, 3, 1, 2)
    again = FeatureStore(tmp_path, SHAPE)
    add(again, 4)
    assert_right(again, 4, 2, 1, 3)
    assert key(4) not in store and np.array_equal(store.read([key(2)]), arrays(2))


def test_a_file_cut_off_at_any_byte_keeps_its_whole_rows_and_gets_the_others_back(tmp_path: Path) -> None:
    add(FeatureStore(tmp_path / "whole", SHAPE), 1, 2, 3)
    content = rows_file(tmp_path / "whole").read_bytes()
    assert len(content) == 3 * ROW
    for cut in range(len(content) + 1):
        path = tmp_path / str(cut) / rows_file(tmp_path / "whole").name
        path.parent.mkdir()
        path.write_bytes(content[:cut])
        store = FeatureStore(path.parent, SHAPE)
        whole = [1, 2, 3][: cut // ROW]
        assert [key(number) in store for number in (1, 2, 3)] == [number in whole for number in (1, 2, 3)]
        add(store, *(number for number in (1, 2, 3, 4) if key(number) not in store))
        assert_right(store, 1, 2, 3, 4)
        assert_right(FeatureStore(path.parent, SHAPE), 1, 2, 3, 4)


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """The system ends each write at this byte, as a full disk does."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@posix
@settings(max_examples=60, deadline=None)
@given(batches=st.lists(st.integers(1, 3), min_size=1, max_size=4), data=st.data(), every=st.booleans())
def test_a_write_that_ends_at_any_byte_loses_its_own_batch_alone(
    batches: list[int], data: st.DataObject, every: bool
) -> None:
    """Whether keys are written after each batch or at the end."""
    ends = np.cumsum(batches).tolist()
    cut = data.draw(st.integers(0, ends[-1] * ROW - 1))
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(feature_store, "_COMMIT_EVERY_S", 0.0 if every else 1e9)
        store = FeatureStore(Path(name), SHAPE)
        with (
            pytest.raises(OutputError, match=r"feature cache cannot be written: .*--cache"),
            file_size_limit(cut),
            StoreWriter(store, silent) as writer,
        ):
            for end, size in zip(ends, batches, strict=True):
                numbers = range(end - size, end)
                writer.append([key(number) for number in numbers], arrays(*numbers))
        kept = max([end for end in ends if end * ROW <= cut], default=0)
        assert len(store) == len(FeatureStore(Path(name), SHAPE)) == kept
        add(store, *range(kept, ends[-1] + 1))
        assert_right(store, *range(ends[-1] + 1))
        assert_right(FeatureStore(Path(name), SHAPE), *range(ends[-1] + 1))
        assert rows_file(Path(name)).stat().st_size == (ends[-1] + 1) * ROW


@pytest.mark.parametrize("written", range(16))
def test_a_row_whose_key_is_not_there_or_half_written_is_none(tmp_path: Path, written: int) -> None:
    add(FeatureStore(tmp_path, SHAPE), 1, 2)
    path = rows_file(tmp_path)
    content = bytearray(path.read_bytes())
    content[ROW + written : ROW + 16] = bytes(16 - written)
    path.write_bytes(content)
    store = FeatureStore(tmp_path, SHAPE)
    assert key(1) in store and key(2) not in store
    add(store, 2)
    assert np.array_equal(store.read([key(1), key(2)]), arrays(1, 2))
    # A row without any key was never finished: its place is used again.
    assert path.stat().st_size == (2 if written == 0 else 3) * ROW


@settings(max_examples=50, deadline=None)
@given(
    damage=st.lists(st.tuples(st.integers(0, 5 * ROW - 1), st.binary(min_size=1, max_size=20)), max_size=4),
    size=st.integers(0, 6 * ROW),
)
def test_no_damage_to_keys_or_length_makes_one_row_pass_for_another(damage: list[tuple[int, bytes]], size: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        store = FeatureStore(Path(name), SHAPE)
        add(store, *range(5))
        path = rows_file(Path(name))
        before = path.read_bytes()
        content = bytearray(before)
        for place, wrong in damage:
            content[place : place + len(wrong)] = wrong
        content = content[:size] + bytes(max(0, size - len(content)))
        path.write_bytes(content)
        fresh = FeatureStore(Path(name), SHAPE)
        for number in range(5):
            start = number * ROW
            intact = content[start : start + 16] == before[start : start + 16] and len(content) >= start + ROW
            assert (key(number) in fresh) is intact
            stored = bytes(content[start + 16 : start + ROW])
            if intact:
                assert fresh.read([key(number)]).tobytes() == stored == store.read([key(number)]).tobytes()
            else:
                with pytest.raises(DataError, match="run the same command again"):
                    store.read([key(number)])
        missing = [number for number in range(5) if key(number) not in fresh]
        add(fresh, *missing)
        assert np.array_equal(fresh.read([key(number) for number in missing]), arrays(*missing))


def test_another_shape_or_type_is_another_file(tmp_path: Path) -> None:
    add(FeatureStore(tmp_path, SHAPE), 1)
    assert key(1) not in FeatureStore(tmp_path, (3, 2, 1))
    assert key(1) not in FeatureStore(tmp_path, SHAPE, np.uint8)
    assert_right(FeatureStore(tmp_path, SHAPE), 1)


# Many processes


def add_by_twos(folder: Path, count: int) -> None:
    """What a filling process does: it learns what is there, and adds what is not, each pair with a commit."""
    feature_store._COMMIT_EVERY_S = 0.0
    store = FeatureStore(folder, (64, 64, 8))
    with StoreWriter(store, lambda line: None) as writer:
        for first in range(0, count, 2):
            numbers = [number for number in (first, first + 1) if key(number) not in store]
            if numbers:
                writer.append([key(number) for number in numbers], arrays(*numbers, shape=(64, 64, 8)))


def start_filler(folder: Path, count: int) -> subprocess.Popen[bytes]:
    # Without this module's imports, a process starts in no time.
    code = (
        "from __future__ import annotations\nimport sys\nfrom pathlib import Path\nimport numpy as np\n"
        "from hashlib import blake2b\nfrom capcli.training.inputs import cache as feature_store\n"
        "from capcli.training.inputs.cache import FeatureStore, StoreWriter\nSHAPE = ()\n"
    )
    code += "".join(inspect.getsource(function) for function in (key, arrays, add_by_twos))
    code += "add_by_twos(Path(sys.argv[1]), int(sys.argv[2]))"
    return subprocess.Popen([sys.executable, "-c", code, str(folder), str(count)], env=environment(OMP_NUM_THREADS="1"))


@posix
def test_a_run_that_reads_outlives_others_that_fill_and_are_killed(tmp_path: Path) -> None:
    shape, count = (64, 64, 8), 240
    early = FeatureStore(tmp_path, shape)
    with StoreWriter(early, silent) as writer:
        writer.append([key(-1)], arrays(1, shape=shape))
    sizes = [rows_file(tmp_path).stat().st_size]
    kills = 0
    while True:
        fillers = [start_filler(tmp_path, count) for _ in range(2)]
        end = (0.2, 0.6, 2.0)[kills] * count * early.row_bytes
        while any(filler.poll() is None for filler in fillers):
            assert np.array_equal(early.read([key(-1)]), arrays(1, shape=shape))
            sizes.append(rows_file(tmp_path).stat().st_size)
            if sizes[-1] > end:
                for filler in fillers:
                    filler.kill()
        codes = [filler.wait() for filler in fillers]
        store = FeatureStore(tmp_path, shape)
        here = [number for number in range(count) if key(number) in store]
        for number in here:
            assert np.array_equal(store.read([key(number)])[0], arrays(number, shape=shape)[0])
        if codes == [0, 0]:
            break
        kills += 1
    assert here == list(range(count)) and kills
    assert sizes == sorted(sizes), "the file became smaller"
    # Each was computed once but for those in flight when a run was killed, whose places were used again.
    assert sizes[-1] == (count + 1) * store.row_bytes


def test_a_second_fill_waits_says_so_once_and_computes_nothing_again(tmp_path: Path) -> None:
    paths = sorted(write_data_set(tmp_path / "data", copies=1, size=8).parent.glob("images/*"))
    shape = (8, 8, 3)
    first, second = (FeatureStore(tmp_path / "store", shape, np.uint8) for _ in range(2))
    lines: list[str] = []
    told = threading.Event()
    computed = []

    def note(line: str) -> None:
        lines.append(line)
        told.set()

    def compute(pixels: np.ndarray) -> np.ndarray:
        computed.append(len(pixels))
        return pixels

    def fill() -> None:
        fill_store(second, compute, paths, input_size=8, batch_size=4, progress=quiet, note=note)

    with StoreWriter(first, silent) as writer:
        thread = threading.Thread(target=fill)
        thread.start()
        assert told.wait(10)
        half = [load_for_training(path, 8) for path in paths[::2]]
        writer.append(
            [image.key for image in half], np.stack([image.pixels for image in half if image.pixels is not None])
        )
        assert not computed
    thread.join(10)
    assert lines == [f"waiting for another run of capcli, which is filling {tmp_path / 'store'}"]
    assert sum(computed) == len(paths) - len(half)
    assert len(second) == len(paths)


def test_what_is_stored_is_neither_computed_nor_decoded_and_copies_are_computed_once(tmp_path: Path) -> None:
    paths = sorted(write_data_set(tmp_path / "data", copies=1, size=8).parent.glob("images/*"))
    copy = tmp_path / "copy.png"
    copy.write_bytes(paths[0].read_bytes())
    computed = []

    def compute(pixels: np.ndarray) -> np.ndarray:
        computed.append(len(pixels))
        return pixels

    def fill(*images: Path) -> dict[Path, str]:
        store = FeatureStore(tmp_path / "store", (8, 8, 3), np.uint8)
        return fill_store(store, compute, images, input_size=8, batch_size=100, progress=quiet, note=silent)[0]

    keys = fill(*paths, copy)
    assert computed == [len(paths)] and keys[copy] == keys[paths[0]]
    moved = paths[1].rename(tmp_path / "moved.png")
    paths[2].write_bytes(paths[3].read_bytes() + b"\0")
    assert load_for_training(moved, 8, keys.values()).pixels is None
    again = fill(*paths[:1], moved, *paths[2:])
    assert computed == [len(paths), 1] and again[moved] == keys[paths[1]] and again[paths[2]] != keys[paths[2]]


def read_in_child(store: FeatureStore, numbers: list[int], answers: multiprocessing.Queue[bytes]) -> None:
    answers.put(store.read([key(number) for number in numbers]).tobytes())


@posix
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_that_a_run_starts_read_the_store(tmp_path: Path, method: Literal["fork", "spawn"]) -> None:
    store = FeatureStore(tmp_path, SHAPE)
    add(store, *range(20))
    context: Any = multiprocessing.get_context(method)
    answers = context.Queue()
    order = random.Random(1).sample(range(20), 20)
    child = context.Process(target=read_in_child, args=(store, order, answers))
    child.start()
    # What the other process has read does not move what this one reads.
    assert_right(store, *range(20))
    assert answers.get(timeout=60) == arrays(*order).tobytes()
    child.join()
    assert_right(pickle.loads(pickle.dumps(store)), *range(20))


def train_command(data: Path, out: Path, *options: str | Path) -> list[str | Path]:
    """A training run that takes a second or two."""
    return [
        *("train", "--images", data / "images", "--captions", data / "captions.csv", "--out", out),
        *("--encoder", TINY_BUNDLE, "--input-size", "64", "--hidden", "16", "--embedding", "8", "--attention", "8"),
        *("--min-count", "1", "--batch-size", "16", "--val-images", "2", "--max-length", "4", "--beam", "1"),
        *("--threads", "1", "--precision", "float32", *options),
    ]


def start(arguments: list[str | Path], **env: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([command(), *arguments], env=environment(**env), stderr=subprocess.PIPE)


def test_two_runs_on_one_fresh_cache_leave_the_features_that_one_alone_computes(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="needs the train extra")
    data = write_data_set(tmp_path / "data", copies=3, size=64).parent
    options = ("--epochs", "1", "--val-images", "0", "--cache")
    assert cli.run([str(part) for part in train_command(data, tmp_path / "a", *options, tmp_path / "alone")]) == 0
    (alone,) = stores(tmp_path / "alone")
    # Both are let go at once, when they have come to the cache.
    together, temporary = tmp_path / "together" / alone.folder.name, tmp_path / "t"
    make_folder(together)
    temporary.mkdir()
    with wait_for_lock(together / LOCK, lambda: silent("")):
        runs = [
            start(
                train_command(data, tmp_path / seed, "--seed", seed, *options, together.parent), TMPDIR=str(temporary)
            )
            for seed in ("1", "2")
        ]
        for run in runs:
            assert run.stderr is not None
            assert any(line.startswith(b"capcli: waiting for another run") for line in run.stderr)
    for run in runs:
        errors = run.communicate(timeout=60)[1].decode()
        assert run.returncode == 0 and "waiting" not in errors, errors
    # PyTorch makes a folder of its own there.
    assert list(temporary.iterdir()) == []
    name = rows_file(alone.folder).name
    channels, height, width = map(int, name.split(".")[1].split("x"))
    expected, found = (FeatureStore(folder, (channels, height, width)) for folder in (alone.folder, together))
    keys = [load_for_training(path, 64, expected).key for path in sorted((data / "images").iterdir())]
    assert len(set(keys)) == len(keys) == len(found) == len(expected) == 72
    assert np.array_equal(found.read(keys), expected.read(keys))
    assert (together / name).stat().st_size == (alone.folder / name).stat().st_size


def test_other_weights_sizes_and_versions_have_stores_of_their_own(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="needs the train extra")
    from capcli.training.config import DataSource, TrainConfig
    from capcli.training.data import read_data
    from capcli.training.device import Machine
    from capcli.training.initial import first_encoder, fresh_network
    from capcli.training.inputs import sources
    from capcli.training.inputs.augment import Augmentation
    from capcli.training.progress import TrainingListener

    data = write_data_set(tmp_path / "data", copies=1, size=8, shapes=("circle",)).parent
    source = DataSource(str(data / "images"), str(data / "captions.csv"))
    plain = TrainConfig(data=(source,), encoder=str(TINY_BUNDLE), input_size=64, fine_tune=1)
    pixels = replace(plain, color_jitter=0.5)

    def new_stores(config: TrainConfig, changed_stage: int | None = None) -> int:
        before = len(stores(tmp_path / "cache"))
        network = fresh_network(config, first_encoder(config), 10)
        network.freeze(config.fine_tune)
        if changed_stage is not None:
            with torch.no_grad():
                next(network.encoder.stage(changed_stage).parameters()).add_(0.01)
        sources.prepare_inputs(
            network,
            read_data(config).paths,
            input_size=config.input_size,
            augmentation=Augmentation.of(config),
            cache=tmp_path / "cache",
            machine=Machine(torch.device("cpu"), None, threads=1, workers=0),
            listener=TrainingListener(),
        )
        return len(stores(tmp_path / "cache")) - before

    assert [new_stores(config) for config in (plain, pixels)] == [1, 1]
    assert [new_stores(config) for config in (plain, pixels)] == [0, 0]
    assert [new_stores(replace(config, input_size=96)) for config in (plain, pixels)] == [1, 1]
    assert new_stores(replace(plain, fine_tune=2)) == 1
    # The weights of the part that is trained decide nothing of what is stored.
    assert [new_stores(plain, changed_stage=stage) for stage in (1, 3, 4)] == [1, 1, 0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "PREPROCESSING", PREPROCESSING + 1)
        assert [new_stores(config) for config in (plain, pixels)] == [1, 1]


# Places


@pytest.mark.parametrize("name", ["file", "file/below", "no/such/folder"])
def test_a_cache_that_cannot_be_made_is_one_clear_line(capcli: RunCommand, tmp_path: Path, name: str) -> None:
    pytest.importorskip("torch", reason="needs the train extra")
    (tmp_path / "file").write_text("precious")
    # Not even root makes folders in /proc.
    cache = Path("/proc") / name if name.startswith("no") else tmp_path / name
    data = write_data_set(tmp_path / "data", copies=1, size=8, shapes=("circle",)).parent
    done = capcli(*train_command(data, tmp_path / "run", "--cache", cache))
    assert (done.code, done.out, done.errors.count("\n")) == (4, b"", 1)
    assert done.errors.startswith(f"capcli: {cache}: the feature cache cannot be made: ")
    assert "--no-cache" in done.errors and "internal error" not in done.errors
    if cache.is_relative_to(tmp_path):
        assert f"{tmp_path / 'file'} is not a folder" in done.errors
    assert (tmp_path / "file").read_text() == "precious" and not (tmp_path / "run").exists()


def test_a_cache_and_none_exclude_each_other(capcli: RunCommand, tmp_path: Path) -> None:
    done = capcli(*train_command(tmp_path, tmp_path / "run", "--no-cache", "--cache", tmp_path / "cache"))
    assert (done.code, done.errors.count("\n")) == (2, 1)
    assert "--no-cache" in done.errors and not (tmp_path / "cache").exists()


def test_without_a_cache_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch", reason="needs the train extra")
    data = write_data_set(tmp_path / "data", copies=1, size=64).parent
    (tmp_path / "place").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "place"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    arguments = [str(part) for part in train_command(data, tmp_path / "run", "--epochs", "1", "--no-cache")]
    assert cli.run(arguments) == 0
    assert list((tmp_path / "place").glob("capcli-*")) == [] and not (tmp_path / "cache").exists()


@posix
def test_an_interrupt_removes_the_temporary_cache(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="needs the train extra")
    data = write_data_set(tmp_path / "data", copies=1, size=64).parent
    place = tmp_path / "place"
    place.mkdir()
    run = start(
        train_command(data, tmp_path / "run", "--epochs", "10000", "--no-cache"),
        TMPDIR=str(place),
        XDG_CACHE_HOME=str(tmp_path / "cache"),
    )
    while not any(path.stat().st_size for path in place.glob("capcli-features-*/*/rows.*")):
        assert run.poll() is None
        time.sleep(0.01)
    run.send_signal(signal.SIGINT)
    assert run.wait(60) == 130
    assert list(place.glob("capcli-features-*")) == [] and not (tmp_path / "cache").exists()


def test_the_temporary_cache_of_a_killed_run_goes_with_the_next_and_no_other_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    killed, running, made = (tmp_path / f"capcli-features-{name}" for name in ("killed", "running", "made"))
    for folder in (killed, running, made):
        (folder / "store").mkdir(parents=True)
    (killed / ".capcli-lock").touch()
    with locked_by(running / ".capcli-lock") as taken, cache_for_run(None, keep=False) as own:
        assert taken and {path.name for path in tmp_path.iterdir()} == {running.name, made.name, own.name}
        with cache_for_run(None, keep=False) as other:
            assert own.exists() and other != own
    assert {path.name for path in tmp_path.iterdir()} == {running.name, made.name}


def fill_cache(home: Path) -> list[Path]:
    """A cache with stores of today and of earlier versions, and things that are none of capcli's.

    Returns:
        What must stay.
    """
    cache = home / "capcli" / "features"
    add(FeatureStore(cache / "pixels-224-read1", SHAPE), 1, 2)
    add(FeatureStore(cache / "0123456789abcdef-stage3-float32-read1", SHAPE), 1)
    old = cache / "fedcba9876543210-stage4-bfloat16"
    old.mkdir()
    (old / "maps.f16").write_bytes(bytes(1_000_000))
    (old / "keys.txt").write_bytes(bytes(33))
    kept = [cache / "notes.txt", cache / "pixels-224-read1" / "mine.txt", cache / "my photos" / "rows.2x3x1.float16"]
    for path in kept:
        path.parent.mkdir(exist_ok=True)
        path.write_text("precious")
    if os.name != "nt":
        (cache / "pixels-96-read1").symlink_to(cache / "my photos")
        (cache / "pixels-224-read1" / "rows.9x9x9.float16").symlink_to(kept[0])
    return kept


def test_doctor_tells_and_prunes_what_capcli_made_and_nothing_else(
    capcli: RunCommand, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = {"XDG_CACHE_HOME": str(tmp_path)}
    cache = tmp_path / "capcli" / "features"

    def told() -> str:
        return next(check.finding for check in examine(tiny) if check.topic == "cache")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert told() == f"{cache}: empty" and not cache.exists()
    kept = fill_cache(tmp_path)
    size = 3 * ROW + 1_000_033
    assert sum(store.size for store in stores(cache)) == size
    assert told() == f"{cache}: 1.0 MB of capcli train's; capcli doctor --prune-cache empties it"
    assert f"ok       cache        {told()}" in capcli("doctor", "--model", tiny, env=env).text
    done = capcli("doctor", "--prune-cache", env=env)
    assert (done.code, done.text, done.err) == (0, f"{cache}: freed 1.0 MB\n", b"")
    assert all(path.read_text() == "precious" for path in kept)
    left = {path.name for path in cache.rglob("*")}
    assert left == {"notes.txt", "mine.txt", "my photos", kept[2].name, "pixels-224-read1"} | (
        set() if os.name == "nt" else {"pixels-96-read1", "rows.9x9x9.float16"}
    )
    add(FeatureStore(cache / "pixels-224-read1", SHAPE), 7)
    done = capcli("doctor", "--prune-cache", "--json", env=env)
    assert json.loads(done.text) == {"cache": str(cache), "freed": ROW, "left": []}
    done = capcli("doctor", "--prune-cache", env={"XDG_CACHE_HOME": str(kept[0])})
    assert (done.code, done.errors.count("\n")) == (4, 1) and str(kept[0]) in done.errors


def test_a_store_that_a_run_reads_or_fills_is_not_pruned(capcli: RunCommand, tmp_path: Path) -> None:
    cache = tmp_path / "capcli" / "features"
    reading = FeatureStore(cache / "pixels-64-read1", SHAPE)
    add(reading, 1, 2)
    add(FeatureStore(cache / "pixels-96-read1", SHAPE), 1)
    (cache / "pixels-224-read1").mkdir()
    with wait_for_lock(cache / "pixels-224-read1" / LOCK, lambda: silent("")):
        done = capcli("doctor", "--prune-cache", env={"XDG_CACHE_HOME": str(tmp_path)})
    assert done.code == 4 and done.text == f"{cache}: freed 0.0 MB\n"
    assert done.errors.count("\n") == 1
    for name in ("pixels-64-read1", "pixels-224-read1"):
        assert f"{cache / name}: in use by a run" in done.errors
    assert {folder.name for folder in cache.iterdir()} == {"pixels-64-read1", "pixels-224-read1"}
    assert_right(reading, 1, 2)
    del reading
    assert prune(cache).left == {} and not list(cache.iterdir())


def test_a_store_that_is_pruned_between_two_runs_is_made_anew(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path / "pixels-64-read1", SHAPE)
    add(store, 1)
    content = pickle.dumps(store)
    del store
    assert prune(tmp_path).size == ROW
    with pytest.raises(DataError, match="run the same command again"):
        pickle.loads(content).read([key(1)])
    store = FeatureStore(tmp_path / "pixels-64-read1", SHAPE)
    add(store, 1)
    assert_right(store, 1)


@posix
def test_a_store_that_is_pruned_while_a_run_waits_to_open_it_is_made_anew(tmp_path: Path) -> None:
    folder = tmp_path / "pixels-64-read1"
    add(FeatureStore(folder, SHAPE), 1)
    opened: list[FeatureStore] = []
    locked: list[FileIO] = []
    threads = [
        threading.Thread(target=lambda: opened.append(FeatureStore(folder, SHAPE))),
        threading.Thread(target=lambda: locked.append(wait_for_lock(folder / LOCK, lambda: None))),
    ]
    with rows_file(folder).open("r+b", buffering=0) as rows, (folder / LOCK).open("r+b", buffering=0) as lock:
        assert try_lock(rows) and try_lock(lock)
        for thread in threads:
            thread.start()
        # Long enough for both to have opened what is now removed.
        time.sleep(0.3)
        rows_file(folder).unlink()
        (folder / LOCK).unlink()
        add(FeatureStore(folder, SHAPE), 3)
    for thread in threads:
        thread.join(10)
    with locked[0]:
        assert is_in_place(locked[0], folder / LOCK)
    add(opened[0], 2)
    assert_right(opened[0], 2, 3)
    assert_right(FeatureStore(folder, SHAPE), 2, 3)


def test_pruning_loads_neither_numpy_nor_torch(tmp_path: Path) -> None:
    done = python(
        "import sys, capcli.cli\n"
        "code = capcli.cli.run(['doctor', '--prune-cache'])\n"
        "print(code, sorted({'numpy', 'torch', 'PIL', 'onnxruntime'} & set(sys.modules)), file=sys.stderr)\n",
        XDG_CACHE_HOME=str(tmp_path),
    )
    assert done.errors == "0 []\n"
