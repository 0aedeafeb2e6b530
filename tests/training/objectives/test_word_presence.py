"""The auxiliary loss on which words an image's captions hold."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

from capcli.training.objectives import CrossEntropy, WordPresence  # noqa: E402
from tests.training.objectives.little_batch import TOKENIZER, make_batch, make_decoder  # noqa: E402

SPECIAL = (TOKENIZER.pad, TOKENIZER.start, TOKENIZER.end, TOKENIZER.unknown)


def test_the_words_of_an_image_share_the_target_of_word_presence_evenly() -> None:
    torch.manual_seed(2)
    head = torch.nn.Linear(8, len(TOKENIZER))
    features = torch.randn(3, 4, 8)
    references = [
        [[*TOKENIZER.encode("a red dog"), TOKENIZER.end], [*TOKENIZER.encode("a zebra dog runs"), TOKENIZER.end]],
        [TOKENIZER.encode("cat cat")],
        # Without a known word there is nothing to tell.
        [[TOKENIZER.unknown, TOKENIZER.end]],
    ]
    value = WordPresence(head, 0.5, SPECIAL)(features, references)
    log_probs = torch.log_softmax(head(features.mean(1)), -1).detach()
    words = [TOKENIZER.encode("a red dog runs"), TOKENIZER.encode("cat")]
    wanted = -0.5 * sum(float(log_probs[row, each].mean()) for row, each in enumerate(words)) / 3
    assert float(value.detach()) == pytest.approx(wanted, rel=1e-5)


def test_images_without_a_known_word_have_no_word_presence() -> None:
    head = torch.nn.Linear(8, len(TOKENIZER))
    value = WordPresence(head, 1.0, SPECIAL)(torch.randn(1, 4, 8), [[[TOKENIZER.unknown, TOKENIZER.end]]])
    assert float(value.detach()) == 0


def test_word_presence_teaches_the_encoder_and_comes_on_top() -> None:
    features, batch, _ = make_batch()
    head = torch.nn.Linear(8, len(TOKENIZER))
    presence = WordPresence(head, 0.7, SPECIAL)
    features.requires_grad_()
    alone, both = (CrossEntropy(0.0, each)(make_decoder(), features, batch) for each in (None, presence))
    loss = presence(features, batch.references)
    assert float(both.loss.detach()) == pytest.approx(float((alone.loss + loss).detach()), rel=1e-5)
    assert (both.nats, both.words) == (alone.nats, alone.words)
    (gradient,) = torch.autograd.grad(loss, features)
    assert (gradient.abs().sum(-1) > 0).all()
