"""An auxiliary loss on which words an image's captions hold. Knows nothing of decoders."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor, nn


class WordPresence:
    """Predicts from the pooled grid which words the reference captions of an image hold.

    So the encoder learns from all these words at once, not one after the other. It is multi-label classification by a
    softmax over the vocabulary, whose target the image's words share evenly (Mahajan et al., 2018, arXiv:1805.00932,
    found that to be better than a sigmoid for each word).

    Args:
        head: pooled grid [N, features] to scores [N, V].
        weight: of this loss beside the cross-entropy.
        special: ids of tokens that are no words: padding, start, end, unknown.
    """

    def __init__(self, head: nn.Module, weight: float, special: Collection[int]) -> None:
        self._head = head
        self._weight = weight
        self._special = frozenset(special)

    def __call__(self, features: Tensor, references: Sequence[Sequence[Sequence[int]]]) -> Tensor:
        """The weighted loss, a scalar, of a batch's grid [N, P, features] and each image's captions."""
        scores = torch.log_softmax(self._head(features.mean(1)).float(), dim=-1)
        words = [sorted({word for caption in captions for word in caption} - self._special) for captions in references]
        rows = [row for row, each in enumerate(words) for _ in each]
        columns = [word for each in words for word in each]
        shares = [1 / len(each) for each in words for _ in each]
        device = features.device
        # The type is said because a batch may hold no known word, and a tensor of nothing is of floats.
        rows_of, columns_of = (torch.tensor(each, dtype=torch.int64, device=device) for each in (rows, columns))
        chosen = scores[rows_of, columns_of]
        return -self._weight * (torch.tensor(shares, device=device) * chosen).sum() / len(references)
