"""The search against brute force and plain greedy decoding, over small tables of random probabilities."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations, pairwise, product

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from capcli.decoding.filters import NeverGenerate, NoEarlyRepeat, NoImmediateRepeat, NoRepeatedNgram, NotEmpty
from capcli.decoding.search import (
    Hypothesis,
    SearchSettings,
    State,
    StepResult,
    TokenFilter,
    search,
)
from capcli.errors import BundleError, UsageError

START, END = 0, 1


@dataclass
class TableModel:
    """Scores the next token by image, last token and, through the state, the token before it.

    `table` is float32 [N, V, V, V]: image, token before last, last token, next token. The state holds the token
    before last and a number that tells apart all histories; the attention is image and that number.
    """

    table: np.ndarray
    rows_seen: list[np.ndarray] = field(default_factory=list)

    @property
    def n_images(self) -> int:
        return len(self.table)

    @property
    def first_state(self) -> State:
        zeros = np.zeros((self.n_images, 1), dtype=np.float32)
        return zeros + START, zeros

    def __call__(self, tokens: np.ndarray, state: State, parents: np.ndarray, images: np.ndarray) -> StepResult:
        assert tokens.dtype == parents.dtype == images.dtype == np.int64
        assert tokens.shape == parents.shape == images.shape
        self.rows_seen.append(images)
        before, history = (part[parents] for part in state)
        log_probs = self.table[images, before[:, 0].astype(int), tokens]
        history = history * self.table.shape[-1] + tokens[:, None].astype(np.float32)
        attention = np.stack([images.astype(np.float32), history[:, 0]], axis=1)
        return StepResult(log_probs, (tokens[:, None].astype(np.float32), history), attention)

    def only(self, images: Sequence[int]) -> TableModel:
        return TableModel(self.table[list(images)])

    def rows_of(self, image: int) -> list[int]:
        """How many rows each step was given for an image."""
        return [int((rows == image).sum()) for rows in self.rows_seen]

    def search(
        self,
        wanted: SearchSettings,
        filters: Sequence[TokenFilter] = (),
        with_attention: bool = False,
        with_entropy: bool = False,
    ) -> list[list[Hypothesis]]:
        return search(
            self,
            self.first_state,
            self.n_images,
            start=START,
            end=END,
            settings=wanted,
            filters=filters,
            with_attention=with_attention,
            with_entropy=with_entropy,
        )

    def log_prob(self, image: int, tokens: Sequence[int]) -> float:
        """Sum of the log-probabilities of a sentence and its end."""
        total = 0.0
        for log_prob in self.log_probs(image, tokens):
            total += log_prob
        return total

    def log_probs(self, image: int, tokens: Sequence[int]) -> list[float]:
        """The log-probabilities of a sentence's tokens and of its end."""
        said = (START, START, *tokens, END)
        return [
            float(self.table[image, before, last, token])
            for before, last, token in zip(said, said[1:], said[2:], strict=False)
        ]


def random_model(seed: int, n_images: int, words: int, *, ties: bool = False, zeros: bool = False) -> TableModel:
    """A table of log-softmaxes.

    Args:
        ties: few different values, so that many sentences score the same.
        zeros: some tokens have probability 0.
    """
    random = np.random.default_rng(seed)
    shape = (n_images, words, words, words)
    scores = random.integers(0, 2, shape) * 1.0 if ties else random.normal(0, 2, shape)
    if zeros:
        scores[random.random(shape) < 0.4] = -np.inf
        scores[..., 2] = np.maximum(scores[..., 2], -3)
    log_probs = scores - np.log(np.exp(scores).sum(axis=-1, keepdims=True))
    # Rounding may lift a sure token's above 0; the search takes such for 0.
    return TableModel(np.minimum(log_probs, 0).astype(np.float32))


def from_probabilities(words: int, rows: dict[tuple[int, int], dict[int, float]]) -> TableModel:
    """One image; `rows` gives the next token's probabilities after (token before last, last token).

    Elsewhere the sentence ends.
    """
    table = np.zeros((1, words, words, words))
    table[..., END] = 1.0
    for history, probabilities in rows.items():
        table[0, *history] = [probabilities.get(token, 0.0) for token in range(words)]
    with np.errstate(divide="ignore"):
        return TableModel(np.log(table).astype(np.float32))


