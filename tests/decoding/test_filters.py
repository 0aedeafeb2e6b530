"""The filters of captions as the search uses them: which sentences of two words there can be."""

from __future__ import annotations

import numpy as np
import pytest

from capcli.bundle.habits import Habits
from capcli.bundle.tokens import Tokenizer
from capcli.decoding.filters import caption_filters
from capcli.decoding.search import SearchSettings, State, StepResult, search

TOKENIZER = Tokenizer.learn(["a b"], min_count=1)


def uniform(tokens: np.ndarray, state: State, images: np.ndarray) -> StepResult:
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
