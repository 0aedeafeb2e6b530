"""What updates make better: people's captions more likely, the network's own better."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

from torch import Tensor  # noqa: E402

from capcli.bundle.habits import Habits  # noqa: E402
from capcli.bundle.tokens import Tokenizer  # noqa: E402
from capcli.decoding.filters import caption_filters  # noqa: E402
from capcli.decoding.search import SearchSettings  # noqa: E402
from capcli.training.inputs.batches import Batch, Sentences  # noqa: E402
from capcli.training.network.decoder import Decoder, DecoderConfig, Dropout, build_decoder  # noqa: E402
from capcli.training.network.search import search_grid  # noqa: E402
from capcli.training.objectives.objectives import CrossEntropy, Objective, SelfCritical, WordPresence  # noqa: E402
from capcli.training.objectives.rewards import BleuReward, CiderReward, Reward  # noqa: E402

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


UNSAID = (TOKENIZER.pad, TOKENIZER.start, TOKENIZER.end, TOKENIZER.unknown)


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
    value = WordPresence(head, 0.5, UNSAID)(features, references)
    log_probs = torch.log_softmax(head(features.mean(1)), -1).detach()
    words = [TOKENIZER.encode("a red dog runs"), TOKENIZER.encode("cat")]
    wanted = -0.5 * sum(float(log_probs[row, each].mean()) for row, each in enumerate(words)) / 3
    assert float(value.detach()) == pytest.approx(wanted, rel=1e-5)


def test_images_without_a_known_word_have_no_word_presence() -> None:
    head = torch.nn.Linear(8, len(TOKENIZER))
    value = WordPresence(head, 1.0, UNSAID)(torch.randn(1, 4, 8), [[[TOKENIZER.unknown, TOKENIZER.end]]])
    assert float(value.detach()) == 0


def test_word_presence_teaches_the_encoder_and_comes_on_top() -> None:
    features, batch, _ = make_batch()
    head = torch.nn.Linear(8, len(TOKENIZER))
    presence = WordPresence(head, 0.7, UNSAID)
    features.requires_grad_()
    alone, both = (CrossEntropy(0.0, each)(make_decoder(), features, batch) for each in (None, presence))
    loss = presence(features, batch.references)
    assert float(both.loss.detach()) == pytest.approx(float((alone.loss + loss).detach()), rel=1e-5)
    assert (both.nats, both.words) == (alone.nats, alone.words)
    (gradient,) = torch.autograd.grad(loss, features)
    assert (gradient.abs().sum(-1) > 0).all()


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
