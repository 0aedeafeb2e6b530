"""The network: whole captions at once and step by step are the same function."""

from __future__ import annotations

import json

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

from capcli.training.network import (  # noqa: E402
    CaptionNetwork,
    DecoderConfig,
    build_decoder,
    with_present_names,
)
from capcli.training.quantise import quantise  # noqa: E402
from capcli.training.resnet import EncoderConfig, ResNet50  # noqa: E402

SMALL = {"vocabulary": 23, "features": 32, "hidden": 16, "embedding": 12, "attention": 8}


@pytest.mark.parametrize("kind", ["attention", "pooled"])
def test_teacher_forcing_scores_what_steps_score(kind: str) -> None:
    torch.manual_seed(0)
    decoder = build_decoder(DecoderConfig(kind, **SMALL)).eval()
    grid = torch.randn(3, 9, SMALL["features"])
    images = torch.tensor([2, 0, 0, 1])
    lengths = [6, 4, 4, 1]
    tokens = torch.randint(0, SMALL["vocabulary"], (4, 6))
    with torch.inference_mode():
        logits = decoder.teacher_forced(grid, images, tokens, lengths)
        together = torch.log_softmax(logits, -1)
        context, state = decoder.prepare(grid)
        context = tuple(part[images] for part in context)
        state = tuple(part[images] for part in state)
        one_by_one = []
        for position in range(6):
            scores, state, attention = decoder.step(tokens[:, position], state, context)
            one_by_one.append(scores[: sum(length > position for length in lengths)])
            if attention is not None:
                torch.testing.assert_close(attention.sum(-1), torch.ones(4))
    torch.testing.assert_close(together, torch.cat(one_by_one))


@pytest.mark.parametrize("kind", ["attention", "pooled"])
def test_every_decoder_weight_learns(kind: str) -> None:
    torch.manual_seed(0)
    decoder = build_decoder(DecoderConfig(kind, **SMALL))
    logits = decoder.teacher_forced(
        torch.randn(2, 9, 32), torch.tensor([0, 1]), torch.ones(2, 3, dtype=torch.int64), [3, 2]
    )
    torch.autograd.backward(logits.logsumexp(-1).sum())
    still = [name for name, tensor in decoder.named_parameters() if tensor.grad is None or not tensor.grad.any()]
    assert still == []


@pytest.mark.parametrize("kind", ["attention", "pooled"])
def test_a_decoder_gives_what_it_says_it_gives(kind: str) -> None:
    """The exported graphs are built from these names and shapes."""
    decoder = build_decoder(DecoderConfig(kind, **SMALL)).eval()
    cells = 9
    with torch.inference_mode():
        context, state = decoder.prepare(torch.randn(2, cells, SMALL["features"]))
        _, after, attention = decoder.step(torch.tensor([1, 2]), state, context)
    for tensors, shapes in ((context, decoder.context_shapes), (state, decoder.state_shapes)):
        wanted = [(2, *(cells if size == -1 else size for size in shape)) for shape in shapes.values()]
        assert [tuple(tensor.shape) for tensor in tensors] == wanted
    assert [tensor.shape for tensor in after] == [tensor.shape for tensor in state]
    assert decoder.attends == (attention is not None)
    assert decoder.context_names == (("values", "keys") if kind == "attention" else ())
    assert decoder.state_names == (("h1", "c1", "h2", "c2") if kind == "attention" else ("h", "c"))


def test_an_encoder_is_described_in_plain_values() -> None:
    """As JSON and a checkpoint give them back."""
    config = EncoderConfig("conv2", "symmetric", width=8, blocks=(1, 2, 3, 4))
    values = json.loads(json.dumps(config.as_dict()))
    assert values == config.as_dict()
    assert EncoderConfig.from_dict(values) == config


@pytest.mark.parametrize("stride_in", ["conv1", "conv2"])
@pytest.mark.parametrize("pool", ["right-bottom", "symmetric"])
def test_the_grid_has_a_cell_for_every_32_pixels(stride_in: str, pool: str) -> None:
    encoder = ResNet50(EncoderConfig(stride_in, pool, width=8))
    with torch.inference_mode():
        assert encoder(torch.zeros(2, 224, 224, 3, dtype=torch.uint8)).shape == (2, 49, 256)
        assert encoder(torch.zeros(1, 64, 64, 3, dtype=torch.uint8)).shape == (1, 4, 256)


def test_frozen_and_trained_parts_together_are_the_whole_encoder() -> None:
    torch.manual_seed(0)
    encoder = ResNet50(EncoderConfig(width=8)).eval()
    images = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    with torch.inference_mode():
        whole = encoder.forward_until(images, 4)
        for stage in range(5):
            torch.testing.assert_close(encoder.forward_from(encoder.forward_until(images, stage), stage), whole)


def test_rounding_moves_no_weight_by_more_than_half_a_step() -> None:
    torch.manual_seed(0)
    network = CaptionNetwork(
        ResNet50(EncoderConfig(width=8)), build_decoder(DecoderConfig("attention", **{**SMALL, "features": 256}))
    )
    rounded = quantise(network)
    checked = 0
    for name, module in rounded.named_modules():
        if hasattr(module, "weight_int8"):
            weight = network.get_parameter(f"{name}.weight")
            assert (module.weight - weight).abs().sub(module.scale / 2 * 1.001).le(0).all()
            checked += 1
    assert checked == 53 + 11


@pytest.mark.parametrize("kind", ["attention", "pooled"])
def test_weights_of_before_are_read_under_their_present_names(kind: str) -> None:
    decoder = build_decoder(DecoderConfig(kind, **SMALL))
    weights = decoder.state_dict()
    before = {
        name.replace("attention_lstm.", "look.").replace("language_lstm.", "say."): tensor
        for name, tensor in weights.items()
    }
    assert before.keys() != weights.keys()
    assert with_present_names(before) == weights
    assert with_present_names(weights) == weights
