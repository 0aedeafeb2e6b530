"""Training objectives: cross-entropy on the reference captions, and self-critical sequence training.

`CrossEntropy` is maximum likelihood, perhaps with an auxiliary loss on which words an image's captions hold.
`SelfCritical` (Rennie et al., 2017, arXiv:1612.00563) raises the probability of sentences that score above the image's
others, by CIDEr-D and perhaps BLEU and METEOR. As in Cornia et al. (2020, arXiv:1912.08226) the sentences are those of
the beam search, so that what is made better is what users will see, and the baseline is the mean of the others. Knows
nothing of files, optimisers or epochs.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor, nn

from capcli.bundle.tokens import Tokenizer
from capcli.decoding.search import SearchSettings, TokenFilter
from capcli.training.inputs.batches import Batch, Sentences
from capcli.training.network.decoder import Decoder
from capcli.training.network.search import search_grid
from capcli.training.objectives.rewards import Reward


@dataclass(frozen=True)
class Objective:
    """The value of an objective on one batch.

    `loss`: the scalar to minimise. `nats`: cross-entropy summed over `words`. `reward`: x 100,
    summed over `sentences`, the generated captions; 0 of them for cross-entropy.
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


class WordPresence:
    """Which words the captions of an image hold, told from the pooled grid: an auxiliary loss.

    It asks the encoder for every word that people found worth saying, at once and not one after the other. Words are
    told apart by a softmax over the vocabulary whose target is shared evenly by the image's words (Mahajan et al.,
    2018, arXiv:1805.00932, found that to be better than a sigmoid a word).

    Args:
        head: pooled grid [N, features] to scores [N, V].
        weight: of this loss beside the cross-entropy.
        unsaid: ids that are no words.
    """

    def __init__(self, head: nn.Module, weight: float, unsaid: Collection[int]) -> None:
        self._head = head
        self._weight = weight
        self._unsaid = frozenset(unsaid)

    def __call__(self, features: Tensor, references: Sequence[Sequence[Sequence[int]]]) -> Tensor:
        """The weighted loss, a scalar, of a batch's grid [N, P, features] and each image's captions."""
        scores = torch.log_softmax(self._head(features.mean(1)).float(), dim=-1)
        words = [sorted({word for caption in captions for word in caption} - self._unsaid) for captions in references]
        rows = [row for row, each in enumerate(words) for _ in each]
        columns = [word for each in words for word in each]
        shares = [1 / len(each) for each in words for _ in each]
        device = features.device
        # The type is said because a batch may hold no known word, and a tensor of nothing is of floats.
        rows_of, columns_of = (torch.tensor(each, dtype=torch.int64, device=device) for each in (rows, columns))
        chosen = scores[rows_of, columns_of]
        return -self._weight * (torch.tensor(shares, device=device) * chosen).sum() / len(references)


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

    def __call__(self, decoder: Decoder, features: Tensor, batch: Batch) -> Objective:
        value = self.of(_forced(decoder, features, batch.sentences), batch.sentences.targets)
        if self._presence is None:
            return value
        return replace(value, loss=value.loss + self._presence(features, batch.references))

    def of(self, logits: Tensor, targets: Tensor) -> Objective:
        """From scores [T, V] of the words `targets`, int64 [T]."""
        total = self._loss(logits.float(), targets.to(logits.device))
        words = int((targets != Sentences.IGNORED).sum())
        return Objective(total / max(1, words), float(total.detach()), words)


class SelfCritical:
    """Rewards of the network's own sentences, with a share of cross-entropy that keeps their grammar sane.

    Args:
        rewards: what scores sentences, with weights.
        search: `captions` sentences an image are compared with each other.
        tokenizer: the decoder's vocabulary.
        filters: what captions may not say.
        cross_entropy: on the reference captions; weighs `share`, the reward 1 - `share`.
        threads: images that are scored at once, for rewards that other programs compute.
    """

    def __init__(
        self,
        rewards: Sequence[tuple[float, Reward]],
        search: SearchSettings,
        tokenizer: Tokenizer,
        filters: Sequence[TokenFilter],
        cross_entropy: CrossEntropy,
        share: float,
        threads: int = 1,
    ) -> None:
        self._threads = threads
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
        own_captions = self._own(decoder, features)
        with ThreadPoolExecutor(self._threads) as pool:
            scored = list(pool.map(self._score, own_captions, batch.references, batch.data_sets))
        for image, (words, scores) in enumerate(zip(own_captions, scored, strict=True)):
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
