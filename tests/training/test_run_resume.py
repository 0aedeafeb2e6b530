"""Runs that are stopped, killed, moved or told otherwise, and gone on with; on data the tests make themselves."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import small_run
from tests.shapes import write_data_set

torch = pytest.importorskip("torch", reason="needs the train extra")
pytest.importorskip("pycocoevalcap", reason="needs the train extra")

from capcli.errors import DataError, TrainingError, UsageError  # noqa: E402
from capcli.training.config import TrainConfig  # noqa: E402
from capcli.training.progress import TrainingListener, TrainingProgress  # noqa: E402
from capcli.training.run import train  # noqa: E402
from capcli.training.run_folder import RunFolder  # noqa: E402
from capcli.training.workers import worker_errors  # noqa: E402


class Notes(TrainingListener):
    """Keeps what it is told, and does something after an update."""

    def __init__(self, at: int = 0, then: Callable[[], None] = lambda: None) -> None:
        self.lines: list[str] = []
        self.rates: list[float] = []
        self._at, self._then = at, then

    def note(self, line: str) -> None:
        self.lines.append(line)

    def progress(self, progress: TrainingProgress) -> None:
        self.rates.append(progress.rate)
        if progress.update == self._at:
            self._then()


def interrupt() -> None:
    raise KeyboardInterrupt


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shapes")
    write_data_set(folder, copies=1, size=64)
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def small(shapes: Path, **settings: Any) -> TrainConfig:
    """Three updates an epoch."""
    settings = {"hidden": 16, "embedding": 8, "attention": 8, "epochs": 1, **settings}
    return replace(
        small_run(shapes), **{"max_length": TrainConfig.max_length, "warmup": 1, "save_every": 1, **settings}
    )


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def same_weights(one: Path, other: Path, name: str = "last") -> bool:
    left, right = RunFolder(one).load(name)["model"], RunFolder(other).load(name)["model"]
    return all(torch.equal(left[key], right[key]) for key in {*left, *right})


def test_a_run_says_what_it_was_made_with(shapes: Path, cache: Path, tmp_path: Path) -> None:
    notes = Notes()
    train(small(shapes, device="auto", workers=2), tmp_path / "run", cache=cache, listener=notes)
    values = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (values["device"], values["precision"], values["threads"], values["workers"]) == (
        "cuda" if torch.cuda.is_available() else "cpu",
        "float32",
        1,
        2,
    )
    assert values["torch"] == str(torch.__version__) and values["capcli"] and values["python"]
    assert len(values["train"]) == len(values["validation"]) == 64 and values["train"] != values["validation"]
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (config["decoder"], config["hidden"], config["attention"]) == ("attention", 16, 8)
    (few,) = [line for line in notes.lines if "chosen by chance" in line]
    assert re.match(r"only \d validation images: the best epoch is chosen by chance", few)


def test_more_epochs_run_the_schedule_to_the_new_end_and_it_is_said_and_kept(
    shapes: Path, cache: Path, tmp_path: Path
) -> None:
    config, out = small(shapes), tmp_path / "run"
    train(config, out, cache=cache, listener=Notes())
    notes = Notes()
    train(replace(config, epochs=2, save_every=5), out, cache=cache, listener=notes)
    lines = ["--epochs is 2 now, was 1", "--save-every is 5 now, was 1"]
    assert [line for line in notes.lines if line in lines] == lines
    assert RunFolder(out).read_changes() == lines
    assert RunFolder(out).read_config().epochs == 2
    # Half of the new way is behind, so the rate is about half of its peak, and at its smallest at the new end.
    assert len(notes.rates) == 3
    assert 0.2e-3 < notes.rates[0] < 0.6e-3
    assert notes.rates[-1] == pytest.approx(0.03e-3)
    assert [line["epoch"] for line in RunFolder(out).read_log()] == [1, 2]
    before = files(out)
    with pytest.raises(UsageError, match=r"--epochs 1: .* has trained for 2 epochs already"):
        train(config, out, cache=cache, listener=Notes())
    assert files(out) == before


def test_a_run_goes_on_with_the_data_it_started_with_wherever_that_lies(
    shapes: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(shapes, tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    config, out = small(Path("data"), epochs=2), tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train(config, out, cache=cache, listener=Notes(4, interrupt))
    shutil.copytree(shapes, tmp_path / "moved")
    captions = tmp_path / "moved" / "captions.csv"
    text = captions.read_text()
    captions.write_text(text.replace("A red circle", "A purple dinosaur"))
    before = files(out)
    for source in ("moved", str(tmp_path / "moved")):
        with pytest.raises(UsageError, match=r"its training (and validation )?images or captions have changed since"):
            train(small(Path(source), epochs=2), out, cache=cache, listener=Notes())
    assert files(out) == before
    captions.write_text(text)
    monkeypatch.chdir("/")
    notes = Notes()
    train(small(tmp_path / "moved", epochs=2), out, cache=cache, listener=notes)
    assert f"the data lies in {tmp_path}/moved/images now, was in {tmp_path}/data/images" in notes.lines
    train(small(shapes, epochs=2), tmp_path / "whole", cache=cache, listener=Notes())
    assert same_weights(out, tmp_path / "whole")


@pytest.mark.parametrize("moment", ["write_record", "write_vocabulary", "save", "write_config"])
@pytest.mark.parametrize("after", [False, True])
def test_a_start_killed_at_any_moment_is_begun_again_by_the_same_command(
    moment: str, after: bool, shapes: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, out = small(shapes), tmp_path / "run"
    real = getattr(RunFolder, moment)

    def killed(self: RunFolder, *arguments: Any) -> None:
        if after:
            real(self, *arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(RunFolder, moment, killed)
        train(config, out, cache=cache, listener=Notes())
    assert (out / "config.json").exists() == (moment == "write_config" and after)
    # What a kill in the middle of a file leaves.
    out.mkdir(exist_ok=True)
    (out / "start.pt.part").write_bytes(b"PK")
    with pytest.raises(KeyboardInterrupt):
        train(config, out, cache=cache, listener=Notes(1, interrupt))
    assert RunFolder(out).has("start")


def test_the_best_epoch_is_scored_anew_where_validation_changes(shapes: Path, cache: Path, tmp_path: Path) -> None:
    """A score over captions of two words, or over other images, says nothing beside one over whole captions."""
    config = small(shapes, epochs=2, learning_rate=0.02, dropout_words=0.0, dropout_features=0.0)
    train(config, tmp_path / "whole", cache=cache, listener=Notes())
    wanted = RunFolder(tmp_path / "whole").read_log()[0]["cider"]
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        # Saved after update 4, the first of the second epoch.
        train(replace(config, max_length=2), out, cache=cache, listener=Notes(5, interrupt))
    assert RunFolder(out).load("best")["result"]["cider"] != wanted
    with pytest.raises(KeyboardInterrupt):
        train(config, out, cache=cache, listener=Notes(5, interrupt))
    assert RunFolder(out).load("best")["result"]["cider"] == wanted
    train(config, out, cache=cache, listener=Notes())
    assert same_weights(out, tmp_path / "whole")


def test_a_checkpoint_of_another_device_is_gone_on_with(shapes: Path, cache: Path, tmp_path: Path) -> None:
    """What CUDA writes: fused AdamW, a scaler's state where precision is float16, its own random state."""
    config, out = small(shapes), tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train(config, out, cache=cache, listener=Notes(3, interrupt))
    folder = RunFolder(out)
    last = folder.load("last")
    for group in last["optimizer"]["param_groups"]:
        group["fused"] = True
    scaler = {"scale": 65536.0, "growth_factor": 2.0, "backoff_factor": 0.5, "growth_interval": 2000}
    folder.save("last", {**last, "scaler": {**scaler, "_growth_tracker": 0}, "random_cuda": [last["random"]] * 9})
    train(config, out, cache=cache, listener=Notes())
    assert not any(group["fused"] for group in folder.load("last")["optimizer"]["param_groups"])
    train(config, tmp_path / "whole", cache=cache, listener=Notes())
    assert same_weights(out, tmp_path / "whole")


