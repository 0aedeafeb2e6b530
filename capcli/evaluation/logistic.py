"""Logistic regression on labels from 0 to 1, with standardised features: small enough to be plain NumPy.

Knows nothing of what is told apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_MOST_STEPS = 100
_DONE = 1e-10


@dataclass(frozen=True)
class Logistic:
    """`weights`, `means` and `scales` float64 [F]: the logit is the intercept and weights * (x - means) / scales."""

    weights: np.ndarray
    means: np.ndarray
    scales: np.ndarray
    intercept: float

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Probabilities float64 [N] of features [N, F]."""
        logits = self.intercept + ((features - self.means) / self.scales) @ self.weights
        return np.asarray(_sigmoid(logits))


def fit_logistic(features: np.ndarray, labels: np.ndarray, *, ridge: float) -> Logistic:
    """Minimises cross-entropy and half `ridge` times the squared weights, by Newton's method.

    Args:
        features: float [N, F]. One that is the same everywhere gets the weight 0.
        labels: float [N], 0 to 1: how likely each is a case.
        ridge: above 0, against the mean cross-entropy of one case.
    """
    means, scales = features.mean(0), features.std(0)
    scales = np.where(scales > 1e-9 * np.maximum(1.0, np.abs(means)), scales, 1.0)
    inputs = np.c_[np.ones(len(features)), (features - means) / scales]
    # The intercept is not held back.
    penalty = np.r_[0.0, np.full(features.shape[1], ridge * len(features))]
    weights = np.zeros(inputs.shape[1])
    for _ in range(_MOST_STEPS):
        chances = _sigmoid(inputs @ weights)
        slope = inputs.T @ (chances - labels) + penalty * weights
        # A share of a case keeps the matrix regular where all is certain.
        bend = (inputs * (chances * (1 - chances) + 1e-9)[:, None]).T @ inputs + np.diag(penalty)
        step = np.linalg.solve(bend, slope)
        weights = weights - step
        if np.abs(step).max() < _DONE:
            break
    return Logistic(weights[1:], means, scales, float(weights[0]))


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(logits, -500, 500))))
