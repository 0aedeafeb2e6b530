"""An explanation of a caption: as data, as a page, and as a picture."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from capcli import Captioner
from capcli.bundle.bundle import read_bundle
from capcli.bundle.confidence import SignalWeight
from capcli.explanation import Explanation, explain
from capcli.explanation.picture import explanation_picture
from tests.shapes import draw


@pytest.fixture(scope="module")
def found(sure: Path) -> Explanation:
    return explain(Captioner(sure, provider="cpu"), draw("circle", "red", "white", 1000, 64))


def test_it_says_what_the_caption_is_made_of(found: Explanation, captioner: Captioner) -> None:
    plain = captioner.caption(draw("circle", "red", "white", 1000, 64))
    assert found.caption == plain.text
    assert [word.text for word in found.words] == [*plain.tokens, ""]
    assert np.mean([np.log(word.probability) for word in found.words]) == pytest.approx(plain.score)
    # As many as the model's own search finds, and no wider a search.
    assert len(found.others) == captioner.bundle.manifest.search.beam - 1
    assert found.even_share == 1 / 4
    assert found.largest_share == max(float(word.attention.max()) for word in found.words if word.attention is not None)


def test_reasons_add_up_to_the_confidence(found: Explanation) -> None:
    assert found.confidence is not None
    weights = [reason.logit for reason in found.reasons]
    assert weights == sorted(weights, key=abs, reverse=True)
    # The fixture's intercept.
    assert 1 / (1 + np.exp(-0.5 - sum(weights))) == pytest.approx(found.confidence, abs=1e-3)
    assert [reason.text for reason in found.reasons] == [
        "few other words would have done",
        "its words are likely on the whole",
    ]


def test_how_well_the_words_go_with_the_photo_is_told(matched: Path) -> None:
    bundle, photo = read_bundle(matched), draw("circle", "red", "white", 1000, 64)
    (reason,) = explain(Captioner(bundle, provider="cpu"), photo).reasons
    assert reason.text == "its words go with the photo" and reason.logit > 0
    # Where photos' captions usually go with them better.
    assert bundle.confidence is not None
    confidence = replace(bundle.confidence, signals={"match": SignalWeight(3.0, 10.0, 1.0)})
    stricter = replace(bundle, manifest=replace(bundle.manifest, confidence=confidence))
    (reason,) = explain(Captioner(stricter, provider="cpu"), photo).reasons
    assert reason.text == "its words hardly go with the photo" and reason.logit < 0


@pytest.mark.parametrize(
    ("place", "told"), [((0, 0), "at the top left"), ((1, 1), "in the centre"), ((2, 1), "at the bottom centre")]
)
def test_the_peak_of_a_look_is_told_in_words(place: tuple[int, int], told: str) -> None:
    from capcli.explanation.parts import _peak

    look = np.full((3, 3), 0.0625, np.float32)
    look[place] = 0.5
    assert _peak(look) == f"most {told}: 50% of the look, 4.5 times the even share"


def test_without_confidence_and_attention_the_rest_is_there(captioner: Captioner, found: Explanation) -> None:
    plain = explain(captioner, draw("circle", "red", "white", 1000, 64))
    assert (plain.confidence, plain.reasons) == (None, ())
    blind = replace(plain, words=tuple(replace(word, attention=None, peak=None) for word in plain.words))
    assert not blind.attends
    with_looks, without = explanation_picture(plain), explanation_picture(blind)
    assert with_looks.height > without.height > 0
    pytest.importorskip("jinja2", reason="needs the pages extra")
    from capcli.explanation.page import explanation_page

    page = b"".join(explanation_page(blind, name="x", model="tiny")).decode("ascii")
    assert "This model has no attention" in page and 'class="place"' not in page
    assert "does not know how likely" in page


def test_the_picture_shows_each_look_on_one_scale(found: Explanation) -> None:
    even = np.full((2, 2), 0.25, np.float32)
    peaked = np.array([[0.7, 0.1], [0.1, 0.1]], np.float32)
    grey = np.full((40, 40, 3), 128, np.uint8)
    words = (replace(found.words[0], attention=even), replace(found.words[1], attention=peaked))
    picture = np.asarray(explanation_picture(replace(found, photo=grey, words=words))).astype(int)
    # Red beyond green, where the colour of a look is: as much of it as its share.
    pixels = picture[(picture != (251, 251, 250)).any(-1)]
    tints = sorted({int(red - green) for red, green, _ in pixels if red - green > 5})
    strongest = 0.85 * 230 - 0.85 * 0
    assert tints[-1] == pytest.approx(strongest, abs=2)
    for share in (0.1, 0.25):
        assert any(abs(tint - strongest * share / 0.7) < 3 for tint in tints)


def test_the_page_has_every_word_as_a_button_and_every_map_on_one_scale(found: Explanation) -> None:
    pytest.importorskip("jinja2", reason="needs the pages extra")
    from capcli.explanation.page import explanation_page

    page = b"".join(explanation_page(found, name="<b>&.png", model="tiny")).decode("ascii")
    assert "&lt;b&gt;&amp;.png" in page and "<b>" not in page
    assert page.count('<button type="button" class="said-word"') == len(found.words)
    assert page.count('class="place"') == 4
    (text,) = re.findall(r'id="maps-data">(.*?)</script>', page)
    maps = json.loads(text)
    assert maps["largest"] == pytest.approx(found.largest_share, abs=1e-5)
    for shares, word in zip(maps["shares"], found.words, strict=True):
        np.testing.assert_allclose(shares, np.ravel(np.asarray(word.attention)), atol=1e-5)
    assert maps["told"][-1].startswith("The end of the sentence: probability ")
