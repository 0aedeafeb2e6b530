"""Settings of a training run: defaults, TOML file, command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from capcli.errors import UsageError
from capcli.training.config import RENAMED, DataSource, TrainConfig
from capcli.training.config_file import read_toml
from tests.conftest import RunCommand


def test_settings_survive_a_round_trip_through_plain_values() -> None:
    config = TrainConfig(data=(DataSource("a", "b", "c"),), epochs=3, flip=False, init=("x", "y"))
    assert TrainConfig.from_dict(config.as_dict(), "here") == config


def test_a_toml_file_gives_settings_and_data_sets_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "recipe.toml"
    file.write_text('epochs = 3\nrate = 1\nmin-count = 2\n[[data]]\nimages = "photos"\ncaptions = "c.csv"\n', "utf-8")
    config = TrainConfig.from_dict(read_toml(file), str(file))
    assert (config.epochs, config.learning_rate, config.min_count) == (3, 1.0, 2)
    assert config.data == (DataSource(str(tmp_path / "photos"), str(tmp_path / "c.csv")),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch = 3", "unknown setting 'epoch'"),
        ("epochs = '3'", "epochs is '3'"),
        ("epochs = true", "epochs is True"),
        ("epochs = 0", "at least 1"),
        ("input_size = 8", "between 32 and 1024, or 0"),
        ("val = 1.5", "between 0 and 0.9"),
        ("decoder = 'transformer'", "attention, pooled"),
        ("left_right = ['a']", "two words"),
        ("rate = 1e-3\nlearning-rate = 1e-3", "learning_rate is given twice"),
        ("rate = nan", "finite number"),
        ("distil = 0.7", "'distil' is gone"),
        ("keep_vocabulary = true", "--init"),
        ("word_presence = 0.1\nobjective = 'self-critical'", "--objective cross-entropy"),
        ("init = [3]", "list of bundles and runs"),
        ("teachers = ['a']", "'teachers' is gone"),
        ("bleu = 1", "--objective self-critical"),
        ("meteor = 1", "--objective self-critical"),
        ("data = 3", r"\[\[data\]\]"),
        ("[[data]]\nimages = 3", "images in a .* is 3; it must be a path"),
        ("[[data]]\nimages = 'x'\ncaptions = ['y']", "captions in a .* must be a path"),
        ("hidden = 0", "--hidden is 0; it must be at least 1"),
        ("hidden = 1.5", "hidden is 1.5; it must be of type int"),
        ("[[data]]\nimage = 'x'", r"\[\[data\]\]"),
        ("epochs =", "not readable as a TOML file"),
    ],
)
def test_a_wrong_setting_is_named(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "recipe.toml"
    file.write_text(text, "utf-8")
    with pytest.raises(UsageError, match=message):
        TrainConfig.from_dict(read_toml(file), str(file))


def test_every_setting_is_an_option_of_the_command(capcli: RunCommand) -> None:
    shown = capcli("train", "--help", env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}).text
    for name in TrainConfig.__dataclass_fields__:
        if name not in ("data", "left_right"):
            assert f"--{name.replace('_', '-')}" in shown
    for name in ("--images", "--captions", "--out", "--config", "--train-split", "--val-split"):
        assert name in shown


def test_settings_are_shown_in_groups_with_their_defaults_and_earlier_names_are_not(capcli: RunCommand) -> None:
    shown = capcli("train", "--help", env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}).text
    panels = [line.split(" ")[1] for line in shown.splitlines() if line.startswith("╭")]
    assert panels == ["Options", "Data", "Network", "Optimisation", "Augmentation", "Self-critical", *panels[6:]]
    assert panels[6:] == ["Validation", "Machine"]
    augmentation = shown.split("─ Augmentation ─")[1].split("╰")[0]
    assert "--blur" in augmentation and "--hidden" not in augmentation
    assert "(default: 12)" in shown and "(default: that of --init, else 384)" in shown
    words = shown.replace("│", " ").split()
    assert not {f"--{name.replace('_', '-')}" for name in RENAMED} & set(words)


def test_earlier_names_still_work_and_the_command_line_wins_over_the_file(capcli: RunCommand, tmp_path: Path) -> None:
    """Told by what is refused, which needs no training."""
    file = tmp_path / "recipe.toml"
    file.write_text("learning-rate = 0.5\n", "utf-8")
    for flag in ("--rate", "--learning-rate"):
        done = capcli("train", "--config", file, flag, "-3", "--out", tmp_path / "run")
        assert (done.code, done.errors) == (2, "capcli: --learning-rate is -3.0; it must be at least 0\n")
    done = capcli("train", "--rate", "1", "--learning-rate", "1", "--out", tmp_path / "run")
    assert (done.code, done.errors.count("\n")) == (2, 1)
    assert "learning_rate is given twice, once by an earlier name of it; leave one out" in done.errors
