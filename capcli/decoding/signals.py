"""What a model's own numbers on a sentence say of whether it is right: the signals of a confidence.

Each depends on the sentence and its picture alone: not on the other hypotheses, of which there are more with a wider
search, nor on the batch. Chosen on verdicts by eye (`models/recipe/confidence_scores.py`): margins between hypotheses,
agreement among them, attention and features of the picture added nothing to these. NumPy only; knows nothing of what
the signals are weighed by, or of how a matching score comes about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from capcli.decoding.search import Hypothesis

_MOST_OPEN = 3


def _entropy(hypothesis: Hypothesis) -> np.ndarray:
    if hypothesis.entropy is None:
        raise ValueError("the sentence was searched for without its entropy")
    return hypothesis.entropy


def _mean_of_most_open(hypothesis: Hypothesis) -> float:
    entropy = np.sort(_entropy(hypothesis))
    return float(entropy[-_MOST_OPEN:].mean())


_SIGNALS: Mapping[str, Callable[[Hypothesis], float]] = {
    "mean_log_prob": lambda hypothesis: hypothesis.mean_log_prob,
    "least_log_prob": lambda hypothesis: float(hypothesis.log_probs.min()),
    "end_log_prob": lambda hypothesis: float(hypothesis.log_probs[-1]),
    "length": lambda hypothesis: float(hypothesis.length),
    "mean_entropy": lambda hypothesis: float(_entropy(hypothesis).mean()),
    # Of the three places where most could have been said.
    "highest_entropy": _mean_of_most_open,
}
SIGNALS = tuple(_SIGNALS)
# What a second model says, which the search knows nothing of: whether the sentence goes with the picture.
MATCH = "match"


def are_known(names: Iterable[str], *, matching: bool) -> bool:
    """Whether this version can measure all signals of these names.

    Args:
        matching: whether there is a matching score.
    """
    return set(names) <= {*_SIGNALS, *((MATCH,) if matching else ())}


def signals_of(hypothesis: Hypothesis, match: float | None = None) -> dict[str, float]:
    """The signals of a sentence, by name.

    Args:
        match: its matching score, None for a sentence without.
    Raises:
        ValueError: it was searched for without entropy.
    """
    own = {name: measure(hypothesis) for name, measure in _SIGNALS.items()}
    return own if match is None else {**own, MATCH: match}