def is_allowed(tokens: tuple[int, ...], filters: Sequence[TokenFilter]) -> bool:
    for rule in filters:
        if isinstance(rule, NeverGenerate) and set(tokens) & set(rule.ids):
            return False
        if isinstance(rule, NoImmediateRepeat) and any(a == b for a, b in pairwise(tokens)):
            return False
        if isinstance(rule, NoRepeatedNgram):
            ngrams = [tokens[i : i + rule.size] for i in range(len(tokens) - rule.size + 1)]
            if len(set(ngrams)) < len(ngrams):
                return False
        if isinstance(rule, NoEarlyRepeat):
            pairs = combinations(range(len(tokens)), 2)
            if any(tokens[i] == tokens[j] and j - i < rule.gaps[tokens[i]] for i, j in pairs):
                return False
    return True


def every_sentence(
    model: TableModel, image: int, wanted: SearchSettings, filters: Sequence[TokenFilter]
) -> list[tuple[tuple[int, ...], float]]:
    """All sentences that can be, best first, by brute force."""
    words = [token for token in range(model.table.shape[-1]) if token != END]
    found = []
    for length in range(wanted.max_length + 1):
        for tokens in product(words, repeat=length):
            log_prob = model.log_prob(image, tokens)
            if is_allowed(tokens, filters) and log_prob > -math.inf:
                found.append((tokens, log_prob))
    found.sort(key=lambda item: (-item[1] / (len(item[0]) + 1) ** wanted.length_penalty, item[0]))
    return found


def greedy(
    model: TableModel, image: int, max_length: int, filters: Sequence[TokenFilter]
) -> tuple[tuple[int, ...], float]:
    """Plain greedy decoding of one image."""
    tokens: tuple[int, ...] = ()
    before, last = START, START
    while len(tokens) < max_length:
        scores = model.table[image, before, last]
        allowed = [t for t in range(len(scores)) if t == END or is_allowed((*tokens, t), filters)]
        token = max(allowed, key=lambda t: (scores[t], -t))
        if token == END:
            break
        before, last, tokens = last, token, (*tokens, token)
    return tokens, model.log_prob(image, tokens)


def as_pairs(hypotheses: Sequence[Hypothesis]) -> list[tuple[tuple[int, ...], float]]:
    return [(hypothesis.tokens, hypothesis.log_prob) for hypothesis in hypotheses]


def best_score(hypotheses: Sequence[Hypothesis], wanted: SearchSettings) -> float:
    return wanted.ranking_score(hypotheses[0].log_prob, hypotheses[0].length)


SEEDS = st.integers(0, 2**32 - 1)
PENALTIES = st.sampled_from([0.0, 0.3, 0.7, 1.0, 2.5])
FILTERS = st.sampled_from(
    [
        (),
        (NeverGenerate((START,)),),
        (NeverGenerate((START, 3)), NoImmediateRepeat()),
        (NoRepeatedNgram(1),),
        (NoRepeatedNgram(2), NeverGenerate((START,))),
        (NoImmediateRepeat(), NoRepeatedNgram(3)),
        (NoEarlyRepeat(np.array([1, 1, 3, 2, 9, 4, 2, 1])), NoRepeatedNgram(2)),
    ]
)
LAW = settings(max_examples=150, deadline=None)


@LAW
@given(
    seed=SEEDS,
    words=st.integers(4, 5),
    max_length=st.integers(1, 4),
    penalty=PENALTIES,
    captions=st.integers(1, 12),
    filters=FILTERS,
    ties=st.booleans(),
    zeros=st.booleans(),
)
def test_wide_beam_equals_brute_force(
    seed: int,
    words: int,
    max_length: int,
    penalty: float,
    captions: int,
    filters: tuple[TokenFilter, ...],
    ties: bool,
    zeros: bool,
) -> None:
    model = random_model(seed, 2, words, ties=ties, zeros=zeros)
    every = sum((words - 1) ** length for length in range(max_length + 1))
    wanted = SearchSettings(beam=every, max_length=max_length, length_penalty=penalty, captions=captions)
    expected = [every_sentence(model, image, wanted, filters)[:captions] for image in range(2)]
    assume(all(expected))
    assert [as_pairs(found) for found in model.search(wanted, filters)] == expected


