"""What updates make better: people's captions more likely, the network's own better."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

from torch import Tensor  # noqa: E402

from capcli.decoding import SearchSettings  # noqa: E402
from capcli.filters import caption_filters  # noqa: E402
from capcli.habits import Habits  # noqa: E402
from capcli.tokens import Tokenizer  # noqa: E402
from capcli.training.batches import Batch, Sentences  # noqa: E402
from capcli.training.network import Decoder, DecoderConfig, Dropout, build_decoder  # noqa: E402
from capcli.training.objectives import CrossEntropy, Objective, SelfCritical  # noqa: E402
from capcli.training.reward import BleuReward, CiderReward, Reward  # noqa: E402

TOKENIZER = Tokenizer.learn(["a red dog", "a blue cat", "the green bird runs"], 1)
FILTERS = caption_filters(TOKENIZER, Habits({}, {"a": 2}))
SEARCH = SearchSettings(beam=4, captions=4, max_length=5)


def make_decoder(kind: str = "attention") -> Decoder:
    torch.manual_seed(3)
    return build_decoder(DecoderConfig(kind, len(TOKENIZER), 8, 12, 6, 5), Dropout(0.0, 0.0))


def make_batch() -> tuple[Tensor, Batch, list[tuple[float, Reward]]]:
    references = [
        [[*TOKENIZER.encode(text), TOKENIZER.end] for text in texts]
        for texts in (["a red dog", "the red dog"], ["a blue cat", "a cat runs"])
    ]
    said = [(image, words) for image, captions in enumerate(references) for words in captions]
    torch.manual_seed(4)
    return (
        torch.randn(2, 4, 8),
        Batch(torch.zeros(2), Sentences.lay_out(said, TOKENIZER.start, TOKENIZER.unknown), references, [0, 1]),
        [(1.0, CiderReward({0: references, 1: references}))],
    )


def test_sentences_are_laid_out_step_by_step() -> None:
    sentences = Sentences.lay_out([(0, [7, 2]), (1, [5, 6, 2])], start=1, unknown=9)
    assert sentences.order == [1, 0] and sentences.lengths == [3, 2]
    assert sentences.images.tolist() == [1, 0]
    assert sentences.tokens.tolist() == [[1, 5, 6], [1, 7, 1]]
    assert sentences.targets.tolist() == [5, 7, 6, 2, 2]
    assert sentences.owners.tolist() == [0, 1, 0, 1, 0]


def test_unknown_words_are_not_learnt() -> None:
    features, batch, _ = make_batch()
    batch.sentences.targets[0] = Sentences.IGNORED
    value = CrossEntropy(0.0)(make_decoder(), features, batch)
    assert value.words == len(batch.sentences.targets) - 1
    assert float(value.loss.detach()) == pytest.approx(value.nats / value.words, rel=1e-5)


@pytest.mark.parametrize("kind", ["attention", "pooled"])
@pytest.mark.parametrize("share", [0.0, 0.2])
def test_self_critical_updates_raise_the_reward(kind: str, share: float) -> None:
    features, batch, scoring = make_batch()
    decoder = make_decoder(kind).train()
    objective = SelfCritical(scoring, SEARCH, TOKENIZER, FILTERS, CrossEntropy(0.0), share)
    optimizer = torch.optim.Adam(decoder.parameters(), 0.01)
    rewards = []
    for _ in range(60):
        value = objective(decoder, features, batch)
        optimizer.zero_grad()
        torch.autograd.backward(value.loss)
        optimizer.step()
        rewards.append(value.reward / value.sentences)
        assert decoder.training
    assert sum(rewards[-5:]) > sum(rewards[:5])
    assert value.sentences == 8 and (value.words > 0) == (share > 0)


def test_the_share_of_cross_entropy_is_that_of_peoples_captions() -> None:
    features, batch, scoring = make_batch()
    batch.references[0][1] = [TOKENIZER.encode("a")[0], TOKENIZER.unknown, TOKENIZER.end]
    said = [(image, words) for image, captions in enumerate(batch.references) for words in captions]
    batch = Batch(batch.maps, Sentences.lay_out(said, TOKENIZER.start, TOKENIZER.unknown), batch.references, [0, 1])

    def value(share: float) -> Objective:
        return SelfCritical(scoring, SEARCH, TOKENIZER, FILTERS, CrossEntropy(0.1), share)(
            make_decoder(), features, batch
        )

    alone, known, both = value(0.0), CrossEntropy(0.1)(make_decoder(), features, batch), value(0.3)
    assert float(both.loss.detach()) == pytest.approx(
        0.7 * float(alone.loss.detach()) + 0.3 * float(known.loss.detach()), rel=1e-5
    )
    assert both.nats == pytest.approx(known.nats, rel=1e-5) and both.words == known.words
    assert (both.reward, both.sentences) == (alone.reward, alone.sentences)


def test_rewards_add_up_by_their_weights() -> None:
    features, batch, scoring = make_batch()

    def mean(rewards: list[tuple[float, Reward]]) -> float:
        value = SelfCritical(rewards, SEARCH, TOKENIZER, FILTERS, CrossEntropy(0.0), 0.0)(
            make_decoder(), features, batch
        )
        return value.reward / value.sentences

    (_, cider), bleu = scoring[0], BleuReward()
    pytest.importorskip("pycocoevalcap", reason="needs the eval extra")
    alone = mean([(1.0, bleu)])
    assert alone > 0 and mean([(1.0, cider)]) > 0
    assert mean([(2.0, cider), (0.5, bleu)]) == pytest.approx(2 * mean([(1.0, cider)]) + 0.5 * alone)


def test_one_caption_alone_teaches_nothing() -> None:
    features, batch, scoring = make_batch()
    alone = SearchSettings(beam=1, captions=1, max_length=5)
    value = SelfCritical(scoring, alone, TOKENIZER, FILTERS, CrossEntropy(0.0), 0.0)(make_decoder(), features, batch)
    assert float(value.loss.detach()) == 0
