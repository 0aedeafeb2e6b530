"""What was replaced, in a row's note: any text comes back as it was, through every format of rows."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capcli.outputs.records import read_rows
from capcli.outputs.replaced import replaced_in, replaced_note
from capcli.outputs.rows import Row, row_format

# Bytes that are not UTF-8 come as surrogates, as Python has them in paths.
TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"])), st.binary().map(lambda b: b.decode("utf-8", "surrogateescape"))
)
VALUES = st.one_of(st.none(), TEXTS, st.dictionaries(st.sampled_from(['lang="x-default"', 'lang="de"']), TEXTS))
TOLD = st.dictionaries(st.sampled_from(["metadata", "xmp"]), st.dictionaries(TEXTS, VALUES, max_size=3), min_size=1)


@pytest.mark.parametrize("name", ["csv", "tsv", "jsonl"])
@given(told=TOLD, rest=st.sampled_from(["", '; x.txt exists; "replaced: {}"']))
@settings(max_examples=80, deadline=None)
def test_any_text_comes_back_from_a_file(
    name: str, told: dict[str, object], rest: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    form = row_format(name, ranked=False)
    note = replaced_note(told) + rest
    assert "\n" not in note and "\r" not in note
    # Or a file of rows would not be UTF-8.
    note.encode("utf-8")
    file = tmp_path_factory.mktemp("rows") / "out"
    file.write_bytes(form.header() + form.record(Row("a.jpg", "A dog.", -0.5, None, note=note)))
    (row,) = read_rows(file, name)
    assert row.note == note and replaced_in(row.note) == told


def test_what_people_read_is_not_escaped_without_need(tmp_path: Path) -> None:
    assert replaced_note({"metadata": {"k": "Hündin 🐶"}}) == 'replaced: {"metadata": {"k": "Hündin 🐶"}}'


@pytest.mark.parametrize(
    "note", [None, "", "x.txt exists", "replaced: ", "replaced: [1]", "x; replaced: {}", "replaced: {"]
)
def test_other_notes_tell_nothing(note: str | None) -> None:
    assert replaced_in(note) is None
