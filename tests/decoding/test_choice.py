"""Which sentence of those found is said."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from capcli.decoding.choice import best_first, searched_with
from capcli.decoding.search import Hypothesis, SearchSettings

NUMBERS = st.floats(-20, 20)
# Sums of log-probabilities, lengths and logits; which of them is the greedy one, if any.
FOUND = st.lists(st.tuples(st.floats(-30, 0), st.integers(0, 20), NUMBERS), min_size=1, max_size=8)
SETTINGS = st.builds(SearchSettings, beam=st.just(8), length_penalty=st.sampled_from([0.0, 0.7, 1.0]))


def ranked(found: list[tuple[float, int, float]], greedy: int | None, settings: SearchSettings) -> list[Hypothesis]:
    by_score = sorted(found, key=lambda each: -settings.ranking_score(each[0], each[1] + 1))
    return [
        Hypothesis((5,) * words, log_prob, np.zeros(words + 1), place == greedy)
        for place, (log_prob, words, _) in enumerate(by_score)
    ]


@given(FOUND, st.integers(0, 12), SETTINGS, st.floats(0, 10), st.data())
def test_what_is_likely_right_comes_first_but_never_what_is_below_the_greedy_one(
    found: list[tuple[float, int, float]], greedy: int, settings: SearchSettings, weight: float, data: st.DataObject
) -> None:
    sentences = ranked(found, greedy, settings)
    logits = data.draw(st.lists(NUMBERS, min_size=len(sentences), max_size=len(sentences)))
    order = best_first(sentences, logits, weight, settings)
    assert sorted(order) == list(range(len(sentences)))
    scores = [settings.ranking_score(each.log_prob, each.length) for each in sentences]
    # Of a beam of 8 there are four to choose from.
    floor = min(greedy, len(sentences) - 1, 3)
    worth = [score + weight * logit for score, logit in zip(scores, logits, strict=True)]
    assert order[0] <= floor and scores[order[0]] >= scores[floor] >= scores[min(greedy, len(sentences) - 1)]
    assert worth[order[0]] == max(worth[: floor + 1])
    assert [worth[place] for place in order[: floor + 1]] == sorted(worth[: floor + 1], reverse=True)
    assert order[floor + 1 :] == list(range(floor + 1, len(sentences)))


@given(FOUND, SETTINGS, st.data())
def test_without_a_weight_or_between_equals_the_more_probable_comes_first(
    found: list[tuple[float, int, float]], settings: SearchSettings, data: st.DataObject
) -> None:
    sentences = ranked(found, None, settings)
    logits = data.draw(st.lists(NUMBERS, min_size=len(sentences), max_size=len(sentences)))
    assert best_first(sentences, logits, 0, settings) == list(range(len(sentences)))
    assert best_first(sentences, [1.0] * len(sentences), 0.5, settings) == list(range(len(sentences)))


def test_where_there_is_a_choice_half_of_the_beam_is_searched_for() -> None:
    settings = SearchSettings(beam=5, captions=2)
    assert searched_with(settings, 0) == settings
    assert searched_with(settings, 0.1).captions == 3
    assert searched_with(SearchSettings(beam=3, captions=9), 0.1).captions == 9
    assert searched_with(SearchSettings(beam=1), 0.1) == SearchSettings(beam=1)
