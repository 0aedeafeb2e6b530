"""Search for sentences over a batched step function: greedy, beam and n-best are one algorithm.

The step function scores the next token of any number of hypotheses at once; the search decides which of them
to follow. NumPy only: knows no ONNX, no torch, no files, no words.
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from capcli.errors import BundleError
from capcli.settings import LONGEST_CAPTION, MOST_HYPOTHESES, number_between, whole_number

# What a decoder carries from token to token: each float32 [B, ...], row i belongs to hypothesis i.
State = tuple[np.ndarray, ...]

# Rounding may lift a log-probability this far above 0; anything higher is not a log-probability.
_ROUNDING = 1e-3
# Groups of columns for each value sought in `_top_of_each_row`.
_GROUPS_A_VALUE = 32
# The least whose exponential is above 0 in float32, or near it.
_LEAST_LOG_PROB = np.float32(-100)
# Above this, length to the power of the penalty could leave the range of floats.
_LARGEST_PENALTY = 10.0


@dataclass(frozen=True)
class StepResult:
    """One step of the decoder.

    `log_probs` is float32 [B, V], a log-softmax, which the search may write to; `state` the state after the tokens;
    `attention` float32 [B, P], where the model looked to score these tokens, or None.
    """

    log_probs: np.ndarray
    state: State
    attention: np.ndarray | None = None


class StepFunction(Protocol):
    """Scores the next token of every live hypothesis. Keeps what depends on the image alone to itself."""

    def __call__(self, tokens: np.ndarray, state: State, parents: np.ndarray, images: np.ndarray) -> StepResult:
        """Takes one step.

        Args:
            tokens: int64 [B], the last token of each hypothesis. B changes from step to step.
            state: as the step before gave it, or the first state.
            parents: int64 [B], the row of `state` that each goes on from. Several may go on from one, and none.
            images: int64 [B], ascending: the image (0..N-1) each hypothesis belongs to.
        """
        ...


class TokenFilter(Protocol):
    """Rules out next tokens. It must judge each row by itself, and leave the end token after the first word."""

    def apply(self, log_probs: np.ndarray, tokens: np.ndarray) -> None:
        """Sets what is ruled out to -inf, in place.

        Args:
            log_probs: float32 [B, V].
            tokens: int64 [B, T], the tokens of each hypothesis so far, without the start token.
        """
        ...


@dataclass(frozen=True)
class SearchSettings:
    """How to search.

    Args:
        beam: hypotheses followed for each image; 1 is greedy search.
        max_length: longest sentence in tokens, the end token not counted.
        length_penalty: alpha of the ranking score, sum of log-probabilities / length ** alpha, where length
            counts the end token; 0 ranks by the sum, 1 by the mean.
        captions: sentences wanted for each image; above `beam` it widens the search to as many hypotheses.
    Raises:
        UsageError: a value is out of range.
        TypeError: a value is no number; numbers of NumPy's types become Python's.
    """

    beam: int = 3
    max_length: int = 20
    length_penalty: float = 0.7
    captions: int = 1

    def __post_init__(self) -> None:
        most = {"beam": MOST_HYPOTHESES, "max_length": LONGEST_CAPTION, "captions": MOST_HYPOTHESES}
        for field_name, limit in most.items():
            value = whole_number(field_name.replace("_", " "), getattr(self, field_name), most=limit)
            object.__setattr__(self, field_name, value)
        penalty = number_between("length penalty", self.length_penalty, 0, _LARGEST_PENALTY)
        object.__setattr__(self, "length_penalty", penalty)

    @property
    def width(self) -> int:
        """Hypotheses followed for each image; a greedy one that is not among the best comes on top."""
        return max(self.beam, self.captions)

    def ranking_score(self, log_prob: float, length: int) -> float:
        """What sentences are ranked by.

        Args:
            log_prob: sum of the tokens' log-probabilities, the end token included.
            length: number of tokens, the end token included.
        """
        return log_prob / self._scale(length)

    def _scale(self, length: int) -> float:
        # In one place, so that bounds and scores round alike.
        return math.pow(length, self.length_penalty)


@dataclass(frozen=True)
class Hypothesis:
    """A sentence.

    `tokens` are its ids without start and end; `log_prob` the sum of their natural log-probabilities, the end
    token included; `log_probs` float64 [T + 1], each token's, the end token's last; `greedy` whether each was the most
    likely one in its place. When asked for: `attention` float32 [T + 1, P], where the model looked as it said each of
    them; `entropy` float32 [T + 1], in nats, of what it might have said in the place of each.
    """

    tokens: tuple[int, ...]
    log_prob: float
    log_probs: np.ndarray = field(compare=False)
    greedy: bool = field(default=False, compare=False)
    attention: np.ndarray | None = field(default=None, compare=False)
    entropy: np.ndarray | None = field(default=None, compare=False)

    @property
    def length(self) -> int:
        """Number of tokens, the end token included."""
        return len(self.tokens) + 1

    @property
    def mean_log_prob(self) -> float:
        """Mean log-probability of a token, the end token included."""
        return self.log_prob / self.length


def search(
    step: StepFunction,
    initial_state: State,
    n_images: int,
    *,
    start: int,
    end: int,
    settings: SearchSettings,
    filters: Sequence[TokenFilter] = (),
    with_attention: bool = False,
    with_entropy: bool = False,
) -> list[list[Hypothesis]]:
    """Finds the best sentences for each image.

    Let K be `settings.width`. At each step the next tokens of an image's hypotheses, words and ends alike,
    compete on their sums of log-probabilities (they are all of one length), and the best K are kept: words live
    on, ends are ended sentences, which compete on their ranking scores. A hypothesis of `max_length` tokens can
    only end, and that end's log-probability counts, so every sentence is a whole one.

    Never below greedy: the greedy hypothesis, which takes its most likely token each time, is followed in any
    case, as an extra one where it is not among the best K. With K = 1 it is the only one, and the search is
    greedy search.

    Stopping: log-probabilities only lower a sum S <= 0, so S / (max_length + 1) ** alpha is the best ranking
    score a hypothesis can still reach. It is given up once that is below the `captions`-th best ended sentence;
    this loses nothing. That bound is slack, so as soon as K sentences have ended, hypotheses other than the
    greedy one are held to a stricter and usual one: what they would score if they ended next and for free. An
    image with no hypothesis left is finished. Rows that ended or were given up are not passed to the step again.

    Equal scores are ordered by token ids, so that an image's sentences do not depend on its neighbours in the
    batch.

    Args:
        step: the decoder.
        initial_state: the state before the start token, each [n_images, ...].
        n_images: number of images.
        start: id of the token every sentence starts from.
        end: id of the token that ends a sentence.
        settings: widths and lengths.
        filters: applied to the log-probabilities in this order; the rest is not renormalised.
        with_attention: also collect attention, if the step gives it.
        with_entropy: also collect the entropy of each step's log-probabilities, as they were before the filters.
    Returns:
        For each image at least one and at most `settings.captions` different sentences, best first; fewer
        where fewer were found.
    Raises:
        BundleError: the step gave NaN, or values that are no log-probabilities, or no way to end a sentence.
    """
    ended = _EndedSentences(n_images, settings)
    live = _LiveHypotheses.first(n_images, start)
    state, parents = initial_state, live.images
    trace = _Trace()
    for length in range(settings.max_length + 1):
        if not len(live.images):
            break
        result = step(np.ascontiguousarray(live.tokens[:, -1]), state, parents, live.images)
        log_probs = np.require(result.log_probs, np.float32, "W")
        entropy = _entropy(log_probs) if with_entropy else None
        for token_filter in filters:
            token_filter.apply(log_probs, live.tokens[:, 1:])
        if length == settings.max_length:
            log_probs[:, :end] = log_probs[:, end + 1 :] = -np.inf
        children = _best_children(log_probs, live, end, settings.width)
        ended.add(children, live)
        children = children.take(ended.can_still_win(children, length + 1))
        trace.add(live.totals, children.parents, result.attention if with_attention else None, entropy)
        live = live.extended(children)
        state, parents = result.state, children.parents
    return [[trace.hypothesis(sentence) for sentence in sentences] for sentences in ended.best_of_each()]


@dataclass(frozen=True)
class _LiveHypotheses:
    """Hypotheses that have not ended, all of one length, ordered by image and then by token ids.

    `images` int64 [B]; `tokens` int64 [B, 1 + T] with the start token; `totals` float64 [B], sums of
    log-probabilities; `greedy` bool [B].
    """

    images: np.ndarray
    tokens: np.ndarray
    totals: np.ndarray
    greedy: np.ndarray

    @classmethod
    def first(cls, n_images: int, start: int) -> _LiveHypotheses:
        return cls(
            images=np.arange(n_images, dtype=np.int64),
            tokens=np.full((n_images, 1), start, dtype=np.int64),
            totals=np.zeros(n_images),
            greedy=np.ones(n_images, dtype=bool),
        )

    def extended(self, children: _Children) -> _LiveHypotheses:
        return _LiveHypotheses(
            images=children.images,
            tokens=np.concatenate([self.tokens[children.parents], children.tokens[:, None]], axis=1),
            totals=children.totals,
            greedy=children.greedy,
        )


@dataclass(frozen=True)
class _Children:
    """Hypotheses with one more token, ordered by image and then by token ids; each array is [C].

    `parents` are rows of the live hypotheses; `ends` tells where the new token is the end token.
    """

    parents: np.ndarray
    tokens: np.ndarray
    images: np.ndarray
    totals: np.ndarray
    greedy: np.ndarray
    ends: np.ndarray

    def take(self, which: np.ndarray) -> _Children:
        return _Children(
            self.parents[which],
            self.tokens[which],
            self.images[which],
            self.totals[which],
            self.greedy[which],
            self.ends[which],
        )


def _best_children(log_probs: np.ndarray, live: _LiveHypotheses, end: int, width: int) -> _Children:
    """The words and ends of each image that are among its best `width`, and its greedy one.

    Args:
        log_probs: float32 [B, V], filtered.
    """
    parents, tokens = _top_of_each_row(log_probs, width)
    children = _Children(
        parents=parents,
        tokens=tokens,
        images=live.images[parents],
        totals=live.totals[parents] + np.minimum(log_probs[parents, tokens].astype(np.float64), 0.0),
        greedy=live.greedy[parents] & (tokens == log_probs.argmax(axis=1)[parents]),
        ends=tokens == end,
    )
    # A stable sort: equals stay in order of token ids.
    order = np.lexsort((-children.totals, children.images))
    images = children.images[order]
    rank = np.arange(len(order)) - np.searchsorted(images, images)
    kept = order[(rank < width) | children.greedy[order]]
    return children.take(np.sort(kept))


def _entropy(log_probs: np.ndarray) -> np.ndarray:
    """Entropy in nats of each row: float32 [B]. A probability of 0 adds nothing, whatever its logarithm."""
    probs = np.exp(log_probs)
    with np.errstate(invalid="ignore"):
        entropy = -np.einsum("bv,bv->b", probs, log_probs)
    if np.isnan(entropy).any():
        # Only where a logarithm is minus infinity, which looking for beforehand would cost as much as all the rest.
        entropy = -np.einsum("bv,bv->b", probs, np.maximum(log_probs, _LEAST_LOG_PROB))
    return np.asarray(entropy)


def _top_of_each_row(log_probs: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the `count` best values of each row, and of some more; -inf is left out.

    Sorting whole rows, even in part, would cost more than all the rest of a step. Instead the columns are dealt
    out to groups: the best values of `count` groups are `count` values, so the least of them is no higher than
    the row's `count`-th best, and hardly lower where there are many groups.
    """
    columns = log_probs.shape[1]
    groups = min(columns, _GROUPS_A_VALUE * count)
    whole = columns - columns % groups
    best = log_probs[:, :whole].reshape(len(log_probs), -1, groups).max(axis=1)
    rest = log_probs[:, whole:]
    np.maximum(best[:, : rest.shape[1]], rest, out=best[:, : rest.shape[1]])
    highest = best.max()
    if np.isnan(highest):
        raise BundleError("the decoder produced NaN; the bundle or the execution provider is broken")
    if highest > _ROUNDING:
        raise BundleError("the decoder gave a log-probability above 0; its output must be a log-softmax")
    place = max(0, groups - count)
    least = np.partition(best, place, axis=1)[:, place, None]
    chosen = np.flatnonzero(log_probs >= np.maximum(least, np.finfo(np.float32).min))
    rows, tokens = np.divmod(chosen, columns)
    return rows, tokens


