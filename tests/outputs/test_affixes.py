"""What stands around captions, as it is given, and how the caption is found again between."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capcli.errors import UsageError
from capcli.outputs.affixes import Affixes


@pytest.mark.parametrize(
    ("prefix", "suffix", "wanted"),
    [
        ("", "", "A dog."),
        ("ohwx, ", " by me", "ohwx, A dog. by me"),
        ("ohwx", "x", "ohwxA dog.x"),
        ("two\nlines\t", "\n", "two lines A dog."),
        ("  ", "\ufeff", "A dog."),
    ],
)
def test_they_stand_on_the_captions_line_as_they_are_given(prefix: str, suffix: str, wanted: str) -> None:
    assert Affixes(prefix, suffix).around(" A \n dog. ") == wanted
    assert Affixes(prefix, suffix).bare(wanted) == "A dog."


@given(caption=st.text(), prefix=st.text(), suffix=st.text())
def test_a_caption_is_one_line_between_them_and_is_found_again(caption: str, prefix: str, suffix: str) -> None:
    affixes, caption = Affixes(prefix, suffix), Affixes().around(caption) or "x"
    text = affixes.around(caption)
    assert text == " ".join(text.split()) and affixes.bare(text) == caption


def test_a_text_that_others_have_written_is_taken_whole() -> None:
    assert Affixes("ohwx, ", "!").bare("A dog.") == "A dog."
    assert Affixes("aa", "aa").bare("aaa") == "aaa"


@pytest.mark.parametrize(("prefix", "suffix"), [("x" * 4001, ""), ("", "\udcff")])
def test_what_no_row_can_hold_is_refused(prefix: str, suffix: str) -> None:
    with pytest.raises(UsageError, match=r"^--(prefix has 4001 characters; 4000 are the most|suffix is not UTF-8)$"):
        Affixes(prefix, suffix)
