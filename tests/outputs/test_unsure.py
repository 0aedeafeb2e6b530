"""Which captions are held back for their confidence: decided alike whether it is known or read back from rows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capcli.outputs.rows import Row
from capcli.outputs.unsure import tells_unsure, why_unsure
from capcli.verdicts import ACCEPTED


@given(confidence=st.floats(0, 1), least=st.floats(0, 1))
def test_what_a_row_tells_of_it_decides(confidence: float, least: float) -> None:
    known, read = (Row("a.jpg", "A dog.", -0.5, None, confidence=each) for each in (confidence, round(confidence, 4)))
    why = why_unsure(known, least)
    assert why == why_unsure(read, least)
    assert (why is None) == (round(confidence, 4) >= least) and (why is None or tells_unsure(why))


@pytest.mark.parametrize(
    ("row", "least", "wanted"),
    [
        (Row("a", "A dog.", -0.5, None, confidence=0.49996), 0.5, None),
        (Row("a", "A dog.", -0.5, None, confidence=0.49994), 0.5, "unsure: confidence 0.4999 is below 0.5"),
        (Row("a", "A dog.", -0.5, None, confidence=0.1), None, None),
        (Row("a", "A dog.", -0.5, None), 0.0, "unsure: its confidence is not known"),
        (Row("a", None, None, "is empty"), 0.5, None),
        (Row("a", "A dog.", -0.5, None, confidence=0.1, review=ACCEPTED), 0.5, None),
    ],
)
def test_failures_and_what_a_person_wants_are_not_unsure(row: Row, least: float | None, wanted: str | None) -> None:
    assert why_unsure(row, least) == wanted
    assert not tells_unsure(None) and not tells_unsure("a.txt exists")
