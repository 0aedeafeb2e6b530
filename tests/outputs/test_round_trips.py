"""Whatever a path and a caption hold, rows and sidecars are read back as they were written, cut off anywhere or not."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capcli.outputs.affixes import Affixes
from capcli.outputs.image_folder import FILE, ImageFolder
from capcli.outputs.output_file import Existing, OutputFile
from capcli.outputs.path_keys import PathKeys
from capcli.outputs.records import read_rows
from capcli.outputs.rows import FORMATS, Row, row_format
from capcli.outputs.sidecars import Sidecars
from tests.texts import texts

NUMBERS = itertools.count()
PATH = st.binary(min_size=1, max_size=6).filter(lambda path: b"\0" not in path).map(os.fsdecode)
# Line ends, quotes, delimiters, formulas and escapes: where rows go wrong.
TEXT = texts("\n\r\t\"',;\\=é🐶", exclude_categories=["Cs"], exclude_characters="\0", min_size=1, max_size=12)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("laws")


@st.composite
def said(draw: st.DrawFn) -> tuple[int, list[list[Row]]]:
    """How many captions are asked for, and what a run says of its photos."""
    captions = draw(st.integers(1, 3))
    seen: dict[bytes, str] = {}
    for path in draw(st.lists(PATH, min_size=1, max_size=4)):
        seen.setdefault(PathKeys().key(path), path)
    every = []
    for path in seen.values():
        if draw(st.booleans()):
            rows = [Row(path, None, None, draw(TEXT))]
        else:
            rows = [
                Row(path, draw(TEXT), -0.5, None, rank if captions > 1 else None) for rank in range(1, captions + 1)
            ]
        every.append(rows)
    return captions, every


@settings(max_examples=60, deadline=None)
@given(
    said=said(),
    name=st.sampled_from(FORMATS),
    safe=st.booleans(),
    bom=st.booleans(),
    where=st.floats(0, 1),
    nuls=st.sampled_from([0, 0, 5]),
)
def test_a_run_that_is_killed_at_any_byte_is_gone_on_with_as_if_it_never_was(
    folder: Path, said: tuple[int, list[list[Row]]], name: str, safe: bool, bom: bool, where: float, nuls: int
) -> None:
    captions, every = said
    spreadsheet = name in ("csv", "tsv")
    form = row_format(name, ranked=captions > 1, spreadsheet_safe=safe and spreadsheet, bom=bom and spreadsheet)
    file = folder / f"{next(NUMBERS)}.rows"

    def run(existing: Existing) -> None:
        with OutputFile(file, form, existing=existing, captions=captions) as output:
            for rows in every:
                if output.claim(rows[0].path):
                    output.write(rows)

    run(Existing.REFUSE)
    whole = file.read_bytes()
    run(Existing.RESUME)
    assert file.read_bytes() == whole
    cut = round(where * len(whole))
    file.write_bytes(whole[:cut] + bytes(nuls))
    run(Existing.RESUME)
    assert file.read_bytes() == whole
    if not safe:
        wanted = [row for rows in every for row in rows if name != "text" or row.caption is not None]
        assert [(row.path, row.caption) for row in read_rows(file, name)] == [(r.path, r.caption) for r in wanted]


@settings(max_examples=30, deadline=None)
@given(
    names=st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=6).filter(
            lambda name: name not in (".", "..")
        ),
        min_size=1,
        max_size=3,
        unique=True,
    ),
    captions=st.lists(TEXT.filter(str.strip), min_size=3, max_size=3),
    prefix=st.sampled_from(["", "ohwx, ", " a "]),
    suffix=st.sampled_from(["", " by me", "."]),
)
def test_an_image_folder_tells_the_photos_and_their_bare_captions(
    folder: Path, names: list[str], captions: list[str], prefix: str, suffix: str
) -> None:
    place = folder / f"folder {next(NUMBERS)}"
    place.mkdir()
    form = ImageFolder(place / FILE, Affixes(prefix, suffix))
    rows = [Row(f"{place}/{name}", caption, None, None) for name, caption in zip(names, captions, strict=False)]
    with OutputFile(place / FILE, form) as output:
        for row in rows:
            output.write([row])
    with OutputFile(place / FILE, form, existing=Existing.RESUME) as output:
        for row in rows:
            (back,) = output.captions_of(row.path)
            assert (back.path, back.caption) == (row.path, Affixes().around(row.caption or ""))
    # Whoever knows of no affixes takes the whole text.
    around = [Affixes(prefix, suffix).around(row.caption or "") for row in rows]
    assert [row.caption for row in read_rows(place / FILE, "jsonl")] == around


@settings(max_examples=30, deadline=None)
@given(captions=st.lists(TEXT, min_size=1, max_size=3), prefix=TEXT, suffix=TEXT, overwrite=st.booleans())
def test_a_sidecar_has_a_line_for_each_caption(
    folder: Path, captions: list[str], prefix: str, suffix: str, overwrite: bool
) -> None:
    photo = folder / f"{next(NUMBERS)}.jpg"
    affixes = Affixes(prefix, suffix)
    if overwrite:
        photo.with_suffix(".txt").write_text("mine\n")
    sidecars = Sidecars(overwrite=overwrite, affixes=affixes)
    written = sidecars.write(str(photo), captions).written
    content = photo.with_suffix(".txt").read_bytes().decode("utf-8")
    assert content.split("\n") == [*(affixes.around(caption) for caption in captions), ""]
    assert written or content == "mine\n"
    assert not Sidecars(affixes=affixes).wants(str(photo))
