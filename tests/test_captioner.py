"""The Python API, on the tiny bundle and on the shipped one."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from capcli import BundleError, Caption, Captioner, ImageError, UsageError
from tests.photos import photo_array, write_photo
from tests.shapes import COLOURS, GROUNDS, SHAPES, draw, sentence_for


@pytest.fixture(scope="module")
def captioner(tiny: Path) -> Captioner:
    return Captioner(tiny, provider="cpu")


@pytest.fixture(scope="module")
def shipped() -> Captioner:
    return Captioner(provider="cpu")


ALL = [(shape, colour, ground) for shape in SHAPES for colour in COLOURS for ground in GROUNDS]


def test_the_tiny_bundle_says_what_it_sees(captioner: Captioner) -> None:
    images = [draw(*what, seed=1000, size=64) for what in ALL]
    said = captioner.caption(images)
    right = sum(caption.raw == sentence_for(*what) for caption, what in zip(said, ALL, strict=True))
    # One in 24 by chance.
    assert right >= len(ALL) / 2


def test_a_photo_in_any_form_gets_the_same_caption(captioner: Captioner, tmp_path: Path) -> None:
    photo = write_photo(tmp_path / "photo.png", "coffee")
    content = photo.read_bytes()
    with Image.open(photo) as opened:
        array = np.asarray(opened.convert("RGB"))
        forms: list[Any] = [photo, str(photo), content, io.BytesIO(content), array, opened]
        captions = [captioner.caption(form) for form in forms]
    assert len({(caption.text, round(caption.score, 5)) for caption in captions}) == 1


def test_one_image_gives_a_caption_and_several_a_list(captioner: Captioner) -> None:
    image = draw("circle", "red", "white", 1)
    one = captioner.caption(image)
    assert isinstance(one, Caption)
    assert str(one) == one.text
    assert [str(caption) for caption in captioner.caption([image])] == [one.text]
    assert captioner.caption(np.stack([np.asarray(image)] * 2)) == [one, one]
    assert captioner.caption([]) == []
    assert captioner.caption(iter([image, image])) == [one, one]


def test_a_caption_holds_its_words_and_its_probability(captioner: Captioner) -> None:
    caption = captioner.caption(draw("circle", "red", "white", 1))
    assert caption.raw == " ".join(caption.tokens)
    assert caption.text == caption.raw.capitalize() + "."
    assert caption.score == pytest.approx(caption.log_prob / (len(caption.tokens) + 1))
    assert -5 < caption.score <= 0


def test_candidates_differ_and_come_best_first(captioner: Captioner) -> None:
    image = draw("square", "green", "black", 1)
    found = captioner.candidates(image, 4, length_penalty=1.0)
    assert len({caption.tokens for caption in found}) == 4
    assert [caption.score for caption in found] == sorted((caption.score for caption in found), reverse=True)
    assert found[0] == captioner.caption(image, length_penalty=1.0, beam=4)


def test_a_wider_beam_never_scores_below_greedy_search(captioner: Captioner) -> None:
    images = [draw(*what, seed=7) for what in ALL]
    greedy = captioner.caption(images, beam=1, length_penalty=0.0)
    for beam in (2, 5):
        for one, other in zip(greedy, captioner.caption(images, beam=beam, length_penalty=0.0), strict=True):
            assert other.log_prob >= one.log_prob - 1e-4


@given(order=st.permutations(range(12)), size=st.integers(1, 12), threads=st.sampled_from([1, 2, 3]))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_caption_does_not_depend_on_its_batch_or_on_threads(
    captioner: Captioner, tiny: Path, order: list[int], size: int, threads: int
) -> None:
    images = [np.asarray(draw(*ALL[n], seed=3, size=64)) for n in range(12)]
    wanted = [captioner.caption(image) for image in images]
    other = Captioner(tiny, provider="cpu", threads=threads)
    search = other.settings()
    for begin in range(0, 12, size):
        rows = order[begin : begin + size]
        for row, (found, *_) in zip(
            rows, other.caption_pixels(np.stack([images[r] for r in rows]), search), strict=True
        ):
            assert found.text == wanted[row].text
            assert abs(found.score - wanted[row].score) < 1e-3


def test_attention_is_given_on_request_and_sums_to_one(captioner: Captioner) -> None:
    pixels = captioner.load(draw("circle", "red", "white", 1))[None]
    ((caption,),) = captioner.caption_pixels(pixels, captioner.settings(), attention=True)
    assert caption.attention is not None
    assert caption.attention.shape == (len(caption.tokens), 2, 2)
    np.testing.assert_allclose(caption.attention.sum((1, 2)), 1, rtol=1e-4)


def test_bad_input_is_an_error_of_capcli(captioner: Captioner, tmp_path: Path) -> None:
    with pytest.raises(ImageError):
        captioner.caption(tmp_path / "missing.jpg")
    with pytest.raises(ImageError):
        captioner.caption(b"hello")
    with pytest.raises(UsageError):
        captioner.caption(draw("circle", "red", "white", 1), beam=0)
    with pytest.raises(BundleError):
        Captioner(tmp_path)


def test_graphs_that_do_not_fit_the_manifest_are_refused(tiny: Path, tmp_path: Path) -> None:
    def broken(change: str) -> Path:
        folder = tmp_path / change
        shutil.copytree(tiny, folder)
        values = json.loads((folder / "manifest.json").read_text())
        if change == "state":
            values["graph"]["state"] = ["h1", "c1"]
        elif change == "context":
            values["graph"]["context"] = []
        else:
            values["files"]["decoder"] = values["files"]["encoder"]
        (folder / "manifest.json").write_text(json.dumps(values))
        return folder

    for change in ("state", "context", "decoder"):
        with pytest.raises(BundleError, match=change if change == "decoder" else "coder"):
            Captioner(broken(change))


def test_a_stream_answers_each_image_in_order_and_goes_on_after_a_bad_one(captioner: Captioner, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    draw("circle", "red", "white", 1, 64).save(photo)
    array = np.asarray(draw("square", "blue", "black", 1, 64))
    images: list[Any] = [photo, str(photo), tmp_path / "missing.png", photo.read_bytes(), b"text", array, photo] * 3
    results = list(captioner.stream(iter(images), captions=2, length_penalty=1.0, batch_size=4))
    assert all(result.source is image for result, image in zip(results, images, strict=True))
    for place, result in enumerate(results):
        if place % 7 in (2, 4):
            assert result.captions == () and result.error
        else:
            assert result.error is None
            wanted = captioner.candidates(result.source, 2, length_penalty=1.0)
            assert [caption.text for caption in result.captions] == [caption.text for caption in wanted]


def test_a_stream_takes_images_as_they_are_needed_and_can_be_left(captioner: Captioner) -> None:
    taken = 0

    def endless() -> Iterator[np.ndarray]:
        nonlocal taken
        while True:
            taken += 1
            yield np.asarray(draw("circle", "red", "white", taken, 64))

    results = captioner.stream(endless(), batch_size=2)
    assert "circle" in next(results).captions[0].tokens
    results.close()
    assert taken < 20


def test_a_stream_leaves_out_images_with_too_many_pixels(captioner: Captioner) -> None:
    images = [draw("circle", "red", "white", 1, size) for size in (64, 65)]
    small, large = captioner.stream(images, max_pixels=64 * 64)
    assert small.error is None and "too large" in str(large.error)


def test_a_stream_refuses_wrong_settings_at_once(captioner: Captioner) -> None:
    for wrong in ({"beam": 0}, {"captions": 0}, {"batch_size": 0}, {"workers": 0}):
        with pytest.raises(UsageError):
            captioner.stream([], **wrong)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("chelsea", {"cat", "kitten"}),
        ("coffee", {"cup", "coffee", "mug", "table"}),
        ("astronaut", {"woman", "man", "person", "girl", "boy"}),
    ],
)
def test_the_shipped_model_says_what_a_real_photo_shows(shipped: Captioner, name: str, words: set[str]) -> None:
    caption = shipped.caption(photo_array(name))
    assert words & set(caption.tokens), caption.text
    assert caption.text[0].isupper() and caption.text.endswith(".")
    assert 5 <= len(caption.tokens) <= 20
    assert "<unk>" not in caption.tokens


def test_the_shipped_model_is_invariant_too(shipped: Captioner) -> None:
    arrays = [photo_array(name) for name in ("chelsea", "coffee", "astronaut", "rocket")]
    together = shipped.caption(arrays)
    for array, caption in zip(arrays, together, strict=True):
        alone = shipped.caption(array)
        assert alone.text == caption.text
        assert abs(alone.score - caption.score) < 1e-3
