"""CIDEr-D of a sentence against the captions of its image, fast enough to be asked for in every update.

CIDEr-D (Vedantam et al., 2015, arXiv:1411.5726) over token ids, with document frequencies of the training captions.
pycocoevalcap's scorer gives the same figures (a test compares them) but counts its frequencies among the very images
it scores, which for a batch are no frequencies at all. Knows nothing of networks.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

_ORDERS = 4
_SIGMA = 6.0

Ngram = tuple[int, ...]


@dataclass(frozen=True)
class _Vector:
    """TF-IDF weights of a sentence, for each order of n-grams, with their norms."""

    weights: tuple[dict[Ngram, float], ...]
    norms: tuple[float, ...]
    length: int


class CiderReward:
    """Scores sentences against references.

    Args:
        corpus: for each training image its captions, as token ids; n-grams are weighted by how few images have them.
    """

    def __init__(self, corpus: Sequence[Sequence[Sequence[int]]]) -> None:
        self._images_with: Counter[Ngram] = Counter()
        for captions in corpus:
            self._images_with.update({ngram for words in captions for ngram in _ngrams(words)})
        self._log_images = math.log(max(1, len(corpus)))

    def score(self, sentences: Sequence[Sequence[int]], references: Sequence[Sequence[int]]) -> list[float]:
        """CIDEr-D of each sentence against one image's references: from 0 to 10; published figures are 100 times it.

        Args:
            sentences: token ids.
            references: token ids of the image's captions, at least one.
        """
        wanted = [self._vector(words) for words in references]
        return [
            10 * sum(self._similarity(given, reference) for reference in wanted) / (_ORDERS * len(wanted))
            for given in map(self._vector, sentences)
        ]

    def _vector(self, words: Sequence[int]) -> _Vector:
        weights: tuple[dict[Ngram, float], ...] = tuple({} for _ in range(_ORDERS))
        for ngram, count in Counter(_ngrams(words)).items():
            weights[len(ngram) - 1][ngram] = count * (
                self._log_images - math.log(max(1, self._images_with.get(ngram, 0)))
            )
        norms = tuple(math.sqrt(sum(value * value for value in order.values())) for order in weights)
        return _Vector(weights, norms, len(words))

    @staticmethod
    def _similarity(given: _Vector, reference: _Vector) -> float:
        total = 0.0
        for mine, theirs, norm, other in zip(
            given.weights, reference.weights, given.norms, reference.norms, strict=True
        ):
            if norm and other:
                # Clipped: saying a rare word twice earns nothing.
                shared = sum(
                    min(value, theirs[ngram]) * theirs[ngram] for ngram, value in mine.items() if ngram in theirs
                )
                total += shared / (norm * other)
        return total * math.exp(-((given.length - reference.length) ** 2) / (2 * _SIGMA**2))


def _ngrams(words: Sequence[int]) -> list[Ngram]:
    return [
        tuple(words[start : start + order])
        for order in range(1, _ORDERS + 1)
        for start in range(len(words) - order + 1)
    ]
