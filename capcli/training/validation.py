"""How good a network is on held-back images: CIDEr of its captions, cross-entropy of the references.

For choosing among epochs, not for quoting: the tokeniser is a plain one. Knows nothing of optimisers or files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from capcli.bundle.tokens import Tokenizer, raw_text
from capcli.dataset.captions import CaptionedImage
from capcli.decoding.search import SearchSettings, TokenFilter
from capcli.evaluation import plain_cider
from capcli.training.inputs.augment import View
from capcli.training.inputs.batches import MapSource, Sentences
from capcli.training.network.decoder import CaptionNetwork
from capcli.training.network.search import search_grid

# Fewer images than this choose among epochs by chance.
FEW_IMAGES = 20

_IMAGES_AT_ONCE = 64


@dataclass(frozen=True)
class ValidationSet:
    """Held-back images of one data set, with their references."""

    name: str
    images: list[CaptionedImage]


@dataclass(frozen=True)
class ValidationScores:
    """`cider`: x 100, of each set. `loss`: cross-entropy of the references in nats a word, of all sets together.

    None where the references hold no known word.
    """

    cider: tuple[float, ...]
    loss: float | None

    @property
    def mean_cider(self) -> float:
        return sum(self.cider) / len(self.cider)


class Validator:
    """Scores a network on validation sets.

    Args:
        sets: at least one, each with images.
        source: maps of their images.
        tokenizer: the decoder's vocabulary.
        search: how captions are searched for.
        filters: what captions may not say.
        max_words: longer references are cut for the loss, as in training.
    """

    def __init__(
        self,
        sets: Sequence[ValidationSet],
        source: MapSource,
        tokenizer: Tokenizer,
        search: SearchSettings,
        filters: Sequence[TokenFilter],
        max_words: int,
    ) -> None:
        self._sets = sets
        self._source = source
        self._tokenizer = tokenizer
        self._search = search
        self._filters = filters
        self._max_words = max_words

    def __call__(
        self, network: CaptionNetwork, features_of: Callable[[Tensor], Tensor], progress: Callable[[int, int], None]
    ) -> ValidationScores:
        """Scores a network.

        Args:
            network: in evaluation mode.
            features_of: a batch's maps to the encoder's grid, float [N, P, features], in the run's precision.
            progress: told how many images of how many are done.
        """
        total = sum(len(held.images) for held in self._sets)
        done = 0
        nats, words = 0.0, 0
        scores = []
        for held in self._sets:
            captions: list[str] = []
            for begin in range(0, len(held.images), _IMAGES_AT_ONCE):
                images = held.images[begin : begin + _IMAGES_AT_ONCE]
                maps = self._source.read([image.path for image in images], [View()] * len(images))
                with torch.inference_mode():
                    features = features_of(maps)
                    found = search_grid(network.decoder, features, self._tokenizer, self._search, self._filters)
                    batch_nats, batch_words = self._cross_entropy(network, features, images)
                captions += [raw_text(self._tokenizer.tokens(best[0].tokens)) for best in found]
                nats, words = nats + batch_nats, words + batch_words
                done += len(images)
                progress(done, total)
            scores.append(plain_cider(captions, [image.captions for image in held.images]))
        return ValidationScores(tuple(scores), nats / words if words else None)

    def _cross_entropy(
        self, network: CaptionNetwork, features: Tensor, images: Sequence[CaptionedImage]
    ) -> tuple[float, int]:
        """Summed nats of the known words of the references, and their number."""
        tokenizer = self._tokenizer
        encoded = [
            (row, ids) for row, image in enumerate(images) for text in image.captions if (ids := tokenizer.encode(text))
        ]
        references = [
            (row, [*ids, tokenizer.end] if len(ids) <= self._max_words else ids[: self._max_words])
            for row, ids in encoded
        ]
        if not references:
            return 0.0, 0
        sentences = Sentences.lay_out(references, tokenizer.start, tokenizer.unknown)
        device = features.device
        logits = network.decoder.teacher_forced(
            features, sentences.images.to(device), sentences.tokens.to(device), sentences.lengths
        )
        targets = sentences.targets.to(device)
        total = torch.nn.functional.cross_entropy(
            logits.float(), targets, reduction="sum", ignore_index=Sentences.IGNORED
        )
        return float(total), int((targets != Sentences.IGNORED).sum())
