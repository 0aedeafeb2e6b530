"""Self-critical training: generated captions that score above the image's others become more probable."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

from capcli.bundle.habits import Habits  # noqa: E402
from capcli.decoding.filters import caption_filters  # noqa: E402
from capcli.decoding.search import SearchSettings  # noqa: E402
from capcli.training.inputs.batches import Batch  # noqa: E402
from capcli.training.inputs.examples import Sentences  # noqa: E402
from capcli.training.network.decoder import DecoderConfig, Dropout, build_decoder  # noqa: E402
from capcli.training.network.search import search_grid  # noqa: E402
from capcli.training.objectives import CrossEntropy, Loss, Reward, SelfCritical  # noqa: E402
from capcli.training.objectives.rewards import BleuReward  # noqa: E402
from tests.training.objectives.little_batch import TOKENIZER, make_batch, make_decoder  # noqa: E402

FILTERS = caption_filters(TOKENIZER, Habits({}, {"a": 2}))
SEARCH = SearchSettings(beam=4, captions=4, max_length=5)


@pytest.mark.parametrize("kind", ["attention", "pooled"])
def test_the_gradient_of_a_sentence_goes_by_how_much_better_it_is_than_the_others(kind: str) -> None:
    """The loss is minus the mean over words of log-probability times advantage, the baseline being the others' mean."""
    features, batch, scoring = make_batch()
    decoder = make_decoder(kind)
    with torch.no_grad():
        # Ends that are more probable make sentences of several lengths, which are laid out in another order.
        decoder.output_bias[TOKENIZER.end] += 0.3
    found = search_grid(decoder.eval(), features, TOKENIZER, SEARCH, FILTERS)
    lengths = [len(each.tokens) for hypotheses in found for each in hypotheses]
    assert lengths != sorted(lengths, reverse=True)
    total, words = 0.0, 0
    for image, hypotheses in enumerate(found):
        scores = [
            scoring[0][1].score([[*each.tokens, TOKENIZER.end]], batch.references[image], image)[0]
            for each in hypotheses
        ]
        for place, each in enumerate(hypotheses):
            others = [score for other, score in enumerate(scores) if other != place]
            advantage = scores[place] - sum(others) / len(others)
            total -= advantage * each.log_prob
            words += len(each.tokens) + 1
    value = SelfCritical(scoring, SEARCH, TOKENIZER, FILTERS, CrossEntropy(0.0), 0.0)(decoder, features, batch)
    assert float(value.loss.detach()) == pytest.approx(total / words, rel=1e-4) and abs(total) > 1e-3


def test_own_sentences_are_those_of_evaluation_and_learnt_with_dropout() -> None:
    features, batch, scoring = make_batch()
    torch.manual_seed(3)
    decoder = build_decoder(DecoderConfig("attention", len(TOKENIZER), 8, 12, 6, 5), Dropout(0.4, 0.4)).train()
    objective = SelfCritical(scoring, SEARCH, TOKENIZER, FILTERS, CrossEntropy(0.0), 0.0)
    values = [objective(decoder, features, batch) for _ in range(3)]
    assert len({value.reward for value in values}) == 1
    assert len({float(value.loss.detach()) for value in values}) == 3


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
    batch = Batch(batch.inputs, Sentences.lay_out(said, TOKENIZER.start, TOKENIZER.unknown), batch.references, [0, 1])

    def value(share: float) -> Loss:
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