@LAW
@given(seed=SEEDS, words=st.integers(4, 8), max_length=st.integers(1, 9), filters=FILTERS, ties=st.booleans())
def test_beam_of_one_is_greedy(
    seed: int, words: int, max_length: int, filters: tuple[TokenFilter, ...], ties: bool
) -> None:
    model = random_model(seed, 3, words, ties=ties)
    found = model.search(SearchSettings(beam=1, max_length=max_length), filters)
    assert [as_pairs(one) for one in found] == [[greedy(model, image, max_length, filters)] for image in range(3)]


@LAW
@given(
    seed=SEEDS,
    words=st.integers(4, 8),
    max_length=st.integers(1, 9),
    penalty=PENALTIES,
    beam=st.integers(2, 5),
    captions=st.integers(1, 4),
    filters=FILTERS,
)
def test_beam_is_never_below_greedy(
    seed: int,
    words: int,
    max_length: int,
    penalty: float,
    beam: int,
    captions: int,
    filters: tuple[TokenFilter, ...],
) -> None:
    model = random_model(seed, 6, words)
    wanted = SearchSettings(beam, max_length, penalty, captions)
    for image, found in enumerate(model.search(wanted, filters)):
        tokens, log_prob = greedy(model, image, max_length, filters)
        assert best_score(found, wanted) >= wanted.ranking_score(log_prob, len(tokens) + 1)


def test_greedy_sentence_is_followed_where_it_falls_out_of_the_beam() -> None:
    # 2 is the likeliest first word, but its continuations split evenly; both of 3's overtake it, and end badly.
    model = from_probabilities(
        8,
        {
            (START, START): {2: 0.4, 3: 0.35, END: 0.25},
            (START, 2): {4: 0.3, 5: 0.25, 6: 0.25, 7: 0.2},
            (START, 3): {4: 0.5, 5: 0.5},
            (3, 4): {END: 0.01, 2: 0.5, 6: 0.49},
            (3, 5): {END: 0.01, 2: 0.5, 6: 0.49},
            **{(first, second): {END: 0.01, 7: 0.99} for first in (4, 5) for second in (2, 6)},
            **{(first, 7): {END: 0.01, 7: 0.99} for first in (2, 6, 7)},
        },
    )
    [found] = model.search(SearchSettings(beam=2, max_length=4, length_penalty=1.0))
    assert found[0].tokens == (2, 4)
    assert max(model.rows_of(0)) == 3


def test_greedy_sentence_is_followed_when_shorter_ones_look_better() -> None:
    # As many sentences as the beam is wide have ended; (2, 3) is behind them until its sure rest makes it long.
    model = from_probabilities(
        7,
        {
            (START, START): {2: 0.3, 4: 0.25, 5: 0.25, END: 0.2},
            (START, 2): {3: 0.5, END: 0.4, 6: 0.1},
            (2, 3): {4: 1.0},
            (3, 4): {5: 1.0},
            (4, 5): {6: 1.0},
        },
    )
    [found] = model.search(SearchSettings(beam=4, max_length=6))
    assert found[0].tokens == (2, 3, 4, 5, 6)


def test_no_hypothesis_is_given_up_for_looks_before_enough_sentences_have_ended() -> None:
    # (2,) has ended and looks better than (3, 4), which its sure rest makes the better one.
    model = from_probabilities(
        8,
        {
            (START, START): {2: 0.4, 3: 0.35, 7: 0.25},
            (START, 2): {END: 0.9, 7: 0.1},
            (START, 3): {4: 0.5, 7: 0.3, 6: 0.2},
            (3, 4): {5: 1.0},
            (4, 5): {6: 1.0},
            (5, 6): {7: 1.0},
        },
    )
    # Those that have ended count for their own image alone.
    for images in ([0], [0, 0, 0]):
        for found in model.only(images).search(SearchSettings(beam=2, max_length=6)):
            assert found[0].tokens == (3, 4, 5, 6, 7)