def test_a_checkpoint_of_an_earlier_capcli_is_refused_in_one_line(shapes: Path, cache: Path, tmp_path: Path) -> None:
    config, out = small(shapes), tmp_path / "run"
    train(config, out, cache=cache, listener=Notes())
    last = RunFolder(out).load("last")
    # As 192445c wrote it.
    old = {name: value for name, value in last.items() if name not in ("skipped", "scored_with")}
    torch.save(old, out / "last.pt")
    with pytest.raises(DataError, match=r"last\.pt: written by an earlier capcli.*--init") as refused:
        train(config, out, cache=cache, listener=Notes())
    assert "\n" not in str(refused.value)


def test_a_process_that_dies_ends_the_run_in_one_line_and_it_goes_on(shapes: Path, cache: Path, tmp_path: Path) -> None:
    config, out = small(shapes, workers=2, epochs=20), tmp_path / "run"

    def kill_a_worker() -> None:
        os.kill(multiprocessing.active_children()[0].pid or 0, signal.SIGKILL)

    with pytest.raises(TrainingError, match=r"a process that prepares batches died .*The same command") as died:
        train(config, out, cache=cache, listener=Notes(2, kill_a_worker))
    assert "\n" not in str(died.value)
    stopped_at = RunFolder(out).load("last")["update"]
    assert 2 <= stopped_at + 1 < 60
    notes = Notes(stopped_at + 2, interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(config, out, cache=cache, listener=notes)
    assert len(notes.rates) == 2


def offer_a_file(connection: Connection) -> None:
    """What a process does that has prepared a batch; it waits until the batch is fetched."""
    connection.send(DupFd(connection.fileno()))
    time.sleep(60)


def test_a_process_that_dies_before_its_batch_is_fetched_is_told_in_the_same_line(tmp_path: Path) -> None:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=offer_a_file, args=(theirs,))
    process.start()
    offered = ours.recv()
    process.kill()
    process.join()
    told = pytest.raises(TrainingError, match=r"a process that prepares batches died .*The same command")
    with told as died, worker_errors(tmp_path):
        offered.detach()
    assert "\n" not in str(died.value)
    # An error of somebody else's stays what it is.
    with pytest.raises(ConnectionResetError), worker_errors(tmp_path):
        raise ConnectionResetError


def test_a_stop_that_reaches_all_processes_stays_a_stop(tmp_path: Path) -> None:
    """Processes that end of it make torch raise an error of its own in the middle."""

    class Stopped(BaseException):
        pass

    with pytest.raises(Stopped), worker_errors(tmp_path):
        try:
            raise Stopped
        finally:
            raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Terminated.")


def test_an_error_in_a_worker_process_is_its_own_line(
    shapes: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise DataError("maps.f16: row 3 is damaged; empty the cache")

    # Worker processes are forked with it.
    monkeypatch.setattr("capcli.training.inputs.sources.StoredMaps.read", fails)
    if multiprocessing.get_start_method() != "fork":
        pytest.skip("needs processes that are forked")
    with pytest.raises(DataError) as failed:
        train(small(shapes), tmp_path / "run", cache=cache, listener=Notes())
    assert not multiprocessing.active_children()
    assert str(failed.value) == "maps.f16: row 3 is damaged; empty the cache"
