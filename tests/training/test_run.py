"""Training from end to end on data the tests make themselves: it learns, and resumes where it stopped."""

from __future__ import annotations

import gc
import json
import shutil
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import TINY_BUNDLE, RunCommand, command, environment, small_run
from tests.shapes import write_data_set

torch = pytest.importorskip("torch", reason="needs the train extra")
pytest.importorskip("pycocoevalcap", reason="needs the train extra")

from capcli.errors import DataError, UsageError  # noqa: E402
from capcli.training.config import DataSource, TrainConfig  # noqa: E402
from capcli.training.progress import TrainingListener, TrainingProgress  # noqa: E402
from capcli.training.run import train  # noqa: E402
from capcli.training.run_folder import RunFolder, load_run  # noqa: E402


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shapes")
    write_data_set(folder, copies=2, size=64)
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


# The sizes of what --init names.
AS_INIT: dict[str, Any] = {"encoder": None, "hidden": None, "embedding": None, "attention": None}


class StopAt(TrainingListener):
    """Ends the run like a Ctrl-C after an update."""

    def __init__(self, update: int) -> None:
        self._update = update

    def progress(self, progress: TrainingProgress) -> None:
        if progress.update == self._update:
            raise KeyboardInterrupt


def tensors(folder: Path, name: str) -> dict[str, Any]:
    return dict(RunFolder(folder).load(name)["model"])


def assert_same_run(one: Path, other: Path) -> None:
    for name in ("last", "best"):
        left, right = tensors(one, name), tensors(other, name)
        assert left.keys() == right.keys()
        for key in left:
            assert torch.equal(left[key], right[key]), f"{name}: {key}"

    def without_time(folder: Path) -> list[dict[str, object]]:
        return [{**line, "seconds": 0} for line in RunFolder(folder).read_log()]

    assert without_time(one) == without_time(other)


@pytest.mark.parametrize(("fine_tune", "crop"), [(0, 1.0), (1, 1.0), (2, 0.6), (5, 1.0)])
def test_a_run_stopped_in_mid_epoch_ends_like_one_that_was_not(
    fine_tune: int, crop: float, shapes: Path, cache: Path, tmp_path: Path
) -> None:
    config = replace(small_run(shapes), fine_tune=fine_tune, min_crop_area=crop, save_every=2)
    train(config, tmp_path / "whole", cache=cache, listener=TrainingListener())
    for update in (3, 6, 7):
        with pytest.raises(KeyboardInterrupt):
            train(config, tmp_path / "stopped", cache=cache, listener=StopAt(update))
    train(config, tmp_path / "stopped", cache=cache, listener=TrainingListener())
    assert_same_run(tmp_path / "whole", tmp_path / "stopped")


def test_a_killed_process_is_resumed_by_the_same_command(shapes: Path, cache: Path, tmp_path: Path) -> None:
    arguments = [
        *("--images", str(shapes / "images"), "--captions", str(shapes / "captions.csv")),
        *("--encoder", str(TINY_BUNDLE), "--input-size", "64", "--hidden", "32", "--embedding", "16"),
        *("--min-count", "1", "--epochs", "2", "--batch-size", "8", "--save-every", "1", "--threads", "1"),
        *("--cache", str(cache), "--max-length", "12", "--val-images", "4", "--precision", "float32"),
    ]

    def start(out: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [command(), "train", *arguments, "--out", str(out)], env=environment(), stderr=subprocess.PIPE
        )

    kills = 0
    for _ in range(2):
        process = start(tmp_path / "killed")
        last = tmp_path / "killed" / "last.pt"
        before = last.stat().st_mtime_ns if last.exists() else 0
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            if last.exists() and last.stat().st_mtime_ns != before:
                process.send_signal(signal.SIGKILL)
                kills += 1
                break
            time.sleep(0.005)
        process.communicate()
    assert kills == 2
    process = start(tmp_path / "killed")
    errors = process.communicate(timeout=200)[1]
    assert process.returncode == 0, errors.decode()
    # The same settings in this process: starting one more takes seconds.
    config = replace(
        TrainConfig(data=(DataSource(str(shapes / "images"), str(shapes / "captions.csv")),), encoder=str(TINY_BUNDLE)),
        input_size=64,
        hidden=32,
        embedding=16,
        min_count=1,
        epochs=2,
        batch_size=8,
        save_every=1,
        threads=1,
        max_length=12,
        val_images=4,
        precision="float32",
    )
    train(config, tmp_path / "whole", cache=cache, listener=TrainingListener())
    assert_same_run(tmp_path / "whole", tmp_path / "killed")


