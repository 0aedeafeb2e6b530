"""Captions as token ids, and laid out for teacher forcing: laws that hold for any sentences."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch", reason="needs the train extra")

from capcli.bundle.tokens import Tokenizer
from capcli.dataset.captions import CaptionedImage
from capcli.errors import DataError
from capcli.training.config import TrainConfig
from capcli.training.inputs.examples import Sentences, encode_captions, swapped_words

TOKENIZER = Tokenizer.learn(["a dog runs left", "the cat on the right", "two birds"], 1)


def test_sentences_are_laid_out_step_by_step() -> None:
    sentences = Sentences.lay_out([(0, [7, 2]), (1, [5, 6, 2])], start=1, unknown=9)
    assert sentences.order == [1, 0] and sentences.lengths == [3, 2]
    assert sentences.images.tolist() == [1, 0]
    assert sentences.tokens.tolist() == [[1, 5, 6], [1, 7, 1]]
    assert sentences.targets.tolist() == [5, 7, 6, 2, 2]
    assert sentences.owners.tolist() == [0, 1, 0, 1, 0]


sentences_of = st.lists(
    st.tuples(st.integers(0, 3), st.lists(st.integers(0, len(TOKENIZER) - 1), min_size=1, max_size=6)), min_size=1
)


@given(sentences_of)
@settings(max_examples=100, deadline=None)
def test_sentences_hold_every_word_as_input_and_target_but_unknown_ones_as_input_alone(
    given_sentences: list[tuple[int, list[int]]],
) -> None:
    laid = Sentences.lay_out(given_sentences, TOKENIZER.start, TOKENIZER.unknown)
    assert laid.lengths == sorted((len(words) for _, words in given_sentences), reverse=True)
    assert sorted(laid.order) == list(range(len(given_sentences)))
    for row, place in enumerate(laid.order):
        image, words = given_sentences[place]
        assert int(laid.images[row]) == image
        assert laid.tokens[row, : len(words)].tolist() == [TOKENIZER.start, *words[:-1]]
        targets = laid.targets[laid.owners == row].tolist()
        assert targets == [Sentences.IGNORED if word == TOKENIZER.unknown else word for word in words]


def image(*captions: str, data_set: int = 0) -> CaptionedImage:
    return CaptionedImage(Path("a.jpg"), "a.jpg", captions, data_set=data_set)


def test_long_captions_are_cut_and_cut_ones_have_no_end() -> None:
    (encoded,) = encode_captions([image("a dog runs left", "a dog", "a dog runs", data_set=3)], TOKENIZER, 3)
    a, dog, runs = TOKENIZER.encode("a dog runs")
    assert encoded.captions == ((a, dog, runs), (a, dog), (a, dog, runs))
    assert encoded.cut == (True, False, False)
    assert encoded.references(TOKENIZER.end) == [
        [a, dog, runs],
        [a, dog, TOKENIZER.end],
        [a, dog, runs, TOKENIZER.end],
    ]
    assert encoded.data_set == 3 and encoded.path == Path("a.jpg")


def test_captions_and_images_without_a_word_are_left_out() -> None:
    encoded = encode_captions([image("...", "a dog"), image("!"), image("zebra")], TOKENIZER, 9)
    assert [each.captions for each in encoded] == [
        (tuple(TOKENIZER.encode("a dog")),),
        # A word that is not known is one nonetheless: it is read, and not learnt.
        ((TOKENIZER.unknown,),),
    ]
    with pytest.raises(DataError, match="no training caption holds a word"):
        encode_captions([image("?")], TOKENIZER, 9)


def test_both_sides_must_be_known_to_be_swapped() -> None:
    both, one = (Tokenizer.learn([text], 1) for text in ("left or right", "left alone"))
    left, right = both.encode("left right")
    assert swapped_words(TrainConfig().left_right, both) == {left: right, right: left}
    assert swapped_words(TrainConfig().left_right, one) == {}
    assert swapped_words(("or", "left"), both) == {
        left: both.encode("or")[0],
        both.encode("or")[0]: left,
    }
