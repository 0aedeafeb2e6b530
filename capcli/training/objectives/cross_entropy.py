"""Cross-entropy on the reference captions: maximum likelihood, with label smoothing.

Knows nothing of files, optimisers or epochs.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn

from capcli.training.inputs.batches import Batch
from capcli.training.inputs.examples import Sentences
from capcli.training.network.decoder import Decoder
from capcli.training.objectives.objective import Loss
from capcli.training.objectives.word_presence import WordPresence


class CrossEntropy:
    """Mean cross-entropy a word of the reference captions, with label smoothing.

    Args:
        label_smoothing: the share of the target spread evenly over all words.
        presence: an auxiliary loss that is added.
    """

    def __init__(self, label_smoothing: float, presence: WordPresence | None = None) -> None:
        self._loss = nn.CrossEntropyLoss(
            label_smoothing=label_smoothing, reduction="sum", ignore_index=Sentences.IGNORED
        )
        self._presence = presence

    def __call__(self, decoder: Decoder, features: Tensor, batch: Batch) -> Loss:
        value = self.of(logits_of(decoder, features, batch.sentences), batch.sentences.targets)
        if self._presence is None:
            return value
        return replace(value, loss=value.loss + self._presence(features, batch.references))

    def of(self, logits: Tensor, targets: Tensor) -> Loss:
        """From scores [T, V] of the words `targets`, int64 [T]; without the auxiliary loss."""
        total = self._loss(logits.float(), targets.to(logits.device))
        words = int((targets != Sentences.IGNORED).sum())
        return Loss(total / max(1, words), float(total.detach()), words)


def logits_of(decoder: Decoder, features: Tensor, sentences: Sentences) -> Tensor:
    """The decoder's scores of every next word, [T, V], in the order of `sentences.targets`.

    Args:
        features: float [N, P, features], the grid of the sentences' images.
    """
    device = features.device
    return decoder.teacher_forced(features, sentences.images.to(device), sentences.tokens.to(device), sentences.lengths)
