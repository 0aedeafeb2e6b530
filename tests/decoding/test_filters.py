"""The filters of captions as the search uses them: which sentences of two words there can be."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capcli.bundle.habits import Habits
from capcli.bundle.tokens import Tokenizer
from capcli.decoding.filters import caption_filters
from capcli.decoding.search import SearchSettings, State, StepResult, search

TOKENIZER = Tokenizer.learn(["a b"], min_count=1)


def uniform(tokens: np.ndarray, state: State, parents: np.ndarray, images: np.ndarray) -> StepResult:
    """Every token is as likely as any other."""
    return StepResult(np.full((len(tokens), len(TOKENIZER)), -np.log(len(TOKENIZER)), np.float32), state)


@pytest.mark.parametrize(
    ("habits", "allowed"),
    [
        # No sentence without a word, no word that is none, no word twice in a row, no two words again (a b a b).
        (Habits(), {"a", "b", "a b", "b a", "a b a", "b a b"}),
        (Habits(returns={"a": 2}), {"a", "b", "a b", "b a", "a b a"}),
        (Habits(returns={"a": 3, "zebra": 1}), {"a", "b", "a b", "b a"}),
    ],
)
def test_captions_repeat_nothing_and_hold_words_alone(habits: Habits, allowed: set[str]) -> None:
    [found] = search(
        uniform,
        (),
        1,
        start=TOKENIZER.start,
        end=TOKENIZER.end,
        settings=SearchSettings(beam=50, captions=50, max_length=6),
        filters=caption_filters(TOKENIZER, habits),
    )
    assert {" ".join(TOKENIZER.tokens(sentence.tokens)) for sentence in found} == allowed


WORDS = Tokenizer.learn(["a b c d"], min_count=1)
GAPS = st.dictionaries(st.sampled_from("abcd"), st.integers(1, 6))


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    returns=GAPS,
    beam=st.integers(1, 4),
    captions=st.integers(1, 4),
    longest=st.integers(1, 9),
)
def test_no_model_gets_a_barred_token_through(
    seed: int, returns: dict[str, int], beam: int, captions: int, longest: int
) -> None:
    """Whatever it finds likely: what each filter bars is not said, by the best sentence or by any other."""
    scores = np.random.default_rng(seed).normal(0, 3, (len(WORDS), len(WORDS)))
    log_probs = (scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))).astype(np.float32)

    def step(tokens: np.ndarray, state: State, parents: np.ndarray, images: np.ndarray) -> StepResult:
        return StepResult(np.minimum(log_probs[tokens], 0), state)

    [found] = search(
        step,
        (),
        1,
        start=WORDS.start,
        end=WORDS.end,
        settings=SearchSettings(beam=beam, captions=captions, max_length=longest),
        filters=caption_filters(WORDS, Habits(returns=returns)),
    )
    assert found
    for hypothesis in found:
        said = WORDS.tokens(hypothesis.tokens)
        assert 1 <= len(said) <= longest and set(said) <= set("abcd")
        assert all(one != other for one, other in pairwise(said))
        assert len(set(pairwise(said))) == len(said[1:])
        for (place, one), (later, other) in combinations(enumerate(said), 2):
            assert one != other or not returns or later - place >= returns.get(one, longest)
