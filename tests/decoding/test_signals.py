"""The signals of a confidence: what each of them measures on a sentence."""

from __future__ import annotations

import numpy as np
import pytest

from capcli.decoding.search import Hypothesis
from capcli.decoding.signals import MATCH, SIGNALS, are_known, signals_of

LOG_PROBS = np.array([-0.5, -2.0, -0.1, -1.0])
SENTENCE = Hypothesis((5, 6, 7), -3.6, LOG_PROBS, entropy=np.array([1.0, 4.0, 0.0, 2.0], np.float32))


def test_each_signal_measures_what_its_name_says() -> None:
    signals = signals_of(SENTENCE)
    assert tuple(signals) == SIGNALS
    wanted = {
        "mean_log_prob": -0.9,
        "least_log_prob": -2.0,
        "end_log_prob": -1.0,
        "length": 4.0,
        "mean_entropy": 1.75,
        "highest_entropy": 7 / 3,
    }
    assert signals == pytest.approx(wanted)


def test_a_sentence_without_words_has_signals_too() -> None:
    empty = Hypothesis((), -0.5, np.array([-0.5]), entropy=np.array([1.5], np.float32))
    assert signals_of(empty)["highest_entropy"] == 1.5


def test_without_its_entropy_a_sentence_has_no_signals() -> None:
    with pytest.raises(ValueError, match="entropy"):
        signals_of(Hypothesis((5, 6, 7), -3.6, LOG_PROBS))


def test_signals_of_later_versions_are_told_apart() -> None:
    assert are_known(SIGNALS[:2], matching=False)
    assert not are_known([*SIGNALS, "smell"], matching=True)
    assert are_known([*SIGNALS, MATCH], matching=True)
    # Without a matching score there is none to tell of.
    assert not are_known([*SIGNALS, MATCH], matching=False)
    for match in (2.5, 0.0):
        assert signals_of(SENTENCE, match) == {**signals_of(SENTENCE), MATCH: match}
