"""The matching score at work: a signal of the confidence, and what one of a beam's captions is chosen by."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from capcli import Caption, Captioner
from capcli.bundle.bundle import MATCHING, Bundle, describe_file, read_bundle
from capcli.bundle.matching import CONTEXT, FILE, Matching, picture_numbers
from capcli.decoding.search import Hypothesis, search
from capcli.errors import BundleError
from tests.conftest import RunCommand
from tests.shapes import COLOURS, GROUNDS, SHAPES, draw, sentence_for

KINDS = list(itertools.product(SHAPES, COLOURS, GROUNDS))
PHOTOS = [draw(*kind, 2000 + number, 64) for number, kind in enumerate(KINDS)]


@pytest.fixture(scope="module")
def matched_captioner(matched: Path) -> Captioner:
    return Captioner(matched, provider="cpu")


def matches(captioner: Captioner, encoded: list[np.ndarray], row: int, sentences: list[list[int]]) -> list[float]:
    """How well sentences go with one of the images that were encoded."""
    matching = captioner.bundle.matching(len(captioner.bundle.tokenizer()))
    assert matching is not None
    context = encoded[captioner.bundle.manifest.graph.context.index(CONTEXT)]
    return matching.scores(picture_numbers(context[row]), sentences)


def test_it_goes_by_the_picture_and_by_the_caption(matched_captioner: Captioner) -> None:
    """A true sentence beats all others of the same photo, and its photo all others of the same sentence."""
    tokenizer = matched_captioner.bundle.tokenizer()
    encoded = matched_captioner.encode(np.stack([matched_captioner.load(photo) for photo in PHOTOS]))
    sentences = [tokenizer.encode(sentence_for(*kind)) for kind in KINDS]
    table = np.array([matches(matched_captioner, encoded, row, sentences) for row in range(len(PHOTOS))])
    own = np.arange(len(PHOTOS))
    # One in 24 by chance.
    assert (table.argmax(0) == own).mean() > 0.6 and (table.argmax(1) == own).mean() > 0.6
    said = [caption.signals or {} for caption in matched_captioner.caption(PHOTOS, details=True)]
    np.testing.assert_allclose([signals["match"] for signals in said], np.diag(table), rtol=0.2)


def test_each_caption_has_its_own_and_the_same_in_every_batch(matched_captioner: Captioner) -> None:
    alone = [matched_captioner.caption(photo, details=True) for photo in PHOTOS]
    wanted = [(caption.signals or {})["match"] for caption in alone]
    assert np.std(wanted) > 0.01
    for batch in (3, 8):
        results = list(matched_captioner.stream(PHOTOS, batch_size=batch, captions=2, details=True))
        for result, match, caption in zip(results, wanted, alone, strict=True):
            best, other = result.captions
            assert (best.signals or {})["match"] == pytest.approx(match, abs=1e-4)
            assert best.confidence == pytest.approx(caption.confidence, abs=1e-4)
            assert (other.signals or {})["match"] != (best.signals or {})["match"]
            assert other.confidence is None


def test_it_makes_the_confidence(matched_captioner: Captioner, matched: Path) -> None:
    """The fixture's is of nothing else: another photo's caption would get another one."""
    bundle = read_bundle(matched)
    confidence = bundle.confidence
    assert confidence is not None and set(confidence.signals) == {"match"}
    plain = matched_captioner.caption(PHOTOS[0])
    detailed = matched_captioner.caption(PHOTOS[0], details=True)
    assert plain.signals is None and detailed.signals is not None
    assert plain.confidence == detailed.confidence == pytest.approx(confidence.probability(detailed.signals))
    encoded = matched_captioner.encode(np.stack([matched_captioner.load(photo) for photo in PHOTOS]))
    sentence = matched_captioner.bundle.tokenizer().encode(plain.raw)
    own = [matches(matched_captioner, encoded, row, [sentence])[0] for row in range(24)]
    chances = [confidence.probability({"match": match}) for match in own]
    assert chances[0] == pytest.approx(plain.confidence, abs=1e-4)
    assert chances[0] > 0.5 > np.mean(chances[1:])


def test_where_nobody_asks_it_is_not_computed(matched: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = read_bundle(matched)
    unsure = Captioner(replace(bundle, manifest=replace(bundle.manifest, confidence=None)), provider="cpu")
    sure = Captioner(matched, provider="cpu")

    def refuse(*_: object) -> float:
        raise AssertionError

    monkeypatch.setattr(Matching, "scores", refuse)
    assert unsure.caption(PHOTOS[0]).text == sure.caption(PHOTOS[0], beam=2).text
    for captioner, details in ((unsure, True), (sure, False)):
        with pytest.raises(AssertionError):
            captioner.caption(PHOTOS[0], details=details)


def _choosing(bundle: Bundle, choice: float) -> Captioner:
    """With a beam of 5, whose captions are chosen by how likely they are right, which the matching score tells."""
    search, own = replace(bundle.manifest.search, beam=5), bundle.manifest.confidence
    assert own is not None
    confidence = replace(
        own,
        # Flat, so that no two probabilities are alike.
        signals={name: replace(each, weight=each.weight / 100) for name, each in own.signals.items()},
        matching=bundle.matching_fingerprint,
        beam=5,
        choice=choice,
        weights=bundle.fingerprint,
    )
    return Captioner(
        replace(bundle, manifest=replace(bundle.manifest, search=search, confidence=confidence)), provider="cpu"
    )


def test_of_a_beam_s_captions_the_surest_is_said_but_none_below_the_greedy_one(
    matched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It takes what does not fit for what fits.
    perverse = _rewritten(read_bundle(matched), tmp_path, lambda its: replace(its, temperature=-its.temperature))
    plain, choosing = _choosing(perverse, 0), _choosing(perverse, 1000)
    settings, confidence = plain.settings(), choosing.bundle.confidence
    assert confidence is not None and plain.bundle.says != choosing.bundle.says

    def worth(caption: Caption) -> float:
        ranking = settings.ranking_score(caption.log_prob, len(caption.tokens) + 1)
        return ranking + 1000 * confidence.logit(caption.signals or {})

    for photo in PHOTOS[:6]:
        # Of what it knows the model is so sure that none is as probable as its greedy one.
        assert choosing.caption(photo).raw == plain.caption(photo).raw == plain.caption(photo, beam=1).raw
    monkeypatch.setattr("capcli.captioner.search", _without_greedy)
    for photo in PHOTOS[:6]:
        found = plain.candidates(photo, 3, details=True)
        said = choosing.candidates(photo, 3, details=True)
        assert [each.raw for each in said] == [each.raw for each in sorted(found, key=worth, reverse=True)]
        assert said[0].raw != found[0].raw
        assert choosing.caption(photo).raw == said[0].raw
        assert said[0].confidence == pytest.approx(confidence.probability(said[0].signals or {}))
        # Another search's captions have no confidence to be chosen by.
        assert choosing.caption(photo, max_length=9) == plain.caption(photo, max_length=9)


def _without_greedy(*arguments: Any, **options: Any) -> list[list[Hypothesis]]:
    """What the search finds, as if the greedy sentence were not among it: then all others are above it."""
    return [[replace(each, greedy=False) for each in found] for found in search(*arguments, **options)]


def test_what_is_chosen_is_the_same_in_every_batch_and_with_more_captions(
    matched: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("capcli.captioner.search", _without_greedy)
    choosing = _choosing(read_bundle(matched), 1000)
    alone = [choosing.caption(photo) for photo in PHOTOS]
    for batch, captions in ((3, 1), (8, 2), (24, 5)):
        for result, one in zip(choosing.stream(PHOTOS, batch_size=batch, captions=captions), alone, strict=True):
            assert len(result.captions) == captions
            assert result.captions[0].raw == one.raw
            assert len({caption.raw for caption in result.captions}) == captions


def test_with_another_matching_score_the_confidence_is_none(matched: Path) -> None:
    bundle = read_bundle(matched)
    files = bundle.manifest.files
    other = replace(files[MATCHING], sha256="0" * 64)
    changed = replace(bundle, manifest=replace(bundle.manifest, files={**files, MATCHING: other}))
    assert changed.confidence is None
    without = {role: file for role, file in files.items() if role != MATCHING}
    assert replace(bundle, manifest=replace(bundle.manifest, files=without)).confidence is None


def _rewritten(bundle: Bundle, folder: Path, change: Callable[[Matching], Matching]) -> Bundle:
    matching = bundle.matching(16)
    assert matching is not None
    for name in ("encoder", "decoder", "tokenizer"):
        (folder / bundle.path(name).name).symlink_to(bundle.path(name))
    change(matching).save(folder / FILE)
    files = {**bundle.manifest.files, MATCHING: describe_file(folder, FILE)}
    return Bundle(folder, replace(bundle.manifest, files=files))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda its: replace(its, means=its.means[2:], scales=its.scales[2:], projection=its.projection[:, 2:]),
            r"takes 94 numbers of a picture, two of a channel, .* of the shape \[None, 4, 48\]",
        ),
        (
            lambda its: replace(its, words=its.words[1:], word_scales=its.word_scales[1:]),
            r"its words are int8 \[15, 16\], they should be int8 \[16, 16\]",
        ),
    ],
)
def test_one_of_another_model_is_refused(
    change: Callable[[Any], Any], message: str, matched: Path, tmp_path: Path
) -> None:
    with pytest.raises(BundleError, match=message):
        Captioner(_rewritten(read_bundle(matched), tmp_path, change), provider="cpu")


def test_a_damaged_one_stops_the_command_with_a_line(capcli: RunCommand, matched: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(matched, tmp_path / "bundle")
    PHOTOS[0].save(tmp_path / "photo.png")
    done = capcli("caption", tmp_path / "photo.png", "--model", tmp_path / "bundle")
    assert (done.code, done.errors) == (0, "")
    (tmp_path / "bundle" / FILE).write_bytes((matched / FILE).read_bytes()[:-1])
    for command in (("caption", tmp_path / "photo.png", "--model"), ("models", "verify")):
        done = capcli(*command, tmp_path / "bundle")
        assert (done.code, done.out, done.errors.count("\n")) == (3, b"", 1)
        assert f"{tmp_path / 'bundle' / FILE}: damaged bundle" in done.errors
