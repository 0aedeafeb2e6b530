"""The confidence that an export fits: on which photos, and what it tells apart."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch", reason="needs the train extra")
pytest.importorskip("onnx", reason="needs the train extra")

from capcli import Captioner
from capcli.bundle.bundle import read_bundle
from capcli.bundle.matching import FILE
from capcli.dataset.captions import CaptionedImage
from capcli.decoding.search import Hypothesis
from capcli.decoding.signals import MATCH, SIGNALS
from capcli.training import confidence as module
from capcli.training.confidence import (
    CHOICE,
    STEEPNESS,
    Judged,
    choose_confidence,
    fit_confidence,
    fit_judged,
    weigh_signals,
)
from capcli.training.export_source import ExportSource
from tests.shapes import COLOURS, GROUNDS, SHAPES, draw, sentence_for


@pytest.fixture(scope="module")
def captioned(tmp_path_factory: pytest.TempPathFactory) -> list[CaptionedImage]:
    """Shapes that the tiny bundle knows, and as much noise, which is no shape."""
    folder = tmp_path_factory.mktemp("captioned")
    noise = np.random.default_rng(0)
    images = []
    for number, what in enumerate(
        (shape, colour, ground) for shape in SHAPES for colour in COLOURS for ground in GROUNDS
    ):
        draw(*what, 1000 + number, 64).save(folder / f"shape-{number}.png")
        images.append(CaptionedImage(folder / f"shape-{number}.png", f"shape-{number}", (sentence_for(*what),)))
        pixels = noise.integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"noise-{number}.png")
        images.append(CaptionedImage(folder / f"noise-{number}.png", f"noise-{number}", ("noise of many dots",)))
    return images


@pytest.fixture
def few_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FEWEST", 20)


def source_of(confidence: object = None, matching: Path | None = None) -> ExportSource:
    return ExportSource(None, None, (), confidence=confidence, matching=matching)  # type: ignore[arg-type]


@pytest.mark.usefixtures("few_are_enough")
def test_it_is_high_where_captions_agree_with_references(tiny: Path, captioned: list[CaptionedImage]) -> None:
    bundle = read_bundle(tiny)
    notes: list[str] = []
    fitted = fit_confidence(bundle, captioned, notes.append)
    assert fitted is not None
    assert (fitted.photos, fitted.weights, fitted.matching) == (len(captioned), bundle.fingerprint, None)
    assert notes == [f"captioning {len(captioned)} validation photos for the confidence"]
    sure = Captioner(replace(bundle, manifest=replace(bundle.manifest, confidence=fitted)), provider="cpu")
    chances = [caption.confidence or 0.0 for caption in sure.caption([image.path for image in captioned])]
    assert np.mean(chances[::2]) > 0.5 > 0.3 > np.mean(chances[1::2])
    assert [min(chances), max(chances)] == pytest.approx([fitted.lowest, fitted.highest], abs=1e-3)


@pytest.mark.usefixtures("few_are_enough")
def test_photos_that_cannot_be_read_do_not_count(tiny: Path, captioned: list[CaptionedImage], tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_text("no photo")
    torn = [replace(image, path=broken) for image in captioned[20:]]
    notes: list[str] = []
    fitted = fit_confidence(read_bundle(tiny), captioned[:20] + torn, notes.append)
    assert fitted is not None and fitted.photos == 20
    assert fit_confidence(read_bundle(tiny), captioned[:19] + torn, notes.append) is None
    assert notes[-1] == "no confidence is fitted: 19 validation photos can be read, 20 are needed"


def test_below_200_photos_there_is_none_and_it_is_told(tiny: Path, captioned: list[CaptionedImage]) -> None:
    notes: list[str] = []
    assert choose_confidence(tiny, source_of(), captioned, notes.append) is None
    assert notes == [
        f"no confidence is fitted: there are {len(captioned)} validation photos with captions, 200 are needed; "
        "--val-images DIR and --val-captions FILE give others"
    ]


def test_a_bundle_keeps_its_own_only_as_long_as_it_is_the_same(sure: Path, tiny: Path) -> None:
    own = read_bundle(sure).confidence
    assert own is not None
    notes: list[str] = []
    assert choose_confidence(tiny, source_of(own), None, notes.append) == own
    assert notes == []
    assert choose_confidence(tiny, source_of(replace(own, weights="another form")), None, notes.append) is None
    assert choose_confidence(tiny, source_of(replace(own, beam=9)), None, notes.append) is None
    assert len(notes) == 2


@pytest.fixture
def made(tiny: Path, tmp_path: Path) -> Path:
    """A new bundle of the tiny one's weights."""
    return Path(shutil.copytree(tiny, tmp_path / "made"))


def test_a_bundle_keeps_its_matching_score_with_its_confidence(matched: Path, made: Path) -> None:
    own = read_bundle(matched).confidence
    assert own is not None
    notes: list[str] = []
    assert choose_confidence(made, source_of(own, matched / FILE), None, notes.append) == own
    assert notes == [] and (made / FILE).read_bytes() == (matched / FILE).read_bytes()
    # Where captions have no confidence, nothing reads the score.
    for other in (replace(own, weights="another form"), replace(own, matching="another score"), None):
        assert choose_confidence(made, source_of(other, matched / FILE), None, notes.append) is None
        assert not (made / FILE).exists()


