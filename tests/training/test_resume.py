"""Which settings and data a run is gone on with."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the train extra")

from capcli.errors import UsageError
from capcli.training.config import MAY_CHANGE, DataSource, TrainConfig
from capcli.training.inputs.examples import EncodedImage
from capcli.training.resume import EarlierRun, earlier_run
from capcli.training.run_folder import RunFolder
from capcli.training.run_record import RunRecord, digest_of_training

RECORD = RunRecord("t", "v", "cpu", "float32", 2, 1)
BEFORE = TrainConfig(
    data=(DataSource("/d/images", "/d/c.csv"),),
    input_size=64,
    decoder="attention",
    hidden=32,
    embedding=16,
    attention=8,
)
# Another value of each setting.
OTHER: dict[str, Any] = {
    "data": (DataSource("/e/images"),),
    "init": ("default",),
    "encoder": "/enc.npz",
    "encoder_stride": "v1",
    "decoder": "pooled",
    "objective": "self-critical",
    "device": "cpu",
    "precision": "float32",
    "left_right": ("links", "rechts"),
}


def other(name: str) -> TrainConfig:
    """The run's settings with another value of one, and what that value goes with."""
    value = getattr(BEFORE, name)
    if name in OTHER:
        changed = OTHER[name]
    elif isinstance(value, bool):
        changed = not value
    elif isinstance(value, int):
        changed = value + 1
    else:
        changed = value / 2 if value else 0.25
    extra: dict[str, Any] = {"objective": "self-critical"} if name in ("bleu", "meteor") else {}
    extra |= {"init": ("default",)} if name == "keep_vocabulary" else {}
    return replace(BEFORE, **{name: changed}, **extra)


def written(tmp_path: Path, config: TrainConfig = BEFORE, record: RunRecord | None = RECORD) -> RunFolder:
    folder = RunFolder(tmp_path)
    folder.write_config(config)
    if record is not None:
        folder.write_record(record)
    return folder


@pytest.mark.parametrize("name", [item.name for item in fields(TrainConfig)])
def test_each_setting_is_refused_by_name_or_its_change_is_said(name: str, tmp_path: Path) -> None:
    folder = written(tmp_path, record=None)
    config = other(name)
    assert getattr(config, name) != getattr(BEFORE, name)
    if name in MAY_CHANGE:
        run = earlier_run(folder, config)
        assert run is not None
        (line,) = run.changes(config, RECORD)
        flag = f"--{name.replace('_', '-')}"
        assert line == f"{flag} is {getattr(config, name)} now, was {getattr(BEFORE, name)}"
    else:
        with pytest.raises(UsageError, match=rf"other settings \((\w+, )*{name}[,)]"):
            earlier_run(folder, config)


def test_those_that_may_change_are_those_that_the_issue_lists() -> None:
    of_the_machine = {"device", "precision", "threads", "workers", "save_every"}
    of_validation = {"val_images", "val_every", "beam", "length_penalty", "max_length"}
    assert {"epochs"} | of_validation | of_the_machine == MAY_CHANGE


@pytest.mark.parametrize("name", ["max_length", "length_penalty"])
def test_what_self_critical_training_searches_with_stays(name: str, tmp_path: Path) -> None:
    before = replace(BEFORE, objective="self-critical")
    folder = written(tmp_path, before)
    with pytest.raises(UsageError, match=rf"other settings \({name}\)"):
        earlier_run(folder, replace(before, **{name: getattr(before, name) + 1}))
    assert earlier_run(folder, replace(before, beam=5)) is not None


def test_sizes_that_were_left_to_the_network_are_the_same(tmp_path: Path) -> None:
    folder = written(tmp_path)
    unsaid = replace(BEFORE, decoder=None, hidden=None, embedding=None, attention=None, input_size=0)
    run = earlier_run(folder, unsaid)
    assert run is not None
    assert run.complete(unsaid) == BEFORE
    assert run.changes(run.complete(unsaid), RECORD) == []


def test_a_run_is_the_same_from_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "d" / "images").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "d")
    monkeypatch.chdir(tmp_path)
    relative = replace(BEFORE, data=(DataSource("d/images", "d/c.csv"),), encoder="enc.npz")
    folder = written(tmp_path / "run", relative, record=None)
    monkeypatch.chdir("/")
    for at in (tmp_path, Path("/", "tmp", "..", *tmp_path.parts[1:])):
        again = replace(relative, data=(DataSource(f"{at}/link/images", f"{at}/d/c.csv"),), encoder=f"{at}/enc.npz")
        run = earlier_run(folder, again)
        assert run is not None and run.changes(again, RECORD) == []
    with pytest.raises(UsageError, match=r"other settings \(data, encoder\)"):
        earlier_run(folder, relative)


