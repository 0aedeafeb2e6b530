"""Text to ids and back to a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capcli.bundle.tokens import Tokenizer, raw_text, sentence
from capcli.errors import BundleError, DataError

CAPTIONS = [
    "A dog's T-shirt , isn't it ?",
    "a dog runs .",
    "Two dogs run on the grass; a man watches",
    "O'Neil 's dog",
]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.learn(CAPTIONS, min_count=1)


def test_words_are_lower_case_without_punctuation(tokenizer: Tokenizer) -> None:
    tokens = tokenizer.tokens(tokenizer.encode("A DOG's t-shirt, isn’t it?!"))
    assert tokens == ("a", "dog", "'s", "t-shirt", "isn't", "it")


def test_a_letter_is_one_however_it_is_put_together() -> None:
    learnt = Tokenizer.learn(["un café"], min_count=1)
    assert learnt.encode("un cafe\u0301") == learnt.encode("un café") and learnt.unknown not in learnt.encode("café")


def test_a_possessive_is_a_token_whether_or_not_a_space_stands_before_it(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("dog's") == tokenizer.encode("dog 's")


def test_words_below_the_minimum_count_are_unknown() -> None:
    tokenizer = Tokenizer.learn(CAPTIONS, min_count=2)
    assert tokenizer.encode("dog") != [tokenizer.unknown]
    assert tokenizer.encode("grass") == [tokenizer.unknown]


def test_the_vocabulary_does_not_depend_on_the_order_of_captions() -> None:
    one, other = Tokenizer.learn(CAPTIONS, 1), Tokenizer.learn(CAPTIONS[::-1], 1)
    assert [one.token(n) for n in range(len(one))] == [other.token(n) for n in range(len(other))]


def test_no_word_frequent_enough_is_an_error() -> None:
    with pytest.raises(DataError, match="lower --min-count"):
        Tokenizer.learn(CAPTIONS, min_count=50)


def test_saved_and_loaded_it_encodes_alike(tokenizer: Tokenizer, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    tokenizer.save(path)
    loaded = Tokenizer.load(path)
    assert len(loaded) == len(tokenizer)
    for caption in CAPTIONS:
        assert loaded.encode(caption) == tokenizer.encode(caption)


@pytest.mark.parametrize("content", ["", "{}", '{"model": 3}', "not json"])
def test_a_file_that_is_no_tokenizer_is_named(content: str, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(content)
    with pytest.raises(BundleError, match=r"tokenizer\.json"):
        Tokenizer.load(path)


@given(st.lists(st.sampled_from(["a", "dog", "'s", "t-shirt", "isn't", "on", "the", "grass"]), min_size=1, max_size=12))
def test_the_words_of_a_sentence_are_its_tokens_again(words: list[str]) -> None:
    # A possessive after nothing or after another one is not text a person writes.
    words = [word for n, word in enumerate(words) if word != "'s" or (n and words[n - 1] != "'s")]
    if words and words[0] == "'s":
        words = words[1:]
    tokenizer = Tokenizer.learn(CAPTIONS, min_count=1)
    assert list(tokenizer.tokens(tokenizer.encode(sentence(words)))) == words


@given(st.text(max_size=60))
def test_any_text_can_be_encoded(text: str) -> None:
    tokenizer = Tokenizer.learn(CAPTIONS, min_count=1)
    assert all(0 <= number < len(tokenizer) for number in tokenizer.encode(text))


def test_a_sentence_has_a_capital_a_full_stop_and_joined_possessives() -> None:
    assert sentence(["a", "man", "'s", "tv"], {"tv": "TV"}) == "A man's TV."
    assert sentence(["tv", "on", "a", "wall"], {"tv": "TV"}) == "TV on a wall."
    assert sentence([]) == ""
    assert raw_text(["a", "man", "'s", "tv"]) == "a man 's tv"
