"""Self-critical sequence training (Rennie et al., 2017, arXiv:1612.00563).

It raises the probability of generated captions that score above the image's others, by CIDEr-D and perhaps BLEU and
METEOR. As in Cornia et al. (2020, arXiv:1912.08226) they are those of the beam search, so that what is made better is
what users will see, and the baseline is the mean of the others. Knows nothing of files, optimisers or epochs.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor, nn

from capcli.bundle.tokens import Tokenizer
from capcli.decoding.search import SearchSettings, TokenFilter
from capcli.training.inputs.batches import Batch
from capcli.training.inputs.examples import Sentences
from capcli.training.network.decoder import Decoder
from capcli.training.network.search import search_grid
from capcli.training.objectives.cross_entropy import CrossEntropy, logits_of
from capcli.training.objectives.objective import Loss
from capcli.training.objectives.rewards import Reward


class SelfCritical:
    """Rewards of generated captions, with a share of cross-entropy that keeps their grammar sane.

    Args:
        rewards: what scores captions, with weights.
        search: `captions` of an image are compared with each other.
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
        # Its threads end with it.
        self._pool = ThreadPoolExecutor(threads)
        self._rewards = rewards
        self._search = search
        self._tokenizer = tokenizer
        self._filters = filters
        self._cross_entropy = cross_entropy
        self._share = share

    def __call__(self, decoder: Decoder, features: Tensor, batch: Batch) -> Loss:
        captions = self._generate(decoder, features)
        scored = list(self._pool.map(self._score, captions, batch.references, batch.data_sets))
        generated: list[tuple[int, list[int]]] = []
        rewards: list[float] = []
        advantages: list[float] = []
        for image, (words, scores) in enumerate(zip(captions, scored, strict=True)):
            mean = sum(scores) / len(scores)
            generated += [(image, sentence) for sentence in words]
            rewards += scores
            # Against the mean of the others; one sentence alone has nothing to be better than.
            advantages += [(score - mean) * len(scores) / max(1, len(scores) - 1) for score in scores]
        references = [(image, words) for image, each in enumerate(batch.references) for words in each]
        # References go through the decoder together with the generated captions: half as many steps.
        sentences = Sentences.lay_out(
            [*generated, *references] if self._share else generated, self._tokenizer.start, self._tokenizer.unknown
        )
        logits = logits_of(decoder, features, sentences)
        # Which sentence each target is of, as numbered before they were laid out.
        origin = torch.tensor(sentences.order)[sentences.owners]
        own = origin < len(generated)
        device = features.device
        log_probs = -nn.functional.cross_entropy(
            logits[own.to(device)].float(), sentences.targets[own].to(device), reduction="none"
        )
        weight = torch.tensor(advantages)[origin[own]].to(device)
        loss = -(weight * log_probs).sum() / len(weight)
        if not self._share:
            return Loss(loss, 0.0, 0, 100 * sum(rewards), len(rewards))
        known = self._cross_entropy.of(logits[~own.to(device)], sentences.targets[~own])
        loss = (1 - self._share) * loss + self._share * known.loss
        return Loss(loss, known.nats, known.words, 100 * sum(rewards), len(rewards))

    def _score(self, sentences: list[list[int]], references: list[list[int]], data_set: int) -> list[float]:
        """The weighted sum of all rewards, for each caption of one image."""
        parts = [
            [weight * score for score in reward.score(sentences, references, data_set)]
            for weight, reward in self._rewards
        ]
        return [sum(scores) for scores in zip(*parts, strict=True)]

    def _generate(self, decoder: Decoder, features: Tensor) -> list[list[list[int]]]:
        """The captions of each image, as token ids with the end token, as evaluation would search them."""
        decoder.eval()
        found = search_grid(decoder, features.detach(), self._tokenizer, self._search, self._filters)
        decoder.train()
        end = self._tokenizer.end
        return [[[*hypothesis.tokens, end] for hypothesis in hypotheses] for hypotheses in found]
