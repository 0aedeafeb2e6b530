"""Whether a sentence goes with a picture: a dual encoder's few weights, and what they make of the two.

A picture's side is a linear map of what the caption encoder gives of it anyway; a sentence's side is the mean of its
words' vectors. Learnt by `capcli export`; a signal of the confidence. NumPy only; knows nothing of how it was learnt,
or of what its score is weighed by.
"""

from __future__ import annotations

import functools
import math
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from capcli.errors import BundleError

FILE = "matching.npz"
# The output of the encoder graph that is read: what a decoder with attention reads from, place by place.
CONTEXT = "values"
_SMALLEST = 1e-8
_DTYPES = {
    "words": np.int8,
    "word_scales": np.float32,
    "projection": np.int8,
    "projection_scales": np.float32,
    "bias": np.float32,
    "means": np.float32,
    "scales": np.float32,
    "usual_picture": np.float32,
    "usual_sentence": np.float32,
    "temperature": np.float32,
}


@dataclass(frozen=True, eq=False)
class Matching:
    """The weights. Each row of the two int8 tables has a scale of its own.

    `words`: int8 [vocabulary, D], `word_scales`: float32 [vocabulary]. A picture's numbers, less their `means` and over
    their `scales`, float32 [F], go through `projection`, int8 [D, F], with `projection_scales` and `bias`, float32 [D].
    `usual_picture` and `usual_sentence`: float32 [D], the means of those it was learnt on, each of length 1 before.
    `temperature`: float32 [], what a cosine is multiplied by.
    """

    words: np.ndarray
    word_scales: np.ndarray
    projection: np.ndarray
    projection_scales: np.ndarray
    bias: np.ndarray
    means: np.ndarray
    scales: np.ndarray
    usual_picture: np.ndarray
    usual_sentence: np.ndarray
    temperature: np.ndarray

    def scores(self, picture: np.ndarray, sentences: Iterable[Sequence[int]]) -> list[float]:
        """For each sentence its cosine with the picture times the temperature: the logit of a match among others
        (CLIP, Radford et al., 2021, arXiv:2103.00020), both less what is usual, which goes with everything (Suzuki et
        al., "Centering Similarity Measures to Reduce Hubs", EMNLP 2013).

        Args:
            picture: float32 [F], of `picture_numbers`.
            sentences: ids of the words of each, without start and end; where none is known, the score is 0.
        """
        seen = self.picture(picture) - self.usual_picture
        sides = (self.sentence(tokens) for tokens in sentences)
        return [
            float(self.temperature) * float(_product(side - self.usual_sentence, seen)) if side.any() else 0.0
            for side in sides
        ]

    def picture(self, numbers: np.ndarray) -> np.ndarray:
        """A picture's side, of length 1: float32 [D] of its numbers, float32 [F]."""
        return _unit(_product(self._projection, (numbers - self.means) / self.scales) + self.bias)

    def sentence(self, tokens: Sequence[int]) -> np.ndarray:
        """A sentence's side, of length 1 (0 where no word is known): float32 [D] of the ids of its words."""
        rows = list(tokens)
        return _unit(_product(self.words[rows].astype(np.float32).T, self.word_scales[rows]))

    @functools.cached_property
    def _projection(self) -> np.ndarray:
        return np.asarray(self.projection * self.projection_scales[:, None])

    def save(self, path: Path) -> None:
        """Writes the same bytes for the same weights."""
        np.savez(path, **{part.name: getattr(self, part.name) for part in fields(self)})

    @classmethod
    def load(cls, path: Path, vocabulary: int) -> Matching:
        """Reads what `save` wrote; no pickled code runs.

        Args:
            vocabulary: how many tokens the bundle has.
        Raises:
            BundleError: it cannot be read, or its arrays do not go with each other or with the vocabulary.
        """
        try:
            with np.load(path, allow_pickle=False) as arrays:
                found = cls(**{name: arrays[name] for name in _DTYPES})
        except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile, zlib.error) as error:
            raise BundleError(f"{path}: not readable as a bundle's matching score ({error}); {_MEND}") from error
        width, inputs = len(found.bias.ravel()), len(found.means.ravel())
        shapes = {
            "words": (vocabulary, width),
            "word_scales": (vocabulary,),
            "projection": (width, inputs),
            "projection_scales": (width,),
            "bias": (width,),
            "means": (inputs,),
            "scales": (inputs,),
            "usual_picture": (width,),
            "usual_sentence": (width,),
            "temperature": (),
        }
        for name, shape in shapes.items():
            array = getattr(found, name)
            if array.shape != shape or array.dtype != _DTYPES[name]:
                raise BundleError(
                    f"{path}: its {name} are {array.dtype} {list(array.shape)}, they should be "
                    f"{np.dtype(_DTYPES[name])} {list(shape)}; {_MEND}"
                )
            if array.dtype == np.float32 and not np.isfinite(array).all():
                raise BundleError(f"{path}: its {name} are not finite; {_MEND}")
        if not (found.scales > 0).all():
            raise BundleError(f"{path}: its scales are not above 0; {_MEND}")
        return found


_MEND = "install capcli again, or export the bundle again"


def _product(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Sum of the products along both last axes, without BLAS: at its first product OpenBLAS takes 30 MB and more a
    core, and where they are not to be had it ends the process."""
    return np.asarray(np.einsum("...i,i->...", left, right))


def _unit(vector: np.ndarray) -> np.ndarray:
    return np.asarray(vector / max(_SMALLEST, math.sqrt(float(_product(vector, vector)))))


def picture_numbers(context: np.ndarray) -> np.ndarray:
    """What a matching score reads of a picture: mean and maximum over the places of the grid.

    Args:
        context: float32 [places, C], one picture's part of the encoder's output `CONTEXT`.
    Returns:
        float32 [2 C].
    """
    return np.concatenate([context.mean(0), context.max(0)])