@dataclass(frozen=True, order=True)
class _Ended:
    """An ended sentence; the lesser is the better. `row` is the row its end was scored in."""

    cost: float
    tokens: tuple[int, ...]
    log_prob: float = field(compare=False)
    row: int = field(compare=False)
    greedy: bool = field(compare=False)


class _EndedSentences:
    """The best sentences of each image so far, and what a hypothesis must reach to be among them."""

    def __init__(self, n_images: int, settings: SearchSettings) -> None:
        self._settings = settings
        self._best: list[list[_Ended]] = [[] for _ in range(n_images)]
        self._count = np.zeros(n_images, dtype=np.int64)
        self._to_beat = np.full(n_images, -np.inf)

    def add(self, children: _Children, live: _LiveHypotheses) -> None:
        wanted = self._settings.captions
        for child in np.flatnonzero(children.ends):
            image, row = int(children.images[child]), int(children.parents[child])
            tokens = tuple(live.tokens[row, 1:].tolist())
            log_prob = float(children.totals[child])
            best = self._best[image]
            cost = -self._settings.ranking_score(log_prob, len(tokens) + 1)
            insort(best, _Ended(cost, tokens, log_prob, row, bool(children.greedy[child])))
            del best[wanted:]
            self._count[image] += 1
            if len(best) == wanted:
                self._to_beat[image] = -best[-1].cost

    def can_still_win(self, children: _Children, length: int) -> np.ndarray:
        """Which children to follow, bool [C]. `length` is their number of tokens.

        Ties are followed: they are decided by token ids.
        """
        settings = self._settings
        slack = children.greedy | (self._count[children.images] < settings.width)
        longest, next_ = settings._scale(settings.max_length + 1), settings._scale(length + 1)
        bound = children.totals / np.where(slack, longest, next_)
        follow: np.ndarray = ~children.ends & (bound >= self._to_beat[children.images])
        return follow

    def best_of_each(self) -> list[list[_Ended]]:
        if not all(self._best):
            raise BundleError("the decoder gives every way to end a sentence a probability of 0")
        return self._best


