"""The rewards of self-critical training are the CIDEr-D, BLEU and METEOR that pycocoevalcap computes."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capcli.evaluation.java import MeteorProgram, find_java
from capcli.training.objectives.rewards import BleuReward, CiderReward, MeteorReward

SENTENCE = st.lists(st.integers(4, 12), min_size=1, max_size=9)
CORPUS = st.lists(st.tuples(SENTENCE, st.lists(SENTENCE, min_size=1, max_size=3)), min_size=2, max_size=5)


@given(CORPUS)
@settings(max_examples=80, deadline=None)
def test_it_is_the_official_cider(images: list[tuple[list[int], list[list[int]]]]) -> None:
    cider = pytest.importorskip("pycocoevalcap.cider.cider", reason="needs the eval extra")
    # Each data set has its own frequencies, whatever the other holds.
    reward = CiderReward({0: [[[4, 5, 6], [4, 12]]], 1: [references for _, references in images]})
    ours = [reward.score([said], references, 1)[0] for said, references in images]
    _, theirs = cider.Cider().compute_score(
        {row: list(map(text, references)) for row, (_, references) in enumerate(images)},
        {row: [text(said)] for row, (said, _) in enumerate(images)},
    )
    assert ours == pytest.approx(list(theirs), abs=1e-9)


def text(words: list[int]) -> str:
    return " ".join(map(str, words))


@given(st.lists(SENTENCE, min_size=1, max_size=4), st.lists(SENTENCE, min_size=1, max_size=3))
@settings(max_examples=60, deadline=None)
def test_it_is_the_mean_of_the_official_bleus(sentences: list[list[int]], references: list[list[int]]) -> None:
    bleu = pytest.importorskip("pycocoevalcap.bleu.bleu", reason="needs the eval extra")
    wanted = list(map(text, references))
    theirs = [sum(bleu.Bleu(4).compute_score({0: wanted}, {0: [text(words)]}, verbose=0)[0]) / 4 for words in sentences]
    assert BleuReward().score(sentences, references, 0) == pytest.approx(theirs, abs=1e-6)


@pytest.mark.usefixtures("quick_meteor")
def test_it_is_the_official_meteor() -> None:
    meteor = pytest.importorskip("pycocoevalcap.meteor.meteor", reason="needs the eval extra")
    vocabulary = ["<end>", "a", "dog", "dogs", "hound", "runs", "running", "quickly", "on", "the", "grass"]
    number = {word: place for place, word in enumerate(vocabulary)}
    said = ["a dog runs on the grass", "a hound running", "the the the", "grass"]
    wanted = ["a dog runs quickly", "the dogs running on grass", ""]
    with MeteorProgram(find_java()) as program:
        ours = MeteorReward([program], vocabulary, [0]).score(
            [*([*map(number.__getitem__, text.split()), 0] for text in said), [0]],
            [[*map(number.__getitem__, text.split()), 0] for text in wanted],
            0,
        )
        nothing = MeteorReward([program], vocabulary, [0]).score([[1, 0]], [[0]], 0)
    _, theirs = meteor.Meteor().compute_score(dict.fromkeys(range(4), wanted[:2]), {n: [t] for n, t in enumerate(said)})
    assert ours == pytest.approx([*theirs, 0.0]) and nothing == [0.0]
    assert ours[0] > ours[1] > ours[2] > 0


def test_better_sentences_score_higher() -> None:
    reward = CiderReward({0: [[[4, 5, 6, 7, 2]], [[8, 9, 10, 2]], [[4, 9, 11, 2]]]})
    exact, near, far, empty = reward.score([[4, 5, 6, 7, 2], [4, 5, 6, 2], [8, 9, 2], []], [[4, 5, 6, 7, 2]], 0)
    assert exact > near > far >= empty == 0
    assert exact == pytest.approx(10)


def test_a_rare_word_said_twice_earns_nothing() -> None:
    reward = CiderReward({0: [[[4, 5, 6]], [[8, 9, 10]]]})
    once, twice = reward.score([[4, 5, 6], [4, 4, 5, 6]], [[4, 5, 6]], 0)
    assert twice < once


def test_an_end_that_is_missing_costs() -> None:
    # The end token counts like a word, so that captions do not break off after "with a".
    reward = CiderReward({0: [[[4, 5, 2]], [[4, 6, 2]], [[7, 8, 2]]]})
    whole, cut = reward.score([[4, 5, 2], [4, 5, 4, 2]], [[4, 5, 2]], 0)
    assert whole > cut and math.isfinite(cut)


def test_every_data_set_has_its_own_frequencies() -> None:
    # 4 is in every image of set 0 and in one of set 1.
    corpora = {0: [[[4, 5]], [[4, 6]], [[4, 7]]], 1: [[[4, 5]], [[8, 5]], [[9, 5]]]}
    reward = CiderReward(corpora)
    assert reward.score([[4]], [[4, 5]], 0) == [0.0]
    assert reward.score([[4]], [[4, 5]], 1)[0] > 0
    assert reward.score([[4]], [[4, 5]], 1) == CiderReward({1: corpora[1]}).score([[4]], [[4, 5]], 1)


def test_the_score_is_the_mean_over_references() -> None:
    reward = CiderReward({0: [[[4, 5, 6]], [[8, 9, 10]], [[11, 12, 4]]]})
    alone = [reward.score([[4, 5, 6]], [reference], 0)[0] for reference in ([4, 5, 6], [8, 9, 10])]
    assert reward.score([[4, 5, 6]], [[4, 5, 6], [8, 9, 10]], 0)[0] == pytest.approx(sum(alone) / 2)
