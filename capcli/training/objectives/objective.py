"""What every training objective is: a function that measures a batch. Knows nothing of files, optimisers or epochs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from capcli.training.inputs.batches import Batch
from capcli.training.network.decoder import Decoder


@dataclass(frozen=True)
class Loss:
    """What an objective makes of one batch.

    `loss`: the scalar to minimise, with a gradient. `nats`: cross-entropy summed over `words`, the reference captions'
    known ones. `reward`: x 100, summed over `sentences`, the generated captions; 0 of them for cross-entropy.
    """

    loss: Tensor
    nats: float
    words: int
    reward: float = 0.0
    sentences: int = 0


class Objective(Protocol):
    """What updates minimise."""

    def __call__(self, decoder: Decoder, features: Tensor, batch: Batch) -> Loss:
        """Measures a batch.

        Args:
            decoder: in training mode.
            features: float [N, P, features], the encoder's grid of the batch's images.
            batch: captions of these images.
        """
        ...
