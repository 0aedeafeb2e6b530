"""Cross-entropy on the reference captions: which words are learnt, and how smoothly."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

from capcli.training.inputs.batches import Batch  # noqa: E402
from capcli.training.inputs.examples import Sentences  # noqa: E402
from capcli.training.objectives import CrossEntropy  # noqa: E402
from tests.training.objectives.little_batch import TOKENIZER, make_batch, make_decoder  # noqa: E402


def test_unknown_words_are_not_learnt() -> None:
    """Their scores get no gradient, though they are read like others."""
    features, _, _ = make_batch()
    decoder = make_decoder()
    captions = [(0, [*TOKENIZER.encode("a zebra"), TOKENIZER.end]), (1, [*TOKENIZER.encode("cat"), TOKENIZER.end])]
    assert TOKENIZER.unknown in captions[0][1]
    batch = Batch(torch.zeros(2), Sentences.lay_out(captions, TOKENIZER.start, TOKENIZER.unknown), [], [0, 0])
    value = CrossEntropy(0.0)(decoder, features, batch)
    assert value.words == 4
    assert float(value.loss.detach()) == pytest.approx(value.nats / 4, rel=1e-5)
    logits = torch.zeros(5, len(TOKENIZER), requires_grad=True)
    torch.autograd.backward(CrossEntropy(0.1).of(logits, batch.sentences.targets).loss)
    assert logits.grad is not None
    learnt = logits.grad.abs().sum(1) > 0
    # Step by step, the longer caption first: a, cat; zebra, end; end.
    assert learnt.tolist() == [True, True, False, True, True]


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.4])
def test_label_smoothing_spreads_its_share_over_all_words(smoothing: float) -> None:
    torch.manual_seed(1)
    logits, targets = torch.randn(7, 11), torch.tensor([3, 1, Sentences.IGNORED, 0, 10, Sentences.IGNORED, 5])
    value = CrossEntropy(smoothing).of(logits, targets)
    log_probs = torch.log_softmax(logits, -1)
    nats = sum(
        -(1 - smoothing) * float(log_probs[row, target]) - smoothing * float(log_probs[row].mean())
        for row, target in enumerate(targets.tolist())
        if target != Sentences.IGNORED
    )
    assert value.words == 5 and value.nats == pytest.approx(nats, rel=1e-5)
    assert float(value.loss) == pytest.approx(nats / 5, rel=1e-5)
