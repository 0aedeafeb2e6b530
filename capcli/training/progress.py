"""How a run tells where it stands: after an update, after an epoch, and in lines. Knows nothing of who shows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class TrainingProgress:
    """Where training stands after an update.

    `epoch` and `update` count from 1 to `epochs` and `updates`. `loss` and `reward` are means over the epoch so far:
    cross-entropy in nats a word, None where no reference caption was learnt, and 100 x the reward of the generated
    captions, None for cross-entropy. `rate`: the decoder's learning rate.
    """

    epoch: int
    epochs: int
    update: int
    updates: int
    loss: float | None
    reward: float | None
    rate: float
    seconds_left: float


@dataclass(frozen=True)
class EpochResult:
    """An epoch's line in the log.

    `loss` and `reward` as in `TrainingProgress`. `cider` per validation set, x 100, and `val_loss`, the references'
    nats a word, of epochs that were validated; `mean_cider` decides which epoch is best.
    """

    epoch: int
    update: int
    loss: float | None
    reward: float | None
    rate: float
    cider: tuple[float, ...]
    mean_cider: float | None
    val_loss: float | None
    best: bool
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as JSON holds them."""
        return {**self.__dict__, "cider": list(self.cider)}


class TrainingListener:
    """Told how a run goes, from reading data to the last epoch; this one does nothing with it."""

    def note(self, line: str) -> None:
        """Something worth a line."""

    def encoding(self, done: int, total: int) -> None:
        """So many images are read, and computed where the cache lacked them."""

    def progress(self, progress: TrainingProgress) -> None:
        """An update is done."""

    def validating(self, done: int, total: int) -> None:
        """So many validation images are captioned."""

    def epoch(self, result: EpochResult) -> None:
        """An epoch is done, and in the log."""