def test_a_hypothesis_is_held_to_what_it_would_score_if_it_ended_next() -> None:
    # As many sentences as the beam is wide have ended, of which (2,) is the best; (3, 4) is no greedy one, and at its
    # present length would be behind, but ends surely and is then the best of all.
    model = from_probabilities(5, {(START, START): {2: 0.4, 3: 0.35, END: 0.25}, (START, 3): {END: 0.5, 4: 0.5}})
    wanted = SearchSettings(beam=3, max_length=6, length_penalty=2.0)
    [found] = model.search(wanted)
    assert found[0].tokens == (3, 4)
    assert wanted.ranking_score(math.log(0.175), 2) < wanted.ranking_score(math.log(0.4), 2) < best_score(found, wanted)


@LAW
@given(seed=SEEDS, captions=st.integers(1, 6), penalty=PENALTIES)
def test_what_rounding_lifts_above_0_counts_as_0(seed: int, captions: int, penalty: float) -> None:
    model = random_model(seed, 2, 4)
    # Words that are sure after some others, by a little more than can be.
    sure = np.random.default_rng(seed).random(model.table.shape[:3]) < 0.5
    model.table[sure] = -np.inf
    model.table[sure, 2] = 5e-4
    model.table[..., END] = np.maximum(model.table[..., END], -3)
    clipped = TableModel(np.minimum(model.table, 0))
    wanted = SearchSettings(beam=200, max_length=3, length_penalty=penalty, captions=captions)
    for image, found in enumerate(model.search(wanted)):
        assert as_pairs(found) == every_sentence(clipped, image, wanted, ())[:captions]
        assert all(hypothesis.log_prob <= 0 for hypothesis in found)


def test_the_largest_length_penalty_stays_within_the_range_of_numbers() -> None:
    wanted = SearchSettings(length_penalty=10, max_length=500)
    score = wanted.ranking_score(-1000.0, 501)
    assert math.isfinite(score) and score < 0
    with pytest.raises(UsageError, match="length penalty must be from 0 to 10, not 11"):
        SearchSettings(length_penalty=11)


@LAW
@given(
    seed=SEEDS,
    beam=st.integers(1, 4),
    captions=st.integers(1, 4),
    chosen=st.lists(st.integers(0, 5), min_size=1, max_size=9),
    ties=st.booleans(),
)
def test_hypotheses_do_not_depend_on_the_rest_of_the_batch(
    seed: int, beam: int, captions: int, chosen: list[int], ties: bool
) -> None:
    model = random_model(seed, 6, 6, ties=ties)
    wanted = SearchSettings(beam=beam, captions=captions, max_length=6)
    together = model.search(wanted)
    assert model.only(chosen).search(wanted) == [together[image] for image in chosen]


@LAW
@given(seed=SEEDS, captions=st.integers(1, 8), penalty=PENALTIES, filters=FILTERS, ties=st.booleans())
def test_captions_are_different_allowed_and_best_first(
    seed: int, captions: int, penalty: float, filters: tuple[TokenFilter, ...], ties: bool
) -> None:
    model = random_model(seed, 3, 6, ties=ties)
    wanted = SearchSettings(beam=3, captions=captions, length_penalty=penalty, max_length=5)
    for image, found in enumerate(model.search(wanted, filters)):
        assert 1 <= len(found) <= captions
        assert len({hypothesis.tokens for hypothesis in found}) == len(found)
        assert all(is_allowed(hypothesis.tokens, filters) for hypothesis in found)
        order = [(-wanted.ranking_score(h.log_prob, h.length), h.tokens) for h in found]
        assert order == sorted(order)
        for hypothesis in found:
            assert hypothesis.log_prob == model.log_prob(image, hypothesis.tokens)
            assert hypothesis.mean_log_prob == hypothesis.log_prob / (len(hypothesis.tokens) + 1)


