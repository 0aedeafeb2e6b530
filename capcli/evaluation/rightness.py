"""How likely a person would call a caption right, by what people wrote of the same photo.

Measured on one photo and its references alone: no Java, no other photos. How the measures are weighed was fitted on
1,039 captions that were judged by looking (models/recipe/rightness.py); `rightness.json` holds the weights. For
labels to learn a confidence from, not for quoting. Knows nothing of models or pictures.
"""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Sequence
from importlib import resources

import numpy as np

from capcli.evaluation.logistic import Logistic
from capcli.evaluation.plain import plain_tokens
from capcli.evaluation.wording import FUNCTION_WORDS

WEIGHTS = "rightness.json"
# As in ROUGE-L of the COCO evaluation.
_BETA = 1.2
MEASURES = (
    "highest_rouge_l",
    "mean_rouge_l",
    "mean_support",
    "least_support",
    "share_unsupported",
    "unsupported",
    "first_support",
    "last_support",
    "mean_pair_overlap",
    "known_pairs",
    "agreed_words_said",
    "agreed_words",
    "length",
    "references",
)


def chance_of_right(caption: str, references: Sequence[str]) -> float:
    """From 0 to 1.

    Args:
        caption: a sentence, or bare words.
        references: at least one caption that a person wrote of the photo.
    """
    return float(_weights()(measures(caption, references)[None])[0])


def measures(caption: str, references: Sequence[str]) -> np.ndarray:
    """What a caption and its references have in common, in the order of `MEASURES`: float64 [14].

    Words are compared without their endings; the support of a content word is the share of references that hold it.
    """
    said = _stems(caption)
    wanted = [_stems(reference) for reference in references]
    count = len(wanted)
    holding = [set(words) for words in wanted]
    rouge = [_rouge_l(said, words) for words in wanted]
    content = [word for word in said if word not in FUNCTION_WORDS]
    support = np.array([sum(word in words for words in holding) / count for word in content] or [0.0])
    pairs, known = _pairs(said), [_pairs(words) for words in wanted]
    overlaps = [len(pairs & others) / max(1, len(pairs)) for others in known]
    # What most people say of a photo is what it shows.
    agreed = {
        word
        for words in holding
        for word in words - FUNCTION_WORDS
        if sum(word in others for others in holding) >= max(min(2, count), 0.6 * count)
    }
    return np.array(
        [
            max(rouge),
            np.mean(rouge),
            support.mean(),
            support.min(),
            (support == 0).mean(),
            (support == 0).sum(),
            support[0],
            support[-1],
            np.mean(overlaps),
            len(pairs & set().union(*known)) / max(1, len(pairs)),
            len(agreed & set(said)) / len(agreed) if agreed else 0.5,
            len(agreed),
            len(said),
            np.log(count),
        ],
        dtype=np.float64,
    )


@functools.cache
def _weights() -> Logistic:
    values = json.loads(resources.files("capcli.evaluation").joinpath(WEIGHTS).read_text("utf-8"))
    table = [values["measures"][name] for name in MEASURES]
    weights, means, scales = (np.array([row[key] for row in table]) for key in ("weight", "mean", "scale"))
    return Logistic(weights, means, scales, float(values["intercept"]))


def _stems(text: str) -> list[str]:
    return [word if word in FUNCTION_WORDS else _stem(word) for word in plain_tokens(text).split()]


def _stem(word: str) -> str:
    """A word without the ending of a plural or of a participle, roughly: both sides are cut alike.

    "horses" and "horse" are "hors", "running" and "runs" are "run".
    """
    if word.endswith("ies") and len(word) > 4:
        word = word.removesuffix("ies") + "y"
    elif word.endswith("s") and not word.endswith("ss") and len(word) > 3:
        word = word.removesuffix("s")
    elif word.endswith("ing") and len(word) > 5:
        word = word.removesuffix("ing")
    if len(word) > 3:
        word = word.removesuffix("e")
    return word[:-1] if len(word) > 3 and word[-1] == word[-2] else word


def _pairs(words: Sequence[str]) -> set[tuple[str, str]]:
    return set(itertools.pairwise(words))


def _rouge_l(said: Sequence[str], wanted: Sequence[str]) -> float:
    """ROUGE-L (Lin, 2004): F-measure of the longest common subsequence."""
    row = [0] * (len(wanted) + 1)
    for word in said:
        before, row = row, [0]
        for place, other in enumerate(wanted):
            row.append(before[place] + 1 if word == other else max(before[place + 1], row[place]))
    common = row[-1]
    if not common:
        return 0.0
    precision, recall = common / len(said), common / len(wanted)
    return (1 + _BETA**2) * precision * recall / (recall + _BETA**2 * precision)
