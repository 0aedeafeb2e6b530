"""A run's folder: what may start in it, what is read back, and that files appear whole."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import TINY_BUNDLE

torch = pytest.importorskip("torch", reason="needs the train extra")

from capcli.bundle.habits import Habits  # noqa: E402
from capcli.bundle.tokens import Tokenizer  # noqa: E402
from capcli.errors import DataError, OutputError  # noqa: E402
from capcli.training.config import DataSource, TrainConfig  # noqa: E402
from capcli.training.progress import TrainingListener  # noqa: E402
from capcli.training.run import train  # noqa: E402
from capcli.training.run_folder import RunFolder  # noqa: E402
from capcli.training.run_record import RunRecord  # noqa: E402

RECORD = RunRecord("t", "v", "cpu", "float32", 2, 1)


@pytest.mark.parametrize(
    ("files", "free"),
    [
        ([], True),
        (["run.json"], True),
        (["run.json", "tokenizer.json", "words.json", "start.pt"], True),
        (["run.json", "start.pt.part", ".capcli-00.tmp"], True),
        ([".capcli-00.tmp"], True),
        (["tokenizer.json", "words.json"], False),
        (["run.json", "thesis.txt"], False),
        (["run.json", "last.pt"], False),
    ],
)
def test_a_run_starts_where_nothing_is_or_what_a_killed_start_left(
    files: list[str], free: bool, tmp_path: Path
) -> None:
    for name in files:
        (tmp_path / name).write_text("x")
    assert RunFolder(tmp_path).is_free == free


def test_a_file_is_no_place_for_a_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert not RunFolder(tmp_path / "file").is_free
    assert RunFolder(tmp_path / "new").is_free
    with pytest.raises(OutputError, match="cannot be made: "), RunFolder(tmp_path / "file").locked():
        pass


def test_two_runs_do_not_train_in_one_folder_and_one_that_begins_nothing_leaves_nothing(tmp_path: Path) -> None:
    out = tmp_path / "new" / "run"
    first, second = RunFolder(out), RunFolder(out)
    with first.locked():
        assert second.is_free
        with pytest.raises(OutputError, match="run: is being trained in by another capcli train"), second.locked():
            pass
        with pytest.raises(OutputError, match="another capcli train"):
            train(TrainConfig(), out, cache=tmp_path / "cache", listener=TrainingListener())
    assert not any(tmp_path.iterdir())
    with second.locked():
        (out / "run.json").write_text("{}")
    assert [path.name for path in out.iterdir()] == ["run.json"]


def test_checkpoints_carry_a_format_and_a_later_one_is_refused_by_its_number(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.save("best", {"model": {}})
    assert torch.load(tmp_path / "best.pt", weights_only=True)["format"] == 2
    assert folder.load("best") == {"model": {}}
    torch.save({"model": {}}, tmp_path / "best.pt")  # as capcli wrote them before there were numbers
    assert folder.load("best") == {"model": {}}
    for number in (3, "2b"):
        torch.save({"format": number, "model": {}}, tmp_path / "best.pt")
        with pytest.raises(DataError, match=f"best.pt: a checkpoint of format {number}; this capcli reads up to 2"):
            folder.load("best")
    for foreign in ([1, 2], 7):
        torch.save(foreign, tmp_path / "best.pt")
        with pytest.raises(DataError, match=r"best.pt: damaged checkpoint"):
            folder.load("best")


def test_paths_are_kept_absolute_and_names_of_bundles_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "default").mkdir()  # a bundle's name comes first
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{}")
    (tmp_path / "tiny").symlink_to(TINY_BUNDLE)
    config = TrainConfig(
        data=(DataSource("d/images", "d/c.csv", None, "d/val.txt"), DataSource("photos")),
        encoder="enc.npz",
        init=("default", "run", "tiny", "gone"),
    )
    folder = RunFolder(tmp_path)
    folder.write_config(config)
    kept = folder.read_config()
    at = str(tmp_path)
    assert kept.data == (
        DataSource(f"{at}/d/images", f"{at}/d/c.csv", None, f"{at}/d/val.txt"),
        DataSource(f"{at}/photos"),
    )
    assert kept.encoder == f"{at}/enc.npz"
    assert kept.init == ("default", f"{at}/run", f"{at}/tiny", "gone")
    assert replace(kept, data=config.data, encoder=config.encoder, init=config.init) == config


def test_the_log_keeps_changes_and_replaces_a_repeated_epoch(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.log_changes(["a"])
    folder.append_log({"epoch": 1, "loss": 3.0})
    folder.append_log({"epoch": 2, "loss": 2.0})
    folder.log_changes(["b", "c"])
    folder.append_log({"epoch": 2, "loss": 1.0})
    assert folder.read_log() == [{"epoch": 1, "loss": 3.0}, {"epoch": 2, "loss": 1.0}]
    assert folder.read_changes() == ["a", "b", "c"]
    places = [json.loads(line).get("resumed_after_epoch") for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert places == [0, None, 2, None]


@pytest.mark.parametrize("content", ['{"epoch": 1}\n{"epo', "[1]\n", "\x00\n"])
def test_a_damaged_log_is_one_clear_error(content: str, tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text(content)
    with pytest.raises(DataError, match=r"log\.jsonl: not readable as a log"):
        RunFolder(tmp_path).append_log({"epoch": 3})


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", "[]"),
        ("config.json", ""),
        ("run.json", "3"),
        ("run.json", '{"format": 1}'),
        ("words.json", '{"returns": 3}'),
    ],
)
def test_damaged_files_are_named(name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    folder = RunFolder(tmp_path)
    read = {"config.json": folder.read_config, "run.json": folder.read_record, "words.json": folder.read_habits}[name]
    with pytest.raises(DataError, match=name):
        read()


def test_the_record_is_read_back_and_is_not_missed_in_older_folders(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert folder.read_record() is None
    folder.write_record(RECORD)
    assert folder.read_record() == RECORD
    values = json.loads((tmp_path / "run.json").read_text())
    assert values["format"] == 1 and values["torch"] == str(torch.__version__)


def test_files_are_on_the_disk_before_they_have_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a power cut a file has all its content or its old name's: config.json decides whether there is a run."""
    done: list[tuple[str, object]] = []
    fsync, rename = os.fsync, os.replace

    def synced(descriptor: int) -> None:
        fsync(descriptor)
        done.append(("synced", os.fstat(descriptor).st_ino))

    def replaced(source: str, target: str) -> None:
        done.append((Path(target).name, os.stat(source).st_ino))
        assert ("synced", os.stat(source).st_ino) in done
        assert os.path.getsize(source) > 0
        rename(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    folder = RunFolder(tmp_path)
    folder.write_record(RECORD)
    folder.write_vocabulary(Tokenizer.learn(["a dog"], 1), Habits())
    folder.write_config(TrainConfig())
    folder.append_log({"epoch": 1})
    names = [name for name, _ in done if name != "synced"]
    assert names == ["run.json", "tokenizer.json", "words.json", "config.json", "log.jsonl"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    assert folder.read_tokenizer().encode("a dog") == [4, 5]
