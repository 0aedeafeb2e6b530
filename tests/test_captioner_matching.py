"""The matching score at work: a signal of the best caption, and through it of the confidence."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from capcli import Captioner
from capcli.bundle.bundle import MATCHING, Bundle, describe_file, read_bundle
from capcli.bundle.matching import FILE, Matching
from capcli.errors import BundleError
from tests.conftest import RunCommand
from tests.shapes import COLOURS, GROUNDS, SHAPES, draw, sentence_for

KINDS = list(itertools.product(SHAPES, COLOURS, GROUNDS))
PHOTOS = [draw(*kind, 2000 + number, 64) for number, kind in enumerate(KINDS)]


@pytest.fixture(scope="module")
def matched_captioner(matched: Path) -> Captioner:
    return Captioner(matched, provider="cpu")


def test_it_goes_by_the_picture_and_by_the_caption(matched_captioner: Captioner) -> None:
    """A true sentence beats all others of the same photo, and its photo all others of the same sentence."""
    tokenizer = matched_captioner.bundle.tokenizer()
    encoded = matched_captioner.encode(np.stack([matched_captioner.load(photo) for photo in PHOTOS]))
    sentences = [tokenizer.encode(sentence_for(*kind)) for kind in KINDS]
    table = np.array(
        [[matched_captioner.match(encoded, row, sentence) for sentence in sentences] for row in range(len(PHOTOS))]
    )
    own = np.arange(len(PHOTOS))
    # One in 24 by chance.
    assert (table.argmax(0) == own).mean() > 0.6 and (table.argmax(1) == own).mean() > 0.6
    said = [caption.signals or {} for caption in matched_captioner.caption(PHOTOS, details=True)]
    np.testing.assert_allclose([signals["match"] for signals in said], np.diag(table), rtol=0.2)


def test_it_is_the_best_caption_s_alone_and_the_same_in_every_batch(matched_captioner: Captioner) -> None:
    alone = [matched_captioner.caption(photo, details=True) for photo in PHOTOS]
    wanted = [(caption.signals or {})["match"] for caption in alone]
    assert np.std(wanted) > 0.01
    for batch in (3, 8):
        results = list(matched_captioner.stream(PHOTOS, batch_size=batch, captions=2, details=True))
        for result, match, caption in zip(results, wanted, alone, strict=True):
            best, other = result.captions
            assert (best.signals or {})["match"] == pytest.approx(match, abs=1e-4)
            assert best.confidence == pytest.approx(caption.confidence, abs=1e-4)
            assert "match" not in (other.signals or {})


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
    chances = [
        confidence.probability({"match": matched_captioner.match(encoded, row, sentence) or 0}) for row in range(24)
    ]
    assert chances[0] == pytest.approx(plain.confidence, abs=1e-4)
    assert chances[0] > 0.5 > np.mean(chances[1:])


def test_where_nobody_asks_it_is_not_computed(matched: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = read_bundle(matched)
    unsure = Captioner(replace(bundle, manifest=replace(bundle.manifest, confidence=None)), provider="cpu")
    sure = Captioner(matched, provider="cpu")

    def refuse(*_: object) -> float:
        raise AssertionError

    monkeypatch.setattr(Matching, "score", refuse)
    assert unsure.caption(PHOTOS[0]).text == sure.caption(PHOTOS[0], beam=2).text
    for captioner, details in ((unsure, True), (sure, False)):
        with pytest.raises(AssertionError):
            captioner.caption(PHOTOS[0], details=details)


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