def test_other_settings_in_the_same_folder_are_refused(shapes: Path, cache: Path, tmp_path: Path) -> None:
    config = replace(small_run(shapes), epochs=1)
    train(config, tmp_path / "run", cache=cache, listener=TrainingListener())
    with pytest.raises(UsageError, match=r"other settings \(learning_rate, seed\)"):
        train(replace(config, learning_rate=0.5, seed=2), tmp_path / "run", cache=cache, listener=TrainingListener())
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("precious")
    with pytest.raises(UsageError, match="not empty"):
        train(config, tmp_path / "other", cache=cache, listener=TrainingListener())


def test_feature_maps_are_computed_once(shapes: Path, tmp_path: Path) -> None:
    config = replace(small_run(shapes), epochs=1)
    train(config, tmp_path / "one", cache=tmp_path / "cache", listener=TrainingListener())
    (store,) = (tmp_path / "cache").iterdir()
    (rows,) = store.glob("rows.*")
    content = rows.read_bytes()
    assert len(content) == 48 * (16 + 2 * 256 * 2 * 2)
    train(replace(config, seed=2), tmp_path / "two", cache=tmp_path / "cache", listener=TrainingListener())
    assert rows.read_bytes() == content


def test_views_are_new_in_every_epoch_and_only_where_asked_for(shapes: Path, cache: Path, tmp_path: Path) -> None:
    """Without dropout and learning, the loss of an epoch depends on the images' views alone."""
    still = replace(
        small_run(shapes),
        learning_rate=1e-12,
        encoder_learning_rate=0.0,
        weight_decay=0.0,
        dropout_words=0.0,
        dropout_features=0.0,
    )
    losses = {}
    for name, crop, light in (("plain", 1.0, 0.0), ("crops", 0.4, 0.0), ("light", 1.0, 0.9)):
        config = replace(still, flip=False, epochs=2, min_crop_area=crop, color_jitter=light)
        folder = train(config, tmp_path / name, cache=cache, listener=TrainingListener())
        losses[name] = [line["loss"] for line in folder.read_log()]
    assert losses["plain"][0] == losses["plain"][1]
    assert losses["crops"][0] != losses["crops"][1] and losses["light"][0] != losses["light"][1]


def test_an_unreadable_image_is_left_out_of_end_to_end_training_too(shapes: Path, tmp_path: Path) -> None:
    shutil.copytree(shapes, tmp_path / "data")
    first = sorted((tmp_path / "data" / "images").iterdir())[0]
    first.write_bytes(first.read_bytes()[:50])
    notes: list[str] = []

    class Notes(TrainingListener):
        def note(self, line: str) -> None:
            notes.append(line)

    config = replace(small_run(tmp_path / "data"), fine_tune=5, epochs=1)
    folder = train(config, tmp_path / "run", cache=tmp_path / "cache", listener=Notes())
    assert len(folder.read_log()) == 1
    assert next(line for line in notes if line.startswith("left out")).startswith(f"left out: {first}: ")


def test_a_damaged_checkpoint_is_one_clear_error(shapes: Path, cache: Path, tmp_path: Path) -> None:
    config = replace(small_run(shapes), epochs=1)
    train(config, tmp_path / "run", cache=cache, listener=TrainingListener())
    for name in ("start", "last", "best"):
        path = tmp_path / "run" / f"{name}.pt"
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
        with pytest.raises(DataError, match=f"{name}.pt"):
            if name == "best":
                load_run(tmp_path / "run")
            else:
                train(replace(config), tmp_path / "run", cache=cache, listener=TrainingListener())
        path.write_bytes(content)
    with pytest.raises(DataError, match="not a run"):
        load_run(tmp_path)


def test_a_run_starts_from_the_mean_of_several(shapes: Path, cache: Path, tmp_path: Path) -> None:
    runs = [tmp_path / "one", tmp_path / "two"]
    branch = replace(small_run(shapes), fine_tune=1, epochs=1)
    train(branch, runs[0], cache=cache, listener=TrainingListener())
    branch = replace(branch, seed=2, encoder=None, init=(str(runs[0]),))
    train(branch, runs[1], cache=cache, listener=TrainingListener())
    config = replace(small_run(shapes), encoder=None, epochs=1, init=tuple(map(str, runs)))
    train(config, tmp_path / "mean", cache=cache, listener=TrainingListener())
    start = tensors(tmp_path / "mean", "start")
    states = [load_run(out).network.state_dict() for out in runs]
    assert any(not torch.equal(states[0][name], states[1][name]) for name in start)
    for name, tensor in start.items():
        assert torch.allclose(tensor, (states[0][name] + states[1][name]) / 2, atol=1e-6)
    other = tmp_path / "other"
    train(replace(small_run(shapes), hidden=24, epochs=1), other, cache=cache, listener=TrainingListener())
    with pytest.raises(UsageError, match="not of the same shape"):
        train(
            replace(config, init=(str(runs[0]), str(other))), tmp_path / "no", cache=cache, listener=TrainingListener()
        )


