"""Word and length statistics, against counts made by hand."""

from __future__ import annotations

import pytest

from capcli.evaluation.wording import LengthCount, Repetition, TextStatistics, Usage, compare_wording

CAPTIONS = [
    "a dog runs on the grass",
    "a dog runs on the grass",
    "a dog with a dog",
    "two men on a",
    "",
]
REFERENCES = [
    "a brown dog runs on the green grass",
    "a puppy",
    "two men sit down",
    "the men sit on the bench with",
    "a cat",
    "a dog follows her",
    "a dog",
    "two men walk",
    "a man",
    "a red hat and a red coat",
]


def test_habits_are_counted_by_text() -> None:
    wording = compare_wording(CAPTIONS, REFERENCES)
    # Distinct captions: the repeated one counts once, the empty one too. "a dog with a dog" repeats "dog", not only
    # "a"; "two men on a" ends in the middle of a phrase, "sit down" and "follows her" do not.
    assert wording.captions == TextStatistics(5, 21, 4, 9, 1, 1, 1)
    assert wording.references == TextStatistics(10, 41, 10, 24, 1, 1, 0)


def test_lengths_are_counted_side_by_side() -> None:
    wording = compare_wording(["a b c", "a b c", ""], ["a b c d", "a b", "a b", "a b c"])
    assert wording.lengths == (
        LengthCount(0, 1, 0),
        LengthCount(2, 0, 2),
        LengthCount(3, 2, 1),
        LengthCount(4, 0, 1),
    )


def test_words_count_once_a_text_and_their_shares_are_compared() -> None:
    wording = compare_wording(CAPTIONS, REFERENCES)
    assert wording.frequent[0] == Usage("a", 4, 7, (4 / 5) / (7 / 10))
    assert wording.frequent[1] == Usage("dog", 3, 3, (3 / 5) / (3 / 10))
    assert [(use.text, use.captions) for use in wording.frequent] == [
        *(("a", 4), ("dog", 3), ("on", 3), ("grass", 2), ("runs", 2), ("the", 2), ("men", 1), ("two", 1), ("with", 1))
    ]
    assert [use.text for use in compare_wording(["b a", "b a"], ["a"]).frequent] == ["a", "b"]
    assert compare_wording(["b a", "b a"], ["a"]).frequent[1].ratio is None


def test_over_and_under_used_words_are_those_that_chance_does_not_explain() -> None:
    captions = ["a man"] * 30 + ["a dog"] * 10
    references = ["a man"] * 50 + ["a woman"] * 48 + ["a yak"] * 2
    wording = compare_wording(captions, references)
    # "dog" is said of a quarter and written of nothing; "man" 75% against 50%; "yak" is too rare to say.
    assert [(use.text, use.ratio) for use in wording.over_used] == [("dog", None), ("man", pytest.approx(1.5))]
    assert wording.under_used == (Usage("woman", 0, 48, 0.0),)
    # G2 of "man" is 7.60, by hand; at 52 of 100 it would be 6.49, which chance explains.
    more = compare_wording(captions, ["a man"] * 52 + ["a woman"] * 48)
    assert [use.text for use in more.over_used] == ["dog"]


def test_repetitions_need_two_images() -> None:
    wording = compare_wording(CAPTIONS, REFERENCES)
    assert wording.repeated == (Repetition("a dog runs on the grass", 2),)
    assert [(use.text, use.captions, use.references) for use in wording.phrases] == [
        ("a dog runs on", 2, 0),
        ("dog runs on the", 2, 1),
        ("runs on the grass", 2, 0),
    ]
    many = compare_wording([f"caption number {n // 2}" for n in range(40)], ["x"])
    assert len(many.repeated) == 10


def test_texts_without_words_divide_by_nothing() -> None:
    wording = compare_wording([""], ["", "a"])
    assert wording.captions == TextStatistics(1, 0, 1, 0, 0, 0, 1)
    assert (wording.frequent, wording.repeated, wording.phrases) == ((), (), ())
