"""Filters on the next token: what no caption should say.

NumPy and a vocabulary. Knows nothing of models or of the search.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from capcli.errors import UsageError

if TYPE_CHECKING:
    from capcli.bundle.habits import Habits
    from capcli.bundle.tokens import Tokenizer
    from capcli.decoding.search import TokenFilter


@dataclass(frozen=True)
class NeverGenerate:
    """Rules out tokens that are not words: padding, start, unknown."""

    ids: tuple[int, ...]

    def apply(self, log_probs: np.ndarray, tokens: np.ndarray) -> None:
        log_probs[:, list(self.ids)] = -np.inf


@dataclass(frozen=True)
class NotEmpty:
    """Rules out a sentence without a word."""

    end: int

    def apply(self, log_probs: np.ndarray, tokens: np.ndarray) -> None:
        if not tokens.shape[1]:
            log_probs[:, self.end] = -np.inf


@dataclass(frozen=True)
class NoImmediateRepeat:
    """Rules out the same word twice in a row."""

    def apply(self, log_probs: np.ndarray, tokens: np.ndarray) -> None:
        if tokens.shape[1]:
            log_probs[np.arange(len(tokens)), tokens[:, -1]] = -np.inf


@dataclass(frozen=True)
class NoRepeatedNgram:
    """Rules out a sequence of `size` words that the sentence already holds.

    Raises:
        UsageError: `size` is below 1.
    """

    size: int

    def __post_init__(self) -> None:
        if self.size < 1:
            raise UsageError(f"the size of n-grams not to repeat must be at least 1, not {self.size}")

    def apply(self, log_probs: np.ndarray, tokens: np.ndarray) -> None:
        length = tokens.shape[1]
        if length < self.size:
            return
        held = np.lib.stride_tricks.sliding_window_view(tokens, self.size, axis=1)
        opening = tokens[:, None, length - self.size + 1 :]
        rows, places = np.nonzero((held[:, :, :-1] == opening).all(axis=2))
        log_probs[rows, held[rows, places, -1]] = -np.inf


@dataclass(frozen=True, eq=False)
class NoEarlyRepeat:
    """Rules out a word closer to where it was last said than people repeat it.

    Args:
        gaps: int64 [V]; token i may be repeated at a distance of `gaps[i]` tokens or more.
    """

    gaps: np.ndarray

    def apply(self, log_probs: np.ndarray, tokens: np.ndarray) -> None:
        too_soon = np.arange(tokens.shape[1], 0, -1) < self.gaps[tokens]
        rows, places = np.nonzero(too_soon)
        log_probs[rows, tokens[rows, places]] = -np.inf


def caption_filters(tokenizer: Tokenizer, habits: Habits) -> tuple[TokenFilter, ...]:
    """The filters for captions: words alone, at least one, and nothing said twice.

    Repetition is the commonest fault of small captioning models. Ruled out are a word twice in a row, the same two
    words again and, where the bundle holds the habits of its training captions' writers, a word closer to where it
    was last said than they repeat it.
    """
    never = NeverGenerate((tokenizer.pad, tokenizer.start, tokenizer.unknown))
    filters: tuple[TokenFilter, ...] = (never, NotEmpty(tokenizer.end), NoImmediateRepeat(), NoRepeatedNgram(2))
    if not habits.returns:
        return filters
    gaps = np.full(len(tokenizer), np.iinfo(np.int64).max)
    for word, gap in habits.returns.items():
        number = tokenizer.id_of(word)
        if number is not None:
            gaps[number] = gap
    return (*filters, NoEarlyRepeat(gaps))
