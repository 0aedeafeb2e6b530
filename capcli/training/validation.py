"""How good a network is on held-back images: CIDEr of its captions, cross-entropy of the references.

For choosing among epochs, not for quoting: the tokeniser is a plain one. Knows nothing of optimisers or files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from capcli.bundle.tokens import Tokenizer, raw_text
from capcli.decoding.search import SearchSettings, TokenFilter
from capcli.evaluation import plain_cider
from capcli.training.config import TrainConfig
from capcli.training.data import ValidationSet
from capcli.training.inputs.augment import View
from capcli.training.inputs.examples import EncodedImage, Sentences
from capcli.training.inputs.sources import InputSource
from capcli.training.network.caption_network import CaptionNetwork
from capcli.training.network.decoder import Decoder
from capcli.training.network.search import search_grid
from capcli.training.objectives.cross_entropy import CrossEntropy, logits_of

# Fewer images than this choose among epochs by chance.
_FEW_IMAGES = 20

_IMAGES_AT_ONCE = 64


@dataclass(frozen=True)
class ValidationScores:
    """`cider`: x 100, of each set. `loss`: cross-entropy of the references in nats a word, of all sets together; None
    where the references hold no known word."""

    cider: tuple[float, ...]
    loss: float | None

    @property
    def mean_cider(self) -> float:
        return sum(self.cider) / len(self.cider)


class Validator:
    """Scores a network on validation sets.

    Args:
        sets: at least one, each with images.
        source: inputs of their images.
        tokenizer: the decoder's vocabulary.
        search: how captions are searched for.
        filters: what captions may not say.
        max_words: longer references are cut for the loss, as in training.
    """

    def __init__(
        self,
        sets: Sequence[ValidationSet],
        source: InputSource,
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
        self._encoded = [[EncodedImage.of(image, tokenizer, max_words) for image in held.images] for held in sets]
        self._cross_entropy = CrossEntropy(label_smoothing=0.0)

    def __call__(self, network: CaptionNetwork, progress: Callable[[int, int], None]) -> ValidationScores:
        """Scores a network, in the precision that is set around it.

        Args:
            network: in evaluation mode.
            progress: told how many images of how many are done.
        """
        total = sum(len(held.images) for held in self._sets)
        done = 0
        nats, words = 0.0, 0
        scores = []
        for held, encoded in zip(self._sets, self._encoded, strict=True):
            captions: list[str] = []
            for begin in range(0, len(encoded), _IMAGES_AT_ONCE):
                images = encoded[begin : begin + _IMAGES_AT_ONCE]
                inputs = self._source.read([image.path for image in images], [View()] * len(images))
                with torch.inference_mode():
                    features = network.features(inputs)
                    found = search_grid(network.decoder, features, self._tokenizer, self._search, self._filters)
                    batch_nats, batch_words = self._nats(network.decoder, features, images)
                captions += [raw_text(self._tokenizer.tokens(best[0].tokens)) for best in found]
                nats, words = nats + batch_nats, words + batch_words
                done += len(images)
                progress(done, total)
            scores.append(plain_cider(captions, [image.captions for image in held.images]))
        return ValidationScores(tuple(scores), nats / words if words else None)

    def _nats(self, decoder: Decoder, features: Tensor, images: Sequence[EncodedImage]) -> tuple[float, int]:
        """Summed nats of the known words of the references, and their number."""
        tokenizer = self._tokenizer
        references = [(row, words) for row, image in enumerate(images) for words in image.references(tokenizer.end)]
        if not references:
            return 0.0, 0
        sentences = Sentences.lay_out(references, tokenizer.start, tokenizer.unknown)
        value = self._cross_entropy.of(logits_of(decoder, features, sentences), sentences.targets)
        return value.nats, value.words


def validator_of(
    config: TrainConfig,
    sets: Sequence[ValidationSet],
    source: InputSource,
    tokenizer: Tokenizer,
    filters: Sequence[TokenFilter],
) -> Validator | None:
    """What scores the network of a run with these settings; None without validation images."""
    search = SearchSettings(beam=config.beam, max_length=config.max_length, length_penalty=config.length_penalty)
    return Validator(sets, source, tokenizer, search, filters, config.max_words) if sets else None


def few_images(sets: Sequence[ValidationSet]) -> list[str]:
    """A line if there are so few validation images that chance chooses among epochs."""
    count = sum(len(each.images) for each in sets)
    if not 0 < count < _FEW_IMAGES:
        return []
    images_are = "image: the" if count == 1 else "images: the"
    return [f"only {count} validation {images_are} best epoch is chosen by chance; give more (--val)"]
