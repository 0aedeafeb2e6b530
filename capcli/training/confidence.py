"""Fits how sure a bundle is of a caption, on what it says of validation photos that people have captioned too.

How well a caption agrees with its photo's references says how likely a person would call it right; how the model's own
signals tell that goes into the bundle. Knows nothing of networks: it captions as everybody does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from capcli.bundle.bundle import Bundle, read_bundle
from capcli.bundle.confidence import Confidence, SignalWeight
from capcli.bundle.matching import FILE
from capcli.bundle.tokens import raw_text
from capcli.caption_settings import CaptionSettings
from capcli.captioner import Captioner
from capcli.dataset.captions import CaptionedImage
from capcli.decoding.choice import best_first, searched_with
from capcli.decoding.search import Hypothesis
from capcli.decoding.signals import MATCH
from capcli.evaluation.logistic import Logistic, fit_logistic
from capcli.evaluation.rightness import chance_of_right
from capcli.training.export_source import ExportSource, images_of_runs
from capcli.training.matching_choice import choose_matching, keep_matching
from capcli.training.photos import evenly, look_at_each

# Fewer photos would tell how sure the model was of them, not of others.
FEWEST = 200
# Seven weights are settled by then; a minute or two on two cores for the shipped model.
_MOST = 1000
_RIDGE = 0.001
# References tell a right caption from another with an error of their own, which flattens what is fitted to them: by so
# much steeper it was against verdicts by eye (models/recipe/confidence_scores.py).
STEEPNESS = 1.6
_DIGITS = 5
# What the logit of a caption counts beside its mean log-probability where one of a beam's is chosen: with 0.05 the
# shipped model's captions have the highest CIDEr, with more of it references and eyes find more of them right, until
# CIDEr falls below what it was (models/recipe/LOG.md).
CHOICE = 0.2
# An intercept is looked for between these, to a billionth.
_FARTHEST, _HALVINGS = 100.0, 40


def choose_confidence(
    folder: Path, source: ExportSource, images: Sequence[CaptionedImage] | None, note: Callable[[str], None]
) -> Confidence | None:
    """How sure a new bundle is of a caption; None where that cannot be known.

    What a bundle knew goes on where the new one holds the same weights and searches alike; another form says other
    things, and is fitted on photos anew. A matching score, which is there for the confidence alone, is put into the
    folder with it.

    Args:
        folder: the new bundle, whole but for this.
        source: a run brings the photos that it held back.
        images: photos to fit on instead.
        note: told what is done, and what is missing.
    """
    confidence = _choose(read_bundle(folder), source, images, note)
    if confidence is None or confidence.matching is None:
        (folder / FILE).unlink(missing_ok=True)
    return confidence


def _choose(
    bundle: Bundle, source: ExportSource, images: Sequence[CaptionedImage] | None, note: Callable[[str], None]
) -> Confidence | None:
    of_runs = images_of_runs(source.runs)
    if images is None:
        alike = keep_matching(bundle, source)
        kept = replace(alike, manifest=replace(alike.manifest, confidence=source.confidence)).confidence
        if kept is not None:
            return kept
    images = of_runs.held_back if images is None else images
    if len(images) < FEWEST:
        note(
            f"no confidence is fitted: there are {len(images)} validation photos with captions, {FEWEST} are needed; "
            "--val-images DIR and --val-captions FILE give others"
        )
        return None
    return fit_confidence(choose_matching(bundle, source, of_runs, note), images, note)


@dataclass(frozen=True)
class Judged:
    """What a search found for a photo: sentences, most probable first, the signals of each, and how likely each is
    right by the photo's references, from 0 to 1."""

    sentences: Sequence[Hypothesis]
    signals: Sequence[Mapping[str, float]]
    chances: Sequence[float]


def fit_confidence(bundle: Bundle, images: Sequence[CaptionedImage], note: Callable[[str], None]) -> Confidence | None:
    """Captions photos with the bundle's own search, and fits how its signals tell a right caption.

    Args:
        bundle: the form that is to be used: another one has other signals.
        images: with references, none of them trained on; of many, some are taken evenly.
        note: told what is done, and what is missing.
    Returns:
        None where too few can be read.
    """
    chosen = evenly(images, _MOST)
    note(f"captioning {len(chosen)} validation photos for the confidence")
    judged = list(judge(bundle, chosen))
    if len(judged) < FEWEST:
        note(f"no confidence is fitted: {len(judged)} validation photos can be read, {FEWEST} are needed")
        return None
    return fit_judged(bundle, judged)


def judge(bundle: Bundle, images: Sequence[CaptionedImage]) -> Iterator[Judged]:
    """What the bundle's own search finds for photos with references; those that cannot be read are left out."""
    captioner = Captioner(bundle, provider="cpu")
    settings, tokenizer = searched_with(captioner.settings(), CHOICE), bundle.tokenizer()
    looked = look_at_each(captioner, images, lambda encoded: captioner.find(encoded, settings))
    for image, found in zip(images, looked, strict=True):
        if found is not None:
            sentences, signals = found
            texts = [raw_text(tokenizer.tokens(sentence.tokens)) for sentence in sentences]
            yield Judged(sentences, signals, [chance_of_right(text, image.captions) for text in texts])


def fit_judged(bundle: Bundle, judged: Sequence[Judged], *, choice: float = CHOICE) -> Confidence:
    """The confidence that tells best how likely the most probable sentences are right, with an intercept for those that
    are chosen by it: of several the surest is right less often than it seems.

    Args:
        bundle: whose search found the sentences.
        choice: what its logit counts in the choice.
    """
    settings = CaptionSettings().search(bundle)
    first = weigh_signals(bundle, [each.signals[0] for each in judged], [each.chances[0] for each in judged])
    signals, chances = [], []
    for each in judged:
        place = best_first(each.sentences, [first.logit(one) for one in each.signals], choice, settings)[0]
        signals.append(each.signals[place])
        chances.append(each.chances[place])
    shift = _shift(np.array([first.logit(each) for each in signals]), float(np.mean(chances)))
    chosen = replace(first, intercept=round(first.intercept + shift, _DIGITS), choice=choice)
    probabilities = [chosen.probability(each) for each in signals]
    return replace(chosen, lowest=round(min(probabilities), _DIGITS), highest=round(max(probabilities), _DIGITS))


def _shift(logits: np.ndarray, mean: float) -> float:
    """What is to be added to logits for probabilities of this mean."""
    low, high = -_FARTHEST, _FARTHEST
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if float(np.mean(1 / (1 + np.exp(-logits - middle)))) < mean else (low, middle)
    return (low + high) / 2


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
    weights = fitted.weights * steepness
    return replace(fitted, weights=weights, intercept=_shift((table - fitted.means) / fitted.scales @ weights, mean))
