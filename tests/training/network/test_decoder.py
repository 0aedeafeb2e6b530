"""Decoders: whole captions at once and step by step are the same function."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

from torch import Tensor  # noqa: E402

from capcli.training.config import DECODER_KINDS  # noqa: E402
from capcli.training.network.decoder import DECODERS, DecoderConfig, Dropout, build_decoder  # noqa: E402
from capcli.training.network.lstm import LSTMCell  # noqa: E402

SMALL = {"vocabulary": 23, "features": 32, "hidden": 16, "embedding": 12, "attention": 8}


@pytest.mark.parametrize("kind", DECODERS)
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


@pytest.mark.parametrize("kind", DECODERS)
def test_every_decoder_weight_learns(kind: str) -> None:
    torch.manual_seed(0)
    decoder = build_decoder(DecoderConfig(kind, **SMALL))
    logits = decoder.teacher_forced(
        torch.randn(2, 9, 32), torch.tensor([0, 1]), torch.ones(2, 3, dtype=torch.int64), [3, 2]
    )
    torch.autograd.backward(logits.logsumexp(-1).sum())
    still = [name for name, tensor in decoder.named_parameters() if tensor.grad is None or not tensor.grad.any()]
    assert still == []


def test_every_decoder_can_be_asked_for() -> None:
    """`capcli train` refuses other kinds before it has loaded PyTorch, so it has a list of its own."""
    assert tuple(DECODERS) == DECODER_KINDS


@pytest.mark.parametrize("kind", DECODERS)
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


@pytest.mark.parametrize("kind", DECODERS)
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


@pytest.mark.parametrize("kind", DECODERS)
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


@pytest.mark.parametrize("kind", DECODERS)
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
