"""Texts added to what a file says: once, whatever they are, and nothing of what is there is lost."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capcli.errors import UsageError
from capcli.outputs.affixes import Affixes
from capcli.outputs.joining import Joining
from capcli.outputs.sidecars import Sidecars

TEXT = st.text(max_size=12) | st.sampled_from(["A dog.", ", ", "ohwx, ", "\ufeff", "\n", " \x85", "\u2028", "é"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("joining")


NUMBERS = itertools.count()


@settings(max_examples=300, deadline=None)
@given(
    old=st.none() | TEXT,
    caption=TEXT,
    prefix=TEXT,
    suffix=TEXT,
    separator=TEXT,
    before=st.booleans(),
)
def test_added_twice_is_added_once(
    folder: Path, old: str | None, caption: str, prefix: str, suffix: str, separator: str, before: bool
) -> None:
    photo = folder / f"{next(NUMBERS)}.jpg"
    sidecar, affixes = photo.with_suffix(".txt"), Affixes(prefix, suffix)
    if old is not None:
        sidecar.write_bytes(old.encode())
    first, second = (
        Sidecars(joining=Joining(before, separator), affixes=affixes).write(str(photo), [caption]) for _ in range(2)
    )
    assert second.same and not second.written
    once = sidecar.read_bytes()
    assert not Sidecars(joining=Joining(before, separator), affixes=affixes).write(str(photo), [caption]).written
    assert sidecar.read_bytes() == once
    said, new = once.decode(), affixes.around(caption)
    assert new in said and (old or "").strip() in said
    assert first.written or said == old
    if old is None:
        assert said == f"{new}\n"


@pytest.mark.parametrize(
    ("old", "before", "separator", "wanted"),
    [
        ("a park, night\n", False, ", ", "a park, night, A dog.\n"),
        ("a park, night", True, ", ", "A dog., a park, night\n"),
        ("", False, ", ", "A dog.\n"),
        (" \r\n", True, ", ", "A dog.\n"),
        ("A dog. Running\n", False, ", ", "A dog. Running, A dog.\n"),
        ("One.\r\nTwo.\r\n", False, " | ", "One.\r\nTwo. | A dog.\n"),
        ("One.\n", False, "\n", "One.\nA dog.\n"),
        ("\ufeffOne.\n", True, ", ", "\ufeffA dog., One.\n"),
        ("One.\n", False, "", "One.A dog.\n"),
    ],
)
def test_a_text_goes_after_or_before_the_other_with_the_separator_between(
    old: str, before: bool, separator: str, wanted: str
) -> None:
    assert Joining(before, separator).joined(old, "A dog.") == wanted


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize(
    "old",
    ["A dog.", "  A dog.\n\n", "a park, A dog.", "A dog., a park", "a park, A dog., night", "One.\nA dog.\nTwo.\n"],
)
def test_what_is_there_is_not_added_wherever_it_stands(old: str, before: bool) -> None:
    assert Joining(before).joined(old, "A dog.") == old


def test_a_separator_that_no_file_can_hold_is_refused() -> None:
    with pytest.raises(UsageError, match=r"^--separator is not UTF-8$"):
        Joining(separator="\udcff")
    with pytest.raises(UsageError, match=r"^--separator has 4001 characters; 4000 are the most$"):
        Joining(separator="x" * 4001)