def test_a_folder_of_before_is_compared_from_where_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder(tmp_path)
    relative = replace(BEFORE, data=(DataSource("d/images"),))
    values = relative.as_dict()
    values["rate"] = values.pop("learning_rate")
    (tmp_path / "config.json").write_text(json.dumps(values))
    monkeypatch.chdir(tmp_path)
    assert folder.read_config() == relative
    assert earlier_run(folder, replace(relative, data=(DataSource(f"{tmp_path}/d/images"),))) is not None


def test_other_data_is_refused_unless_it_has_only_moved(tmp_path: Path) -> None:
    folder = written(tmp_path)
    moved = replace(BEFORE, data=(DataSource("/elsewhere/images", "/elsewhere/c.csv"),))
    run = earlier_run(folder, moved)
    assert run is not None
    run.check_data(folder, moved, RECORD)
    assert run.changes(moved, RECORD) == ["the data lies in /elsewhere/images now, was in /d/images"]
    with pytest.raises(UsageError, match=r"its training images or captions have changed .*--init"):
        run.check_data(folder, moved, replace(RECORD, train="x"))
    with pytest.raises(UsageError, match="its training and validation images or captions have changed"):
        run.check_data(folder, moved, replace(RECORD, train="x", validation="y"))
    # Fewer validation images are others.
    run.check_data(folder, replace(BEFORE, val_images=3), replace(RECORD, validation="y"))


def test_another_machine_and_other_versions_are_said_as_what_they_came_to(tmp_path: Path) -> None:
    run = EarlierRun(BEFORE, RECORD)
    now = RunRecord("t", "v", "cuda", "bfloat16", 2, 15, capcli="9.9", torch="2.99", python="3.99")
    lines = run.changes(replace(BEFORE, device="cuda", threads=2), now)
    assert "the device is cuda now, was cpu" in lines
    assert "the precision is bfloat16 now, was float32" in lines
    assert "the number of worker processes is 15 now, was 1" in lines
    assert "--threads is 2 now, was 0" in lines
    assert {line.split()[0] for line in lines} >= {"capcli's", "PyTorch's", "Python's"}
    assert len(lines) == 7


def test_an_end_that_lies_behind_is_refused(tmp_path: Path) -> None:
    folder = written(tmp_path)
    run = EarlierRun(BEFORE, RECORD)
    run.check_epochs(folder, replace(BEFORE, epochs=1), 10)  # nothing is trained yet
    folder.save("last", {"update": 25})
    for epochs in (3, 12, 13):
        run.check_epochs(folder, replace(BEFORE, epochs=epochs), 10)
    with pytest.raises(UsageError, match=r"--epochs 2: .* has trained for 2.5 epochs already"):
        run.check_epochs(folder, replace(BEFORE, epochs=2), 10)


def test_the_digest_sees_captions_order_data_set_and_image_and_not_the_place(tmp_path: Path) -> None:
    for place in ("a", "b"):
        (tmp_path / place).mkdir()
        for name, content in (("one", b"12"), ("two", b"123")):
            (tmp_path / place / name).write_bytes(content)

    def images(place: str) -> list[EncodedImage]:
        return [
            EncodedImage(tmp_path / place / "one", ((4, 5), (6,)), (False, True)),
            EncodedImage(tmp_path / place / "two", ((4,),), (False,), 1),
        ]

    def keys(place: str) -> dict[Path, str]:
        return {tmp_path / place / name: (tmp_path / place / name).read_bytes().hex() for name in ("one", "two")}

    first = images("a")
    digest = digest_of_training(first, keys("a"))
    assert digest_of_training(images("b"), keys("b")) == digest
    for changed in (
        first[::-1],
        first[:1],
        [replace(first[0], captions=((4, 5), (7,))), first[1]],
        [replace(first[0], captions=((4,), (5, 6))), first[1]],
        [replace(first[0], cut=(False, False)), first[1]],
        [first[0], replace(first[1], data_set=0)],
    ):
        assert digest_of_training(changed, keys("a")) != digest
    # As many bytes as before, but others.
    (tmp_path / "b" / "two").write_bytes(b"124")
    assert digest_of_training(images("b"), keys("b")) != digest