@pytest.mark.usefixtures("few_are_enough")
def test_another_form_of_a_bundle_is_fitted_on_the_same_matching_score(
    matched: Path, made: Path, captioned: list[CaptionedImage]
) -> None:
    own = read_bundle(matched).confidence
    assert own is not None
    notes: list[str] = []
    old = replace(own, weights="another form")
    fitted = choose_confidence(made, source_of(old, matched / FILE), captioned, notes.append)
    assert fitted is not None and fitted.matching == own.matching and set(fitted.signals) == {*SIGNALS, MATCH}
    assert (made / FILE).read_bytes() == (matched / FILE).read_bytes()
    assert notes == [f"captioning {len(captioned)} validation photos for the confidence"]
    # Without one the others do, and it is told.
    fitted = choose_confidence(made, source_of(old), captioned, notes.append)
    assert fitted is not None and fitted.matching is None and set(fitted.signals) == set(SIGNALS)
    assert notes[1].startswith("no matching score is learnt: a bundle brings no training photos")
    # What is not read does not stay.
    assert not (made / FILE).exists()


def test_it_is_steeper_than_references_tell_and_as_high_on_the_whole(tiny: Path) -> None:
    generator = np.random.default_rng(0)
    values = generator.normal(size=300)
    signals = [{"length": 10 + 2 * value} for value in values]
    chances = 1 / (1 + np.exp(1 - 0.5 * values))
    flat, steep = (weigh_signals(read_bundle(tiny), signals, list(chances), steepness=by) for by in (1.0, 3.0))
    assert flat.signals["length"].weight == pytest.approx(0.5 * values.std(), rel=0.05)
    assert steep.signals["length"].weight == pytest.approx(3 * flat.signals["length"].weight, abs=1e-4)
    for each in (flat, steep):
        assert np.mean([each.probability(signal) for signal in signals]) == pytest.approx(chances.mean(), abs=1e-4)
    assert weigh_signals(read_bundle(tiny), signals, list(chances)).signals["length"].weight == pytest.approx(
        STEEPNESS * flat.signals["length"].weight, abs=1e-4
    )


def test_its_mean_is_that_of_the_captions_that_are_chosen_by_it(tiny: Path) -> None:
    """Of two captions the surer is said, which is right less often than it seems; shorter ones are right more often."""
    generator = np.random.default_rng(0)
    judged = []
    for _ in range(400):
        lengths = generator.integers(2, 14, 2)
        sentences = [
            Hypothesis((5,) * words, -float(number), np.zeros(words + 1)) for number, words in enumerate(lengths)
        ]
        signals = [{"length": float(words)} for words in lengths]
        judged.append(Judged(sentences, signals, [0.9 / (1 + words) + 0.1 * generator.random() for words in lengths]))
    bundle = read_bundle(tiny)
    for choice in (0.0, 50.0):
        fitted = fit_judged(bundle, judged, choice=choice)
        assert fitted.choice == choice and fitted.photos == 400
        assert fitted.signals == fit_judged(bundle, judged, choice=0.0).signals
        # With this much of it the shorter one is said.
        said = [int(np.argmin([each["length"] for each in one.signals])) if choice else 0 for one in judged]
        chances = [one.chances[place] for one, place in zip(judged, said, strict=True)]
        probabilities = [fitted.probability(one.signals[place]) for one, place in zip(judged, said, strict=True)]
        assert np.mean(probabilities) == pytest.approx(np.mean(chances), abs=1e-3)
        assert [min(probabilities), max(probabilities)] == pytest.approx([fitted.lowest, fitted.highest], abs=1e-4)
    assert CHOICE == fit_judged(bundle, judged).choice > 0


def test_where_the_surest_is_said_the_probabilities_are_those_of_what_is_said(tiny: Path) -> None:
    """Right by references are fewer of those than the signals of the most probable ones tell."""
    generator = np.random.default_rng(0)
    bundle, judged = read_bundle(tiny), []
    for values in generator.normal(size=(300, 2)):
        # As probable as each other, the greedy one last. The second is right half as often as it seems.
        sentences = [Hypothesis((5,), -4.0, np.array([-2.0, -2.0]), place == 1) for place in range(2)]
        chances = 1 / (1 + np.exp(1 - values)) * [1, 0.5]
        judged.append(Judged(sentences, [{"length": value} for value in values], list(chances)))
    first = weigh_signals(bundle, [each.signals[0] for each in judged], [each.chances[0] for each in judged])
    fitted = fit_judged(bundle, judged, choice=0.3)
    assert (fitted.choice, fitted.signals) == (0.3, first.signals) and fitted.intercept < first.intercept
    places = [int(each.signals[1]["length"] > each.signals[0]["length"]) for each in judged]
    said = [fitted.probability(each.signals[place]) for each, place in zip(judged, places, strict=True)]
    right = [each.chances[place] for each, place in zip(judged, places, strict=True)]
    assert np.mean(said) == pytest.approx(np.mean(right), abs=1e-4)
    assert [fitted.lowest, fitted.highest] == pytest.approx([min(said), max(said)], abs=1e-4)
    # Without a choice the most probable one is said.
    assert fit_judged(bundle, judged, choice=0).intercept == pytest.approx(first.intercept, abs=1e-4)
