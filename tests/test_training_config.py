"""Settings of a training run: defaults, TOML file, command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import RunCommand

from capcli.errors import UsageError
from capcli.training.config import DataSource, TrainConfig, read_toml


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
