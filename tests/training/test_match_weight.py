"""What a bundle's matching score counts, as validation photos tell it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from capcli import Captioner
from capcli.bundle.bundle import Bundle, read_bundle
from capcli.bundle.matching import FILE
from capcli.dataset.captions import CaptionedImage
from capcli.decoding.search import Hypothesis, search
from capcli.training.match_weight import WEIGHTS, choose_match_weight
from capcli.training.matching_choice import add_matching
from tests.shapes import COLOURS, SHAPES, draw


def without_greedy(*arguments: Any, **options: Any) -> list[list[Hypothesis]]:
    """What the search finds, as if the greedy sentence were not among it: then there is a choice of all others."""
    return [[replace(each, greedy=False) for each in found] for found in search(*arguments, **options)]


@pytest.fixture
def perverse(matched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    """A bundle that takes what does not fit for what fits, of which a hundred times its score outweighs the search."""
    monkeypatch.setattr("capcli.captioner.search", without_greedy)
    bundle = read_bundle(Path(shutil.copytree(matched, tmp_path / "perverse")))
    matching = bundle.matching(len(bundle.tokenizer()))
    assert matching is not None
    return add_matching(bundle, replace(matching, temperature=-100 * matching.temperature))


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{shape} {colour}.png" for shape in SHAPES for colour in COLOURS]
    for number, path in enumerate(paths):
        shape, colour = path.stem.split()
        draw(shape, colour, "white", number, 64).save(path)
    return paths


def said_by(bundle: Bundle, photos: list[Path], weight: float) -> list[str]:
    search = replace(bundle.manifest.search, match_weight=weight)
    captioner = Captioner(replace(bundle, manifest=replace(bundle.manifest, search=search)), provider="cpu")
    return [caption.raw for caption in captioner.caption(photos)]


def images_of(photos: list[Path], captions: list[str]) -> list[CaptionedImage]:
    return [CaptionedImage(path, path.name, (caption,)) for path, caption in zip(photos, captions, strict=True)]


def test_it_counts_as_much_as_makes_captions_like_those_of_people(perverse: Bundle, photos: list[Path]) -> None:
    probable, fitting = said_by(perverse, photos, 0), said_by(perverse, photos, WEIGHTS[-1])
    assert probable != fitting
    notes: list[str] = []
    chosen = choose_match_weight(perverse, images_of(photos, fitting), notes.append)
    assert said_by(perverse, photos, chosen.manifest.search.match_weight) == fitting
    assert notes == [f"captioning {len(photos)} validation photos for what the matching score counts"]
    # Of equals the least: there it does not count.
    assert choose_match_weight(perverse, images_of(photos, probable), notes.append).manifest.search.match_weight == 0


def test_photos_that_cannot_be_read_do_not_count(perverse: Bundle, photos: list[Path]) -> None:
    fitting = said_by(perverse, photos, WEIGHTS[-1])
    photos[0].write_text("no photo")
    chosen = choose_match_weight(perverse, images_of(photos, fitting), print)
    assert chosen.manifest.search.match_weight > 0
    assert chosen.fingerprint != perverse.fingerprint


def test_a_bundle_without_the_score_has_no_weight(tiny: Path, photos: list[Path]) -> None:
    bundle = read_bundle(tiny)
    assert choose_match_weight(bundle, images_of(photos, ["a circle"] * len(photos)), print) is bundle


def test_the_manifest_keeps_it_and_wants_the_score_with_it(matched: Path, tmp_path: Path) -> None:
    from capcli.bundle.bundle import write_manifest
    from capcli.errors import BundleError

    folder = Path(shutil.copytree(matched, tmp_path / "bundle"))
    bundle = read_bundle(folder)
    search = replace(bundle.manifest.search, match_weight=0.02)
    write_manifest(folder, replace(bundle.manifest, search=search))
    again = read_bundle(folder)
    assert again.manifest.search == search and again.fingerprint != bundle.fingerprint
    # Another score chooses other captions.
    other = {**bundle.manifest.files, "matching": replace(bundle.manifest.files["matching"], sha256="0" * 64)}
    changed = replace(again, manifest=replace(again.manifest, files=other))
    assert changed.fingerprint != again.fingerprint
    (folder / FILE).unlink()
    without = {role: file for role, file in bundle.manifest.files.items() if role != "matching"}
    write_manifest(folder, replace(again.manifest, files=without))
    with pytest.raises(BundleError, match="has a match_weight, but there is no matching score"):
        read_bundle(folder)