@LAW
@given(seed=SEEDS, beam=st.integers(1, 4), captions=st.integers(1, 3))
def test_attention_belongs_to_its_token(seed: int, beam: int, captions: int) -> None:
    model = random_model(seed, 3, 5)
    wanted = SearchSettings(beam=beam, captions=captions, max_length=6)
    for image, found in enumerate(model.search(wanted, with_attention=True)):
        for hypothesis in found:
            history, expected = 0, []
            for token in (START, *hypothesis.tokens):
                history = history * 5 + token
                expected.append([image, history])
            assert hypothesis.attention is not None
            assert hypothesis.attention.dtype == np.float32
            np.testing.assert_array_equal(hypothesis.attention, np.reshape(expected, (-1, 2)))


@LAW
@given(seed=SEEDS, beam=st.integers(1, 4), captions=st.integers(1, 3))
def test_a_log_probability_belongs_to_its_token_and_their_sum_is_the_sentence_s(
    seed: int, beam: int, captions: int
) -> None:
    model = random_model(seed, 3, 5)
    for image, found in enumerate(model.search(SearchSettings(beam=beam, captions=captions, max_length=6))):
        for hypothesis in found:
            expected = model.log_probs(image, hypothesis.tokens)
            np.testing.assert_allclose(hypothesis.log_probs, expected, rtol=0, atol=1e-9)
            assert abs(hypothesis.log_probs.sum() - hypothesis.log_prob) < 1e-9


@LAW
@given(seed=SEEDS, beam=st.integers(1, 4), captions=st.integers(1, 3))
def test_entropy_is_of_what_might_have_been_said_in_each_place(seed: int, beam: int, captions: int) -> None:
    model = random_model(seed, 3, 5, zeros=True)
    model.table[..., END] = np.maximum(model.table[..., END], -3)
    wanted = SearchSettings(beam=beam, captions=captions, max_length=6)
    # Filters rule words out; what the model thought of them stays.
    for image, found in enumerate(model.search(wanted, [NoImmediateRepeat()], with_entropy=True)):
        for hypothesis in found:
            pairs = pairwise((START, START, *hypothesis.tokens))
            rows = [model.table[image, before, last].astype(np.float64) for before, last in pairs]
            expected = [-np.sum(np.exp(row)[row > -np.inf] * row[row > -np.inf]) for row in rows]
            assert hypothesis.entropy is not None
            np.testing.assert_allclose(hypothesis.entropy, expected, rtol=1e-4, atol=1e-6)


def test_attention_and_entropy_are_given_only_when_asked_for() -> None:
    [[hypothesis]] = random_model(0, 1, 5).search(SearchSettings())
    assert hypothesis.attention is None
    assert hypothesis.entropy is None


@LAW
@given(seed=SEEDS, max_length=st.integers(1, 9))
def test_greedy_takes_one_row_for_each_token_and_the_end(seed: int, max_length: int) -> None:
    model = random_model(seed, 4, 5)
    found = model.search(SearchSettings(beam=1, max_length=max_length))
    assert [sum(model.rows_of(image)) for image in range(4)] == [one[0].length for one in found]


@LAW
@given(seed=SEEDS, beam=st.integers(1, 5), max_length=st.integers(1, 9))
def test_an_image_never_takes_more_rows_than_the_beam_and_one(seed: int, beam: int, max_length: int) -> None:
    model = random_model(seed, 4, 6)
    model.search(SearchSettings(beam=beam, max_length=max_length))
    assert all(max(model.rows_of(image)) <= beam + (beam > 1) for image in range(4))
    assert len(model.rows_seen) <= max_length + 1
    for rows in model.rows_seen:
        assert rows.size
        assert (np.diff(rows) >= 0).all()


