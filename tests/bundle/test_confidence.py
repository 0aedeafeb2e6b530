"""The numbers of a confidence in the manifest: what they make of signals, and to which bundle they belong."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capcli.bundle.bundle import MANIFEST, read_bundle, write_manifest
from capcli.bundle.confidence import Confidence, SignalWeight
from capcli.errors import BundleError

CONFIDENCE = Confidence(
    {"length": SignalWeight(-2.0, 10.0, 4.0), "mean": SignalWeight(1.0, -1.0, 0.5)}, 0.25, 300, "abc", 3, 20, 0.7
)


def test_signals_make_a_probability() -> None:
    usual = {"length": 10.0, "mean": -1.0}
    assert CONFIDENCE.probability(usual) == pytest.approx(1 / (1 + math.exp(-0.25)))
    # Half a scale short, two scales surer; what was not fitted does not count.
    signals = {"length": 8.0, "mean": 0.0, "smell": 5.0}
    assert CONFIDENCE.parts(signals) == {"length": 1.0, "mean": 2.0}
    assert CONFIDENCE.logit(signals) == pytest.approx(3.25)
    assert CONFIDENCE.probability(signals) == pytest.approx(1 / (1 + math.exp(-3.25)))


NUMBERS = st.floats(-1e6, 1e6)
WEIGHTS = st.builds(SignalWeight, st.floats(-50, 50), NUMBERS, st.floats(1e-6, 1e6))


@settings(max_examples=100, deadline=None)
@given(
    weights=st.dictionaries(st.sampled_from("abc"), WEIGHTS, min_size=1),
    intercept=st.floats(-50, 50),
    signals=st.fixed_dictionaries(dict.fromkeys("abc", NUMBERS)),
    more=st.floats(1e-3, 1e6),
)
def test_more_of_a_signal_makes_it_surer_or_less_sure_as_its_weight_says(
    weights: dict[str, SignalWeight], intercept: float, signals: dict[str, float], more: float
) -> None:
    confidence = Confidence(weights, intercept, 300, "abc", 3, 20, 0.7)
    before = confidence.probability(signals)
    assert 0 <= before <= 1
    for name in "abc":
        after = confidence.probability({**signals, name: signals[name] + more})
        weight = weights[name].weight if name in weights else 0.0
        assert 0 <= after <= 1
        # In half of all cases it is as sure as can be already.
        assert (after >= before) if weight > 0 else (after <= before) if weight < 0 else after == before
    other_order = Confidence(dict(reversed(weights.items())), intercept, 300, "abc", 3, 20, 0.7)
    assert other_order.probability(dict(reversed(signals.items()))) == before
    assert Confidence.from_dict(json.loads(json.dumps(confidence.as_dict()))) == confidence


@pytest.mark.parametrize(("mean", "wanted"), [(1e9, 1.0), (-1e9, 0.0)])
def test_signals_far_out_are_certain_and_no_error(mean: float, wanted: float) -> None:
    assert CONFIDENCE.probability({"length": 10.0, "mean": mean}) == pytest.approx(wanted, abs=1e-12)


def test_the_manifest_keeps_it(sure: Path, tmp_path: Path) -> None:
    bundle = read_bundle(sure)
    assert bundle.confidence is not None
    shutil.copytree(sure, tmp_path / "again")
    write_manifest(tmp_path / "again", bundle.manifest)
    assert (tmp_path / "again" / MANIFEST).read_bytes() == (sure / MANIFEST).read_bytes()
    assert read_bundle(tmp_path / "again").confidence == bundle.confidence
    manifest = replace(bundle.manifest, confidence=replace(bundle.confidence, matching="ab", lowest=0.1, highest=0.9))
    write_manifest(tmp_path / "again", manifest)
    assert read_bundle(tmp_path / "again").manifest.confidence == manifest.confidence


def test_what_is_said_depends_on_it_where_captions_are_chosen_by_it(sure: Path, tiny: Path) -> None:
    bundle = read_bundle(sure)
    own = bundle.manifest.confidence
    assert own is not None and bundle.says == bundle.fingerprint == read_bundle(tiny).says
    said = []
    for choice, intercept in ((0.2, own.intercept), (0.3, own.intercept), (0.2, own.intercept + 1)):
        changed = replace(own, choice=choice, intercept=intercept)
        assert Confidence.from_dict(json.loads(json.dumps(changed.as_dict()))) == changed
        said.append(replace(bundle, manifest=replace(bundle.manifest, confidence=changed)).says)
    assert len({bundle.says, *said}) == 4
    # Of another model it chooses nothing.
    other = replace(own, choice=0.2, weights="another")
    assert replace(bundle, manifest=replace(bundle.manifest, confidence=other)).says == bundle.fingerprint


def test_one_of_other_weights_or_another_search_is_none(sure: Path) -> None:
    bundle = read_bundle(sure)
    manifest, confidence = bundle.manifest, bundle.confidence
    assert confidence is not None
    for other in (
        replace(manifest, confidence=replace(confidence, weights="0123456789abcdef")),
        replace(manifest, search=replace(manifest.search, beam=manifest.search.beam + 1)),
        replace(manifest, search=replace(manifest.search, max_length=manifest.search.max_length + 1)),
        replace(manifest, search=replace(manifest.search, length_penalty=manifest.search.length_penalty + 0.1)),
        replace(manifest, confidence=None),
    ):
        assert replace(bundle, manifest=other).confidence is None


def _drop(values: dict[str, Any]) -> None:
    del values["signals"]


@pytest.mark.parametrize(
    "damage",
    [
        _drop,
        lambda values: values.update(signals={}),
        lambda values: values.update(intercept="high"),
        lambda values: values.update(intercept=float("nan")),
        lambda values: values["signals"]["mean_entropy"].update(scale=0),
        lambda values: values["signals"]["mean_entropy"].pop("weight"),
        lambda values: values.update(choice=-0.1),
        lambda values: values.update(choice="much"),
        lambda values: values.update(search=None),
        lambda values: values.update(range=[0.1]),
        lambda values: values.update(range=[0.1, "high"]),
    ],
)
def test_a_malformed_one_is_told(damage: Callable[[dict[str, Any]], object], sure: Path, tmp_path: Path) -> None:
    values = json.loads((sure / MANIFEST).read_text())
    damage(values["confidence"])
    (tmp_path / MANIFEST).write_text(json.dumps(values))
    with pytest.raises(BundleError, match="malformed manifest"):
        read_bundle(tmp_path)
