"""How sure a bundle is of a caption: the few numbers that make its model's signals a probability that it is right.

A logistic regression, fitted by `capcli export` on validation photos. Knows nothing of how signals are measured, or of
how it was fitted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Beyond these the exponential leaves the range of floats, and the probability is 0 or 1 in any case.
_STEEPEST = 500.0


@dataclass(frozen=True)
class SignalWeight:
    """A signal's part: `weight` for each `scale` (above 0) that it is from its `mean` on the validation photos."""

    weight: float
    mean: float
    scale: float


@dataclass(frozen=True)
class Confidence:
    """The chance that a person would call a caption right, of a model's signals.

    It is of the model and the search that it was fitted for: `weights`, the bundle's fingerprint, and `matching`, that
    of its matching score, None where that is no signal; `beam`, `max_length` and `length_penalty`. `photos`: how many
    it was fitted on; `lowest` and `highest`: between which probabilities these have, None where that was not kept.
    `choice`: what the logit of a caption counts beside its ranking score where one of a beam's is chosen; 0 leaves the
    most probable one.
    """

    signals: Mapping[str, SignalWeight]
    intercept: float
    photos: int
    weights: str
    beam: int
    max_length: int
    length_penalty: float
    matching: str | None = None
    lowest: float | None = None
    highest: float | None = None
    choice: float = 0.0

    def probability(self, signals: Mapping[str, float]) -> float:
        """From 0 to 1.

        Args:
            signals: by name; others than the fitted ones do not count.
        Raises:
            KeyError: one is missing.
        """
        return 1.0 / (1.0 + math.exp(-max(-_STEEPEST, min(_STEEPEST, self.logit(signals)))))

    def logit(self, signals: Mapping[str, float]) -> float:
        """The logarithm of the odds, for which the rest is as for `probability`."""
        return self.intercept + sum(self.parts(signals).values())

    def parts(self, signals: Mapping[str, float]) -> dict[str, float]:
        """What each signal adds to the logit, or takes from it, beside a photo of the usual signals.

        Raises:
            KeyError: one is missing.
        """
        return {
            name: part.weight * (signals[name] - part.mean) / part.scale for name, part in sorted(self.signals.items())
        }

    def as_dict(self) -> dict[str, Any]:
        """Plain values as the manifest holds them."""
        return {
            "photos": self.photos,
            **({} if self.lowest is None or self.highest is None else {"range": [self.lowest, self.highest]}),
            "weights": self.weights,
            **({"choice": self.choice} if self.choice else {}),
            **({} if self.matching is None else {"matching": self.matching}),
            "search": {
                "beam": self.beam,
                "max_length": self.max_length,
                "length_penalty": self.length_penalty,
            },
            "intercept": self.intercept,
            "signals": {name: dict(part.__dict__) for name, part in self.signals.items()},
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Confidence:
        """Reads what `as_dict` gave.

        Raises:
            KeyError, TypeError, ValueError: something is missing or of the wrong type, or no finite number.
        """
        signals = {
            str(name): SignalWeight(*(_finite(name, part[key]) for key in ("weight", "mean", "scale")))
            for name, part in dict(values["signals"]).items()
        }
        if not signals or not all(part.scale > 0 for part in signals.values()):
            raise ValueError("confidence should hold signals, each with a scale above 0")
        search, span = values["search"], values.get("range")
        lowest, highest = (None, None) if span is None else (_finite("range", each) for each in span)
        return cls(
            signals,
            _finite("intercept", values["intercept"]),
            int(values["photos"]),
            str(values["weights"]),
            int(search["beam"]),
            int(search["max_length"]),
            float(search["length_penalty"]),
            None if values.get("matching") is None else str(values["matching"]),
            lowest,
            highest,
            _choice(values.get("choice", 0.0)),
        )


def _choice(value: Any) -> float:
    number = _finite("choice", value)
    if number < 0:
        raise ValueError(f"confidence should hold a choice of 0 or more, not {number}")
    return number


def _finite(name: str, value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"confidence should hold a finite number for {name}")
    return number
