"""Fits how sure a bundle is of a caption, on what it says of validation photos that people have captioned too.

How well a caption agrees with its photo's references says how likely a person would call it right; how the model's own
signals tell that goes into the bundle. Knows nothing of networks: it captions as everybody does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from capcli.bundle.bundle import Bundle, read_bundle
from capcli.bundle.confidence import Confidence, SignalWeight
from capcli.bundle.matching import FILE
from capcli.captioner import Captioner
from capcli.dataset.captions import CaptionedImage
from capcli.decoding.signals import MATCH
from capcli.evaluation.logistic import Logistic, fit_logistic
from capcli.evaluation.rightness import chance_of_right
from capcli.training.export_source import ExportSource, images_of_runs
from capcli.training.match_weight import choose_match_weight
from capcli.training.matching_choice import choose_matching, keep_matching
from capcli.training.photos import evenly

# Fewer photos would tell how sure the model was of them, not of others.
FEWEST = 200
# Seven weights are settled by then; a minute or two on two cores for the shipped model.
_MOST = 1000
_RIDGE = 0.001
# References tell a right caption from another with an error of their own, which flattens what is fitted to them: by so
# much steeper it was against verdicts by eye (models/recipe/confidence_scores.py).
STEEPNESS = 1.6
_DIGITS = 5
# An intercept is looked for between these, to a billionth.
_FARTHEST, _HALVINGS = 100.0, 40


@dataclass(frozen=True)
class Chosen:
    """What validation photos say of a new bundle: what its matching score counts where one of a beam's captions is
    chosen, 0 without one, and how sure it is of a caption, None where that cannot be known."""

    match_weight: float = 0.0
    confidence: Confidence | None = None


def choose_confidence(
    folder: Path, source: ExportSource, images: Sequence[CaptionedImage] | None, note: Callable[[str], None]
) -> Chosen:
    """How sure a new bundle is of a caption, and how it chooses one.

    What a bundle knew goes on where the new one holds the same weights and searches alike; another form says other
    things, and is fitted on photos anew. A matching score, which is there for these two alone, is put into the folder
    with them.

    Args:
        folder: the new bundle, whole but for this.
        source: a run brings the photos that it held back.
        images: photos to fit on instead.
        note: told what is done, and what is missing.
    """
    chosen = _choose(read_bundle(folder), source, images, note)
    if not chosen.match_weight and (chosen.confidence is None or chosen.confidence.matching is None):
        (folder / FILE).unlink(missing_ok=True)
    return chosen


def _choose(
    bundle: Bundle, source: ExportSource, images: Sequence[CaptionedImage] | None, note: Callable[[str], None]
) -> Chosen:
    of_runs = images_of_runs(source.runs)
    alike = keep_matching(bundle, source)
    weight = alike.manifest.search.match_weight
    if images is None:
        kept = replace(alike, manifest=replace(alike.manifest, confidence=source.confidence)).confidence
        if kept is not None:
            return Chosen(weight, kept)
    images = of_runs.held_back if images is None else images
    if len(images) < FEWEST:
        note(
            f"no confidence is fitted: there are {len(images)} validation photos with captions, {FEWEST} are needed; "
            "--val-images DIR and --val-captions FILE give others"
        )
        return Chosen(weight)
    chosen = evenly(images, _MOST)
    matched = choose_match_weight(choose_matching(bundle, source, of_runs, note), chosen, note)
    return Chosen(matched.manifest.search.match_weight, fit_confidence(matched, chosen, note))


def fit_confidence(bundle: Bundle, images: Sequence[CaptionedImage], note: Callable[[str], None]) -> Confidence | None:
    """Captions photos with the bundle's own search, and fits how its signals tell a right caption.

    Args:
        bundle: the form that is to be used: another one has other signals.
        images: with references, none of them trained on.
        note: told what is done, and what is missing.
    Returns:
        None where too few can be read.
    """
    note(f"captioning {len(images)} validation photos for the confidence")
    captioner = Captioner(bundle, provider="cpu")
    signals: list[Mapping[str, float]] = []
    chances: list[float] = []
    for image, result in zip(images, captioner.stream([image.path for image in images], details=True), strict=True):
        if result.captions and result.captions[0].signals is not None:
            signals.append(result.captions[0].signals)
            chances.append(chance_of_right(result.captions[0].raw, image.captions))
    if len(signals) < FEWEST:
        note(f"no confidence is fitted: {len(signals)} validation photos can be read, {FEWEST} are needed")
        return None
    return weigh_signals(bundle, signals, chances)


def weigh_signals(
    bundle: Bundle, signals: Sequence[Mapping[str, float]], chances: Sequence[float], *, steepness: float = STEEPNESS
) -> Confidence:
    """The confidence that tells those chances best.

    Args:
        bundle: its captions' signals they are.
        signals: of each caption, the same ones.
        chances: of each caption to be right by its references, from 0 to 1.
        steepness: what all weights are multiplied by; the mean chance stays.
    """
    names = tuple(signals[0])
    table = np.array([[each[name] for name in names] for each in signals])
    fitted = _steeper(fit_logistic(table, np.array(chances), ridge=_RIDGE), table, float(np.mean(chances)), steepness)
    probabilities, search = fitted(table), bundle.manifest.search
    numbers = zip(names, fitted.weights, fitted.means, fitted.scales, strict=True)
    return Confidence(
        {name: SignalWeight(*(round(float(value), _DIGITS) for value in values)) for name, *values in numbers},
        round(fitted.intercept, _DIGITS),
        len(signals),
        bundle.fingerprint,
        search.beam,
        search.max_length,
        search.length_penalty,
        bundle.matching_fingerprint if MATCH in names else None,
        round(float(probabilities.min()), _DIGITS),
        round(float(probabilities.max()), _DIGITS),
    )


def _steeper(fitted: Logistic, table: np.ndarray, mean: float, steepness: float) -> Logistic:
    """With weights so many times as large, and the intercept with which probabilities have this mean."""
    low, high = -_FARTHEST, _FARTHEST
    steeper = replace(fitted, weights=fitted.weights * steepness)
    for _ in range(_HALVINGS):
        steeper = replace(steeper, intercept=(low + high) / 2)
        low, high = (steeper.intercept, high) if steeper(table).mean() < mean else (low, steeper.intercept)
    return steeper
