"""What a benchmark found: plain values with stable names, which `capcli bench --json` prints. Measures nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

# Raised when a key changes its meaning or goes.
FORMAT = 1


@dataclass(frozen=True)
class Stage:
    """One stage alone: median seconds a photo, and its share of all stages' sum (0 to 1)."""

    stage: str
    seconds: float
    share: float


@dataclass(frozen=True)
class Limit:
    """A measured value beside its target.

    `value` is a ratio, or megabytes, as `unit` says ("x" or "MB"); `low` and `high` are its range over the rounds.
    `at_most` tells on which side of `target` it should lie.
    """

    key: str
    what: str
    value: float
    low: float
    high: float
    target: float
    at_most: bool
    unit: str = "x"

    @property
    def met(self) -> bool:
        return self.value <= self.target if self.at_most else self.value >= self.target


@dataclass(frozen=True)
class Benchmark:
    """All that was measured.

    `machine`, `versions` and `model` describe what was measured; `photos` counts what it was measured on.
    `photos_per_second` is that of the whole run, photos on disk to captions in a CSV; `encoder_per_second` that of the
    encoder alone, on tensors that are ready. `left_out` says, by a limit's key, why it could not be measured.
    """

    machine: Mapping[str, Any]
    versions: Mapping[str, str]
    model: Mapping[str, Any]
    photos: Mapping[str, Any]
    stages: tuple[Stage, ...]
    photos_per_second: float
    encoder_per_second: float
    limits: tuple[Limit, ...]
    left_out: Mapping[str, str]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        values = asdict(self)
        values["limits"] = [{**asdict(limit), "met": limit.met} for limit in self.limits]
        return {"format": FORMAT, **values}
