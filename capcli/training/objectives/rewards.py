"""Rewards: how good captions are by the references of their image, computed fast enough for every update.

CIDEr-D (Vedantam et al., 2015, arXiv:1411.5726) over token ids, with document frequencies of the training captions.
pycocoevalcap's scorer gives the same figures (a test compares them) but counts its frequencies among the very images
it scores, which for a batch are no frequencies at all. BLEU and METEOR are pycocoevalcap's. Knows nothing of networks.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Protocol

from capcli.bundle.tokens import raw_text
from capcli.evaluation.java import MeteorProgram

_ORDERS = 4
_SIGMA = 6.0

Ngram = tuple[int, ...]


@dataclass(frozen=True)
class _Vector:
    """TF-IDF weights of a sentence, for each order of n-grams, with their norms."""

    weights: tuple[dict[Ngram, float], ...]
    norms: tuple[float, ...]
    length: int


class Reward(Protocol):
    """Scores sentences against references."""

    def score(
        self, sentences: Sequence[Sequence[int]], references: Sequence[Sequence[int]], data_set: int
    ) -> list[float]:
        """A score of each sentence, the higher the better.

        Args:
            sentences: token ids.
            references: token ids of the image's captions, at least one.
            data_set: the number of the image's data set.
        """
        ...


class BleuReward:
    """The mean of BLEU-1 to BLEU-4 of each sentence (Papineni et al., 2002): from 0 to 1.

    The mean, because BLEU-4 alone is 0 for the many sentences that share no four words in a row with a reference.
    """

    def score(
        self, sentences: Sequence[Sequence[int]], references: Sequence[Sequence[int]], data_set: int
    ) -> list[float]:
        from pycocoevalcap.bleu.bleu_scorer import BleuScorer

        wanted = [_text(words) for words in references]
        scorer = BleuScorer(n=_ORDERS)
        for words in sentences:
            scorer += (_text(words), wanted)
        _, orders = scorer.compute_score(option="closest")
        return [sum(scores) / _ORDERS for scores in zip(*orders, strict=True)]


class MeteorReward:
    """METEOR of each sentence: from 0 to 1. Above all it is recall: whether what references say is said, in any words.

    Args:
        programs: running, at least one; as many images can be scored at once.
        vocabulary: the token of every id, since METEOR knows stems, synonyms and paraphrases.
        special: ids of tokens that are no words: padding, start, end, unknown.
    """

    def __init__(self, programs: Sequence[MeteorProgram], vocabulary: Sequence[str], special: Collection[int]) -> None:
        self._idle: SimpleQueue[MeteorProgram] = SimpleQueue()
        for program in programs:
            self._idle.put(program)
        self._vocabulary = vocabulary
        self._special = frozenset(special)

    def score(
        self, sentences: Sequence[Sequence[int]], references: Sequence[Sequence[int]], data_set: int
    ) -> list[float]:
        # METEOR takes the last reference for a caption that is empty.
        wanted = [words for words in map(self._words, references) if words]
        given = [self._words(words) for words in sentences]
        asked = [words for words in given if words]
        if not wanted or not asked:
            return [0.0] * len(given)
        program = self._idle.get()
        try:
            scores = iter(program.score(asked, [wanted] * len(asked))[1])
        finally:
            self._idle.put(program)
        return [next(scores) if words else 0.0 for words in given]

    def _words(self, numbers: Sequence[int]) -> str:
        return raw_text([self._vocabulary[number] for number in numbers if number not in self._special])


class CiderReward:
    """CIDEr-D of each sentence: from 0 to 10; published figures are 100 times it.

    N-grams are weighted by how few images of the same data set have them, as they are in an evaluation on that data
    set.

    Args:
        corpora: by the number of the data set, for each training image its captions, as token ids.
    """

    def __init__(self, corpora: Mapping[int, Sequence[Sequence[Sequence[int]]]]) -> None:
        self._images_with: dict[int, Counter[Ngram]] = {}
        for data_set, corpus in corpora.items():
            counts: Counter[Ngram] = Counter()
            for captions in corpus:
                counts.update({ngram for words in captions for ngram in _ngrams(words)})
            self._images_with[data_set] = counts
        self._log_images = {data_set: math.log(max(1, len(corpus))) for data_set, corpus in corpora.items()}

    def score(
        self, sentences: Sequence[Sequence[int]], references: Sequence[Sequence[int]], data_set: int
    ) -> list[float]:
        wanted = [self._vector(words, data_set) for words in references]
        return [
            10 * sum(self._similarity(given, reference) for reference in wanted) / (_ORDERS * len(wanted))
            for given in (self._vector(words, data_set) for words in sentences)
        ]

    def _vector(self, words: Sequence[int], data_set: int) -> _Vector:
        images_with, log_images = self._images_with[data_set], self._log_images[data_set]
        weights: tuple[dict[Ngram, float], ...] = tuple({} for _ in range(_ORDERS))
        for ngram, count in Counter(_ngrams(words)).items():
            weights[len(ngram) - 1][ngram] = count * (log_images - math.log(max(1, images_with.get(ngram, 0))))
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


def _text(words: Sequence[int]) -> str:
    return " ".join(map(str, words))


def _ngrams(words: Sequence[int]) -> list[Ngram]:
    return [
        tuple(words[start : start + order])
        for order in range(1, _ORDERS + 1)
        for start in range(len(words) - order + 1)
    ]