def test_a_finished_image_costs_nothing_more() -> None:
    sure_end = from_probabilities(5, {(START, START): {END: 0.9, 2: 0.05, 3: 0.05}})
    endless = from_probabilities(
        5, {(a, b): {END: 0.01, 2: 0.33, 3: 0.33, 4: 0.33} for a in range(5) for b in range(5)}
    )
    both = TableModel(np.concatenate([sure_end.table, endless.table]))
    both.search(SearchSettings(beam=3, max_length=10))
    assert both.rows_of(0)[0] == 1
    assert sum(both.rows_of(0)) == 1
    assert both.rows_of(1)[-1] > 0
    assert len(both.rows_seen) == 11


def test_search_stops_when_enough_sentences_have_ended_and_none_looks_better() -> None:
    # (3, 4, 4, ...) could go on for ever, and by the longest length might win.
    model = from_probabilities(
        5,
        {
            (START, START): {2: 0.6, 3: 0.4},
            (START, 2): {END: 0.9, 4: 0.1},
            (START, 3): {4: 0.9, END: 0.1},
            (3, 4): {END: 0.5, 4: 0.5},
            (4, 4): {4: 1.0},
        },
    )
    [found] = model.search(SearchSettings(beam=2, max_length=500))
    assert found[0].tokens == (2,)
    assert len(model.rows_seen) == 3


def test_a_sentence_of_the_longest_length_is_ended_and_its_end_counts() -> None:
    model = from_probabilities(4, {(a, b): {2: 0.9, END: 0.1} for a in range(4) for b in range(4)})
    [[hypothesis]] = model.search(SearchSettings(beam=1, max_length=3))
    assert hypothesis.tokens == (2, 2, 2)
    assert hypothesis.log_prob == pytest.approx(3 * math.log(0.9) + math.log(0.1))


def test_equal_scores_are_ordered_by_token_ids() -> None:
    uniform = from_probabilities(6, {(START, START): dict.fromkeys((5, 2, 4, 3), 0.25)})
    [found] = uniform.search(SearchSettings(beam=3, captions=3))
    assert [hypothesis.tokens for hypothesis in found] == [(2,), (3,), (4,)]

    # The rows' scores differ in the other order than their tokens.
    crossing = from_probabilities(
        8,
        {
            (START, START): {3: 0.5, 2: 0.25, 4: 0.125, 5: 0.125},
            (START, 3): dict.fromkeys((4, 5, 6, 7), 0.25),
            (START, 2): dict.fromkeys((4, 5), 0.5),
        },
    )
    [found] = crossing.search(SearchSettings(beam=2, captions=2))
    assert [hypothesis.tokens for hypothesis in found] == [(2, 4), (2, 5)]

    # A longer sentence that can only draw level comes first all the same.
    level = from_probabilities(5, {(START, START): {2: 0.5, 3: 0.5}, (START, 2): {4: 1.0}, (START, 3): {END: 1.0}})
    [found] = level.search(SearchSettings(beam=2, length_penalty=0.0))
    assert found[0].tokens == (2, 4)


def test_large_vocabulary_is_searched_to_its_last_token() -> None:
    # More tokens than the search looks at one by one; the best ones fall into the same group of columns.
    words = 1003
    log_probs = np.full((1, words), -20.0, dtype=np.float32)
    log_probs[0, [1000, 1001, 1002, 360, 680]] = [-3.0, -4.0, -1.0, -2.0, -5.0]

    def step(tokens: np.ndarray, state: State, parents: np.ndarray, images: np.ndarray) -> StepResult:
        scores = log_probs[np.zeros_like(images)]
        scores[tokens != START] = -30.0
        scores[tokens != START, END] = 0.0
        return StepResult(scores, state)

    [found] = search(step, (), 1, start=START, end=END, settings=SearchSettings(beam=5, captions=5))
    assert [h.tokens for h in found] == [(1002,), (360,), (1000,), (1001,), (680,)]