def test_self_critical_training_goes_on_from_a_run_and_resumes(shapes: Path, cache: Path, tmp_path: Path) -> None:
    first = tmp_path / "first"
    train(small_run(shapes), first, cache=cache, listener=TrainingListener())
    config = replace(
        small_run(shapes),
        objective="self-critical",
        beam_samples=3,
        init=(str(first),),
        encoder=None,
        learning_rate=1e-4,
    )
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    train(config, whole, cache=cache, listener=TrainingListener())
    log = [json.loads(line) for line in (whole / "log.jsonl").read_text().splitlines()]
    assert len(log) == 2 and all(entry["reward"] is not None and entry["loss"] is not None for entry in log)
    with pytest.raises(KeyboardInterrupt):
        train(replace(config, save_every=1), stopped, cache=cache, listener=StopAt(3))
    train(replace(config, save_every=1), stopped, cache=cache, listener=TrainingListener())
    for name, tensor in tensors(whole, "last").items():
        assert torch.equal(tensor, tensors(stopped, "last")[name])


def test_images_are_as_large_as_those_of_the_bundle_it_starts_from(shapes: Path, cache: Path, tmp_path: Path) -> None:
    config = replace(small_run(shapes), **AS_INIT, init=(str(TINY_BUNDLE),), input_size=0, epochs=1)
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "one", cache=cache, listener=StopAt(2))
    # It is the same run, whether the size is said or not.
    train(replace(config, input_size=64), tmp_path / "one", cache=cache, listener=TrainingListener())
    train(config, tmp_path / "one", cache=cache, listener=TrainingListener())
    with pytest.raises(UsageError, match="other settings \\(input_size\\)"):
        train(replace(config, input_size=96), tmp_path / "one", cache=cache, listener=TrainingListener())
    train(replace(config, init=(str(tmp_path / "one"),)), tmp_path / "two", cache=cache, listener=TrainingListener())
    assert [RunFolder(tmp_path / name).read_config().input_size for name in ("one", "two")] == [64, 64]


def running_programs() -> set[int]:
    """Process ids of all that this process has started and that still runs."""
    programs = [thing for thing in gc.get_objects() if type(thing) is subprocess.Popen]
    return {program.pid for program in programs if program.poll() is None}


@pytest.mark.usefixtures("quick_meteor")
def test_meteor_in_the_reward_needs_java_and_leaves_no_process(shapes: Path, cache: Path, tmp_path: Path) -> None:
    config = replace(
        small_run(shapes), **AS_INIT, objective="self-critical", beam_samples=2, init=(str(TINY_BUNDLE),), meteor=2.0
    )
    before = running_programs()
    with pytest.raises(KeyboardInterrupt):
        train(replace(config, save_every=1), tmp_path / "run", cache=cache, listener=StopAt(2))
    assert running_programs() == before
    train(replace(config, save_every=1), tmp_path / "run", cache=cache, listener=TrainingListener())
    with_it, without = tmp_path / "run", tmp_path / "without"
    train(replace(config, meteor=0.0), without, cache=cache, listener=TrainingListener())
    rewards = [json.loads((run / "log.jsonl").read_text().splitlines()[0])["reward"] for run in (with_it, without)]
    assert rewards[0] > rewards[1]


def test_meteor_without_java_is_refused_at_once(shapes: Path, cache: Path, tmp_path: Path, capcli: RunCommand) -> None:
    done = capcli(
        *("train", "--images", shapes / "images", "--captions", shapes / "captions.csv", "--out", tmp_path / "run"),
        *("--init", TINY_BUNDLE, "--objective", "self-critical", "--meteor", "2", "--cache", cache),
        env={**environment(), "PATH": str(tmp_path)},
    )
    assert done.code == 3 and done.errors.count("\n") == 1 and "Java" in done.errors
    assert not (tmp_path / "run").exists()