class _Trace:
    """What led to each row of each step, kept to tell an ended sentence's tokens apart."""

    def __init__(self) -> None:
        self._totals: list[np.ndarray] = []
        self._parents: list[np.ndarray] = []
        self._attention: list[np.ndarray] = []
        self._entropy: list[np.ndarray] = []

    def add(
        self, totals: np.ndarray, parents: np.ndarray, attention: np.ndarray | None, entropy: np.ndarray | None
    ) -> None:
        """Keeps one step.

        Args:
            totals: float64 [B], the sum of log-probabilities of each row before it.
            parents: int64 [C], the row that each row of the next step comes from.
            attention: float32 [B, P], or None where it is not wanted.
            entropy: float32 [B], or None likewise.
        """
        self._totals.append(totals)
        self._parents.append(parents)
        if attention is not None:
            self._attention.append(attention)
        if entropy is not None:
            self._entropy.append(entropy)

    def hypothesis(self, sentence: _Ended) -> Hypothesis:
        """The sentence with what belongs to each of its tokens, by going back from its end."""
        tokens = len(sentence.tokens) + 1
        rows = np.empty(tokens, dtype=np.int64)
        rows[-1] = sentence.row
        for place in range(tokens - 1, 0, -1):
            rows[place - 1] = self._parents[place - 1][rows[place]]
        before = np.array([self._totals[place][row] for place, row in enumerate(rows)])
        log_probs = np.diff(before, append=sentence.log_prob)
        attention, entropy = (
            np.stack([kept[place][row] for place, row in enumerate(rows)]) if kept else None
            for kept in (self._attention, self._entropy)
        )
        return Hypothesis(sentence.tokens, sentence.log_prob, log_probs, sentence.greedy, attention, entropy)
