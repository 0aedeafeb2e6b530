"""What --init gives a run, what it says of it, and what it does not go with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import TINY_BUNDLE

torch = pytest.importorskip("torch", reason="needs the train extra")

from capcli.bundle.bundle import find_bundle  # noqa: E402
from capcli.bundle.habits import Habits  # noqa: E402
from capcli.bundle.tokens import Tokenizer  # noqa: E402
from capcli.dataset.captions import CaptionedImage  # noqa: E402
from capcli.errors import DataError, UsageError  # noqa: E402
from capcli.training.config import TrainConfig  # noqa: E402
from capcli.training.data import TrainingData  # noqa: E402
from capcli.training.initial import first_encoder, initial_model, settings_of_model  # noqa: E402
from capcli.training.model import CaptioningModel  # noqa: E402
from capcli.training.network.caption_network import CaptionNetwork  # noqa: E402
from capcli.training.network.decoder import DecoderConfig, build_decoder  # noqa: E402
from capcli.training.network.resnet import EncoderConfig  # noqa: E402
from capcli.training.onnx.read import read_encoder  # noqa: E402
from capcli.training.run_folder import RunFolder  # noqa: E402
from tests.make_tiny_bundle import narrow_encoder  # noqa: E402

TINY = TrainConfig(init=(str(TINY_BUNDLE),), min_count=2)
# The bundle knows shapes and colours, and neither dinosaurs nor "purple".
KNOWN, NEW = "a red circle on a white ground", "purple dinosaurs"


def data(*captions: str) -> TrainingData:
    return TrainingData([CaptionedImage(Path("x.png"), "x.png", captions)], [], [])


def pooled_run(folder: Path) -> Path:
    """A run with a finished epoch, whose decoder is the pooled one."""
    run = RunFolder(folder)
    folder.mkdir(parents=True)
    tokenizer = Tokenizer.learn([KNOWN], 1)
    sizes = DecoderConfig("pooled", len(tokenizer), narrow_encoder().config.channels, hidden=12, embedding=10)
    network = CaptionNetwork(narrow_encoder(), build_decoder(sizes))
    run.save("best", {"model": {}, "result": {}})
    run.write_start(TrainConfig(input_size=64), CaptioningModel(network, tokenizer, Habits(), 64))
    return folder


def test_what_init_gave_is_said_and_the_settings_are_those_of_the_network(tmp_path: Path) -> None:
    notes: list[str] = []
    start = initial_model(TINY, RunFolder(tmp_path), data(KNOWN, f"{KNOWN} {NEW}", f"{KNOWN} purple"), notes.append)
    sizes = start.network.decoder.config
    (line,) = notes
    # 24 words, of which "dinosaurs" is seen but once.
    assert line.startswith(f"--init {TINY_BUNDLE}: attention decoder (hidden {sizes.hidden}, embedding ")
    assert line.endswith(
        f"{len(start.tokenizer) - 4 - 1} words kept, 1 added; {100 / 24:.1f} % of the words in the training captions "
        "are unknown to it"
    )
    config = settings_of_model(TINY, start)
    assert (config.decoder, config.hidden, config.embedding) == ("attention", sizes.hidden, sizes.embedding)
    assert (config.attention, config.input_size) == (sizes.attention, 64)


def test_a_pooled_network_is_described_as_what_it_is(tmp_path: Path) -> None:
    config = TrainConfig(init=(str(pooled_run(tmp_path / "pooled")),), min_count=1)
    notes: list[str] = []
    start = initial_model(config, RunFolder(tmp_path / "run"), data(KNOWN), notes.append)
    assert ": pooled decoder (hidden 12, embedding 10), 6 words kept, 0 added; 0.0 %" in notes[0]
    config = settings_of_model(config, start)
    assert (config.decoder, config.hidden, config.embedding) == ("pooled", 12, 10)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"decoder": "pooled"}, "--decoder pooled: the network of --init .* has decoder attention"),
        ({"hidden": 384}, "--hidden 384: the network of --init .* has hidden 48"),
        ({"embedding": 7, "attention": 9}, "--embedding 7, --attention 9: .* has embedding 24, attention 16"),
        ({"keep_vocabulary": True}, "--min-count .* --keep-vocabulary"),
    ],
)
def test_what_the_network_has_otherwise_is_refused_by_name(
    settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        initial_model(replace(TINY, **settings), RunFolder(tmp_path), data(KNOWN), pytest.fail)


def test_what_the_network_has_too_may_be_said(tmp_path: Path) -> None:
    config = replace(TINY, decoder="attention", hidden=48, embedding=24, attention=16)
    assert initial_model(config, RunFolder(tmp_path), data(KNOWN), print).network.decoder.config.hidden == 48


def test_captions_of_which_no_word_is_known_are_warned_of(tmp_path: Path) -> None:
    config = replace(TINY, keep_vocabulary=True, min_count=5)
    lines: list[str] = []
    initial_model(config, RunFolder(tmp_path), data(KNOWN, NEW, f"{NEW} red", "..."), lines.append)
    assert [line for line in lines if line.startswith("warning")] == [
        "warning: 1 of 4 training captions hold no known word, and nothing is learnt from them; lower --min-count, "
        "and leave out --keep-vocabulary"
    ]
    lines.clear()
    initial_model(config, RunFolder(tmp_path), data(KNOWN), lines.append)
    assert len(lines) == 1


def test_an_encoder_of_another_width_is_one_clear_line(tmp_path: Path) -> None:
    config = replace(TINY, init=("default",), encoder=str(TINY_BUNDLE))
    with pytest.raises(UsageError, match=r"--encoder .*tiny_bundle: has 256 channels, .* --init default takes 2048"):
        initial_model(config, RunFolder(tmp_path), data(KNOWN), pytest.fail)


def test_the_encoder_is_the_shipped_bundles_unless_another_is_named() -> None:
    shipped, first = read_encoder(find_bundle("default")), first_encoder(TrainConfig())
    assert first.config == shipped.config == EncoderConfig()
    assert all(torch.equal(tensor, first.state_dict()[name]) for name, tensor in shipped.state_dict().items())


def test_a_bundle_gives_its_encoder_back() -> None:
    encoder = first_encoder(TrainConfig(encoder=str(TINY_BUNDLE)))
    assert encoder.config.width == 8
    assert all(torch.isfinite(tensor).all() for tensor in encoder.state_dict().values())
    same = read_encoder(TINY_BUNDLE)
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(tensor, same.state_dict()[name])


def test_an_encoder_that_is_no_bundle_is_one_clear_line(tmp_path: Path) -> None:
    for name, message in (
        (str(tmp_path), "not readable as a bundle"),
        (str(tmp_path / "none.npz"), "no such file; --encoder takes"),
    ):
        with pytest.raises(DataError, match=message) as caught:
            first_encoder(TrainConfig(encoder=name))
        assert name in str(caught.value) and "\n" not in str(caught.value)
