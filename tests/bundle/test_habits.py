"""Habits of the training captions' writers: what is learnt, and what searches make of it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from capcli.bundle.habits import Habits, learn_casing, learn_habits, learn_returns
from capcli.bundle.tokens import Tokenizer
from capcli.decoding.filters import NoEarlyRepeat, caption_filters


def test_casing_is_learnt_from_mid_sentence_words_only() -> None:
    captions = ["A man watches TV at home"] * 6 + ["Dogs run", "a dog and dogs run"] * 6
    assert learn_casing(captions) == {"tv": "TV"}


def test_a_common_word_in_a_name_keeps_its_small_letter() -> None:
    captions = ["A man eats his lunch at Domino's Pizza"] * 6 + ["a pizza on a table"] * 200
    assert learn_casing(captions) == {"domino": "Domino"}


def test_titles_and_lower_case_captions_say_nothing_about_capitals() -> None:
    assert learn_casing(["A Man Walks A Big Dog Home"] * 9 + ["watching tv at home"] * 9) == {}


def test_words_return_where_people_let_them() -> None:
    captions = [
        *["a man and a dog on the side of the road"] * 30,
        *["a white dog beside a dog"] * 2,
        *["a man with a hat"] * 40,
    ]
    words = [caption.split() for caption in captions]
    # "a" has two words between; a dog returns in 2 captions of 32; nobody says man or hat twice.
    assert learn_returns(words) == {"a": 3, "the": 3, "dog": 3}
    assert learn_returns(words, share=0.1) == {"a": 3, "the": 3}


def test_a_rare_short_way_back_does_not_count() -> None:
    near, far = ["so", "so", "x"], ["so", "x", "y", "so"]
    assert learn_returns([near] + [far] * 99) == {"so": 3}
    assert learn_returns([near] * 3 + [far] * 97) == {"so": 1}


sentences = st.lists(st.lists(st.sampled_from("abcd"), max_size=8), max_size=12)


@given(sentences, st.floats(0.01, 1))
def test_what_is_learnt_is_in_the_captions(captions: list[list[str]], share: float) -> None:
    def nearest(words: Sequence[str], word: str) -> int | None:
        places = [place for place, other in enumerate(words) if other == word]
        return min((b - a for a, b in pairwise(places)), default=None)

    found = learn_returns(captions, share)
    for word in "abcd":
        holding = [nearest(words, word) for words in captions if word in words]
        for gap in range(1, 9):
            often = bool(holding) and sum(n is not None and n <= gap for n in holding) >= share * len(holding)
            assert (word in found and found[word] <= gap) == often


@given(st.dictionaries(st.integers(0, 3), st.integers(1, 5), min_size=1), st.lists(st.integers(0, 3), max_size=6))
def test_the_filter_lets_words_return_after_their_gap_and_no_sooner(gaps: dict[int, int], said: list[int]) -> None:
    row = np.zeros((1, 4), np.float32)
    NoEarlyRepeat(np.array([gaps.get(token, 99) for token in range(4)])).apply(
        row, np.array([said], np.int64).reshape(1, -1)
    )
    for token in range(4):
        away = [len(said) - place for place, other in enumerate(said) if other == token]
        assert np.isneginf(row[0, token]) == any(gap < gaps.get(token, 99) for gap in away)


def test_rows_are_judged_one_by_one() -> None:
    rows = np.array(list(product(range(3), repeat=3)), np.int64)
    rule = NoEarlyRepeat(np.array([1, 2, 9]))
    together = np.zeros((len(rows), 3), np.float32)
    rule.apply(together, rows)
    for row, expected in zip(rows, together, strict=True):
        alone = np.zeros((1, 3), np.float32)
        rule.apply(alone, row[None])
        assert np.array_equal(alone[0], expected)


def test_where_habits_are_not_known_every_word_may_return() -> None:
    tokenizer = Tokenizer.learn(["a hat and a hat"], 1)
    assert not any(isinstance(rule, NoEarlyRepeat) for rule in caption_filters(tokenizer, Habits()))
    rules = caption_filters(tokenizer, learn_habits(["a hat and a dog"], str.split))
    scores = np.zeros((1, len(tokenizer)), np.float32)
    for rule in rules:
        rule.apply(scores, np.array([tokenizer.encode("a hat and a")]))
    assert np.isneginf(scores[0, tokenizer.id_of("hat")]) and np.isneginf(scores[0, tokenizer.id_of("a")])
    assert scores[0, tokenizer.id_of("and")] == -np.inf and scores[0, tokenizer.end] == 0


@pytest.mark.parametrize(
    "values",
    [{"returns": {"a": "3"}}, {"returns": {"a": 0}}, {"returns": {"a": True}}, {"returns": [1]}, {"casing": {"a": 1}}],
)
def test_malformed_habits_are_one_clear_error(values: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="should hold"):
        Habits.from_dict(values)


def test_habits_survive_being_written_down() -> None:
    habits = Habits({"tv": "TV"}, {"a": 3})
    assert Habits.from_dict(habits.as_dict()) == habits
    assert Habits.from_dict({}) == Habits()