def test_log_probabilities_that_may_not_be_written_to_stay_as_they_are() -> None:
    given_out: list[tuple[np.ndarray, np.ndarray]] = []
    model = random_model(1, 2, 6)

    def step(tokens: np.ndarray, state: State, parents: np.ndarray, images: np.ndarray) -> StepResult:
        result = model(tokens, state, parents, images)
        result.log_probs.setflags(write=False)
        given_out.append((result.log_probs, result.log_probs.copy()))
        return result

    filters = (NeverGenerate((START,)), NoImmediateRepeat(), NoRepeatedNgram(2))
    wanted = SearchSettings(max_length=3)
    search(step, model.first_state, 2, start=START, end=END, settings=wanted, filters=filters)
    for now, before in given_out:
        np.testing.assert_array_equal(now, before)


def test_a_sentence_may_be_kept_from_being_empty() -> None:
    log_probs = np.log(np.full((2, 4), 0.25, dtype=np.float32))
    first, later = log_probs.copy(), log_probs.copy()
    NotEmpty(1).apply(first, np.zeros((2, 0), np.int64))
    assert np.isneginf(first[:, 1]).all() and np.isfinite(first[:, [0, 2, 3]]).all()
    NotEmpty(1).apply(later, np.zeros((2, 1), np.int64))
    np.testing.assert_array_equal(later, log_probs)


def test_where_every_word_is_ruled_out_the_sentence_is_empty() -> None:
    model = random_model(2, 2, 4)
    found = model.search(SearchSettings(beam=4, captions=2), [NeverGenerate((0, 2, 3))])
    assert [[hypothesis.tokens for hypothesis in one] for one in found] == [[()], [()]]
    assert len(model.rows_seen) == 1
    [[empty]] = model.only([0]).search(SearchSettings(), [NeverGenerate((0, 2, 3))], with_attention=True)
    assert empty.attention is not None
    assert empty.attention.shape == (1, 2)


def test_beam_may_exceed_the_vocabulary_and_captions_the_sentences() -> None:
    model = random_model(3, 1, 3)
    [found] = model.search(SearchSettings(beam=50, captions=50, max_length=1), [NeverGenerate((START,))])
    assert {hypothesis.tokens for hypothesis in found} == {(), (2,)}


def test_more_captions_than_the_beam_widen_the_search() -> None:
    [found] = random_model(4, 1, 6).search(SearchSettings(beam=1, captions=5, max_length=4))
    assert len(found) == 5


def test_no_images_need_no_step() -> None:
    model = random_model(0, 0, 5)
    assert model.search(SearchSettings()) == []
    assert model.rows_seen == []


def test_a_dead_end_does_not_end_the_search() -> None:
    model = from_probabilities(5, {(START, START): {2: 0.7, 3: 0.3}})
    model.table[0, START, 2] = -np.inf
    [found] = model.search(SearchSettings(beam=2))
    assert [hypothesis.tokens for hypothesis in found] == [(3,)]


def test_a_model_that_cannot_end_is_refused() -> None:
    model = from_probabilities(3, {(a, b): {2: 1.0} for a in range(3) for b in range(3)})
    with pytest.raises(BundleError, match="end"):
        model.search(SearchSettings(max_length=4))


@pytest.mark.parametrize("where", [2, 99])
def test_nan_is_refused(where: int) -> None:
    def step(tokens: np.ndarray, state: State, parents: np.ndarray, images: np.ndarray) -> StepResult:
        log_probs = np.full((len(tokens), 100), -4.6, dtype=np.float32)
        log_probs[-1, where] = np.nan
        return StepResult(log_probs, state)

    with pytest.raises(BundleError, match="NaN"):
        search(step, (), 3, start=START, end=END, settings=SearchSettings())


def test_scores_that_are_no_log_probabilities_are_refused() -> None:
    model = random_model(0, 1, 5)
    model.table += 5
    with pytest.raises(BundleError, match="above 0"):
        model.search(SearchSettings())


@pytest.mark.parametrize(
    "wrong",
    [
        {"beam": 0},
        {"max_length": 0},
        {"captions": 0},
        {"length_penalty": -0.1},
        {"length_penalty": math.nan},
        {"length_penalty": math.inf},
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="must be"):
        SearchSettings(**wrong)  # type: ignore[arg-type]


def test_ngrams_of_no_words_are_refused() -> None:
    with pytest.raises(UsageError, match="at least 1"):
        NoRepeatedNgram(0)
