"""What an update makes better: the probability of people's captions, or the score of the network's own.

`CrossEntropy` is maximum likelihood. `SelfCritical` (Rennie et al., 2017, arXiv:1612.00563) raises the probability of
sentences that score above the image's others, by CIDEr-D and perhaps BLEU. As in Cornia et al. (2020,
arXiv:1912.08226) the sentences are those of the beam search, so that what is made better is what users will see, and
the baseline is the mean of the others. Knows nothing of files, optimisers or epochs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from capcli.decoding import SearchSettings, TokenFilter
from capcli.tokens import Tokenizer
from capcli.training.batches import Batch, Sentences, SoftTargets
from capcli.training.generate import search_grid
from capcli.training.network import Decoder
from capcli.training.reward import Reward


@dataclass(frozen=True)
class Objective:
    """The value of an objective on one batch.

    `loss`: what to go down on, a scalar with a gradient. `nats`: cross-entropy summed over `words`. `reward`: x 100,
    summed over `sentences` of the network's own, 0 of them where it said none.
    """

    loss: Tensor
    nats: float
    words: int
    reward: float = 0.0
    sentences: int = 0


class ObjectiveFunction(Protocol):
    """Measures a batch."""

    def __call__(self, decoder: Decoder, features: Tensor, batch: Batch) -> Objective:
        """Measures a batch.

        Args:
            decoder: in training mode.
            features: float [N, P, features], the encoder's grid of the batch's images.
            batch: captions of these images.
        """
        ...


class CrossEntropy:
    """Mean cross-entropy a word of people's captions, smoothed; where others were asked, of what they say too.

    Learning from the words that teachers hold probable is distillation (Hinton et al., 2015, arXiv:1503.02531).

    Args:
        label_smoothing: for people's words.
        soft: the share of the soft targets, where a batch has them.
    """

    def __init__(self, label_smoothing: float, soft: float = 0.0) -> None:
        self._loss = nn.CrossEntropyLoss(
            label_smoothing=label_smoothing, reduction="sum", ignore_index=Sentences.IGNORED
        )
        self._soft = soft

    def __call__(self, decoder: Decoder, features: Tensor, batch: Batch) -> Objective:
        return self.of(_forced(decoder, features, batch.sentences), batch.sentences.targets, batch.soft)

    def of(self, logits: Tensor, targets: Tensor, soft: SoftTargets | None = None) -> Objective:
        """From scores [T, V] of the words `targets`, int64 [T]."""
        total = loss = self._loss(logits.float(), targets.to(logits.device))
        known = targets != Sentences.IGNORED
        words = int(known.sum())
        if soft is not None:
            log_probs = torch.log_softmax(logits.float(), dim=-1).gather(1, soft.tokens.to(logits.device))
            asked = -(soft.probabilities.to(logits.device) * log_probs).sum(1)
            loss = (1 - self._soft) * total + self._soft * asked[known.to(logits.device)].sum()
        return Objective(loss / max(1, words), float(total.detach()), words)


class SelfCritical:
    """Rewards of the network's own sentences, with a share of cross-entropy that keeps their grammar sane.

    Args:
        rewards: what scores sentences, with weights.
        search: `captions` sentences an image are compared with each other.
        tokenizer: the decoder's vocabulary.
        filters: what captions may not say.
        cross_entropy: people's captions; weighs `share`, the reward 1 - `share`.
    """

    def __init__(
        self,
        rewards: Sequence[tuple[float, Reward]],
        search: SearchSettings,
        tokenizer: Tokenizer,
        filters: Sequence[TokenFilter],
        cross_entropy: CrossEntropy,
        share: float,
    ) -> None:
        self._rewards = rewards
        self._search = search
        self._tokenizer = tokenizer
        self._filters = filters
        self._cross_entropy = cross_entropy
        self._share = share

    def __call__(self, decoder: Decoder, features: Tensor, batch: Batch) -> Objective:
        said: list[tuple[int, list[int]]] = []
        rewards: list[float] = []
        advantages: list[float] = []
        for image, words in enumerate(self._own(decoder, features)):
            scores = self._score(words, batch.references[image], batch.data_sets[image])
            mean = sum(scores) / len(scores)
            said += [(image, sentence) for sentence in words]
            rewards += scores
            # Against the mean of the others; one sentence alone has nothing to be better than.
            advantages += [(score - mean) * len(scores) / max(1, len(scores) - 1) for score in scores]
        # People's captions go through the decoder together with its own: half as many steps.
        people = [(image, words) for image, captions in enumerate(batch.references) for words in captions]
        sentences = Sentences.lay_out(
            [*said, *people] if self._share else said, self._tokenizer.start, self._tokenizer.unknown
        )
        logits = _forced(decoder, features, sentences)
        # Which sentence each target is of, as numbered before they were laid out.
        origin = torch.tensor(sentences.order)[sentences.owners]
        own = origin < len(said)
        device = features.device
        log_probs = -nn.functional.cross_entropy(
            logits[own.to(device)].float(), sentences.targets[own].to(device), reduction="none"
        )
        weight = torch.tensor(advantages)[origin[own]].to(device)
        loss = -(weight * log_probs).sum() / len(weight)
        if not self._share:
            return Objective(loss, 0.0, 0, 100 * sum(rewards), len(rewards))
        known = self._cross_entropy.of(logits[~own.to(device)], sentences.targets[~own])
        loss = (1 - self._share) * loss + self._share * known.loss
        return Objective(loss, known.nats, known.words, 100 * sum(rewards), len(rewards))

    def _score(self, sentences: list[list[int]], references: list[list[int]], data_set: int) -> list[float]:
        parts = [
            [weight * score for score in reward.score(sentences, references, data_set)]
            for weight, reward in self._rewards
        ]
        return [sum(scores) for scores in zip(*parts, strict=True)]

    def _own(self, decoder: Decoder, features: Tensor) -> list[list[list[int]]]:
        decoder.eval()
        found = search_grid(decoder, features.detach(), self._tokenizer, self._search, self._filters)
        decoder.train()
        end = self._tokenizer.end
        return [[[*hypothesis.tokens, end] for hypothesis in hypotheses] for hypotheses in found]


def _forced(decoder: Decoder, features: Tensor, sentences: Sentences) -> Tensor:
    device = features.device
    return decoder.teacher_forced(features, sentences.images.to(device), sentences.tokens.to(device), sentences.lengths)
