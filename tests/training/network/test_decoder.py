"""The network: whole captions at once and step by step are the same function."""

from __future__ import annotations

import json

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

from torch import Tensor  # noqa: E402

from capcli.training.network.decoder import (  # noqa: E402
    CaptionNetwork,
    DecoderConfig,
    Dropout,
    LSTMCell,
    build_decoder,
    with_present_names,
)
from capcli.training.network.resnet import IMAGENET_MEAN, IMAGENET_STD, EncoderConfig, ResNet50  # noqa: E402
from capcli.training.onnx.quantise import quantise  # noqa: E402

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


@pytest.mark.parametrize("kind", ["attention", "pooled"])
def test_a_words_row_is_both_its_input_and_its_output(kind: str) -> None:
    """The embedding gets gradients of words that are read and of words that are scored."""
    torch.manual_seed(0)
    decoder = build_decoder(DecoderConfig(kind, **SMALL), Dropout(0.0, 0.0))

    def gradient(read: int, scored: int) -> Tensor:
        logits = decoder.teacher_forced(torch.randn(1, 9, 32), torch.tensor([0]), torch.tensor([[1, read]]), [2])
        (found,) = torch.autograd.grad(logits[1, scored], decoder.embedding.weight)
        rows: Tensor = found.abs().sum(1) > 0
        return rows

    assert gradient(5, 9).nonzero().flatten().tolist() == [1, 5, 9]
    output = torch.randn(3, SMALL["hidden"])
    scores = decoder.to_embedding(output) @ decoder.embedding.weight.T + decoder.output_bias
    torch.testing.assert_close(decoder.logits(output), scores)


@pytest.mark.parametrize("kind", ["attention", "pooled"])
def test_a_fresh_forget_gate_is_open(kind: str) -> None:
    """What a cell held before stays in it for the greater part, whatever the other gates do."""
    torch.manual_seed(0)
    decoder = build_decoder(DecoderConfig(kind, **SMALL))
    cells = [module for module in decoder.modules() if isinstance(module, LSTMCell)]
    assert len(cells) == (2 if kind == "attention" else 1)
    for cell in cells:
        gates = cell.from_input(torch.zeros(1, cell.from_input.in_features))
        _, kept = cell(gates, torch.zeros(1, cell.from_state.in_features), torch.full((1, SMALL["hidden"]), 1e4))
        assert kept.shape == (1, SMALL["hidden"])
        torch.testing.assert_close(kept / 1e4, torch.sigmoid(torch.ones_like(kept)), atol=1e-3, rtol=0)


@pytest.mark.parametrize("kind", ["attention", "pooled"])
@pytest.mark.parametrize("which", ["features", "words"])
def test_each_dropout_drops_what_it_is_for_and_only_in_training(kind: str, which: str) -> None:
    torch.manual_seed(0)
    rates = {"features": 0.0, "words": 0.0, which: 0.5}
    decoder = build_decoder(DecoderConfig(kind, **SMALL), Dropout(**rates)).train()
    grid, tokens, output = torch.randn(2, 9, 32), torch.tensor([3, 4]), torch.randn(2, SMALL["hidden"])

    def changes() -> dict[str, bool]:
        once, again = ((decoder.prepare(grid), decoder.word_gates(tokens), decoder.logits(output)) for _ in range(2))
        pairs = zip(once[0][0] + once[0][1], again[0][0] + again[0][1], strict=True)
        return {
            "features": not all(torch.equal(one, other) for one, other in pairs),
            "words": not torch.equal(once[1], again[1]),
            "output": not torch.equal(once[2], again[2]),
        }

    assert changes() == {"features": which == "features", "words": which == "words", "output": which == "words"}
    decoder.eval()
    assert not any(changes().values())


def test_dropout_is_as_frequent_as_told() -> None:
    torch.manual_seed(0)
    decoder = build_decoder(DecoderConfig("attention", 23, 32, 64, 12, 8), Dropout(0.75, 0.25)).train()
    (values, _), _ = decoder.prepare(torch.randn(8, 9, 32))
    # Half of what a ReLU lets through is nothing anyway.
    assert float((values == 0).float().mean()) == pytest.approx(1 - 0.25 * 0.5, abs=0.03)


def test_pixels_are_normalised_as_imagenets() -> None:
    """A picture of the mean colour is nothing, and one brighter by a deviation is one."""
    encoder = ResNet50(EncoderConfig(width=8))
    seen = []
    encoder.conv1.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    mean, deviation = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
    for level in (mean, mean + deviation):
        encoder.forward_until((255 * level).expand(1, 32, 32, 3), 1)
    torch.testing.assert_close(seen[0], torch.zeros(1, 3, 32, 32), atol=1e-5, rtol=0)
    torch.testing.assert_close(seen[1], torch.ones(1, 3, 32, 32), atol=1e-5, rtol=0)


def test_the_word_presence_head_is_its_seeds_and_leaves_the_random_state_alone() -> None:
    def network() -> CaptionNetwork:
        torch.manual_seed(0)
        decoder = build_decoder(DecoderConfig("attention", **{**SMALL, "features": 256}))
        return CaptionNetwork(ResNet50(EncoderConfig(width=8)), decoder)

    heads = [network().add_presence(seed) for seed in (1, 1, 2)]
    assert heads[0].weight.shape == (SMALL["vocabulary"], 256)
    assert torch.equal(heads[0].weight, heads[1].weight) and not torch.equal(heads[0].weight, heads[2].weight)
    before = network()
    state = torch.get_rng_state()
    before.add_presence(3)
    assert torch.equal(torch.get_rng_state(), state)


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
