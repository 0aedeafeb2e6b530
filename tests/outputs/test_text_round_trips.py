"""Whatever a caption says and replaces, a photo's texts are read back as they were written, and put back."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capcli.errors import OutputError
from capcli.outputs.replaced import replaced_note
from capcli.outputs.rows import Row
from capcli.outputs.text_edits import Wording, one_line
from capcli.outputs.text_fields import ALT_TEXT, DESCRIPTION
from tests.shapes import draw

pyexiv2 = pytest.importorskip("pyexiv2")

from capcli.outputs.metadata import PhotoMetadata  # noqa: E402
from capcli.outputs.undoing import UndoneMetadata, UndoneXmp  # noqa: E402
from capcli.outputs.xmp_sidecars import XmpSidecars  # noqa: E402
from tests.texts import texts  # noqa: E402

NUMBERS = itertools.count()
# What XML knows: where fields go wrong.
TEXT = texts("\n\t\"',\\<>&]é🐶", exclude_categories=["Cs"], min_size=1, max_size=12)
# XML has no place for most control characters, and none for U+FFFE and U+FFFF; Exiv2 drops one more.
UNSAID = {*map(chr, range(32)), "\x7f", "\ufffe", "\uffff"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("texts")


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from([".xmp", ".jpg", ".png", ".webp", ".tif"]),
    old=st.none() | TEXT.filter(str.strip),
    new=TEXT.filter(str.strip),
    fields=st.sampled_from([(DESCRIPTION,), (ALT_TEXT,), (DESCRIPTION, ALT_TEXT)]),
)
def test_a_text_is_in_the_photo_as_it_was_said_or_the_photo_is_as_it_was(
    folder: Path, kind: str, old: str | None, new: str, fields: tuple[str, ...]
) -> None:
    """And what it replaced is put back."""
    beside = kind == ".xmp"
    photo = folder / f"{next(NUMBERS)}{'.jpg' if beside else kind}"
    draw("circle", "red", "white", 1, 32).save(photo)
    file = photo.with_name(f"{photo.name}.xmp") if beside else photo
    make = XmpSidecars if beside else PhotoMetadata

    def rows(text: str, note: str | None = None) -> list[Row]:
        return [Row(str(photo), text, None, None, note=note)]

    if old is not None:
        try:
            assert make(Wording(fields)).put(rows(old)).written
        except OutputError:
            assert UNSAID & set(one_line(old))
    first = file.read_bytes() if file.exists() else None
    try:
        outcome = make(Wording(fields, overwrite=True)).put(rows(new))
    except OutputError:
        assert UNSAID & set(one_line(new))
        assert (file.read_bytes() if file.exists() else None) == first
        return
    found = read_xmp(file)
    keys = {DESCRIPTION: "Xmp.dc.description", ALT_TEXT: "Xmp.iptc.AltTextAccessibility"}
    assert [found[keys[field]]['lang="x-default"'] for field in fields] == [one_line(new)] * len(fields)
    again = make(Wording(fields, overwrite=True)).put(rows(new))
    assert again.same and not again.written
    if outcome.replaced:
        undo = UndoneXmp() if beside else UndoneMetadata()
        undo.put(rows(new, replaced_note(outcome.replaced)))
        assert first is not None
        assert read_xmp(file) == read_xmp(first)


def read_xmp(file: Path | bytes) -> dict[str, dict[str, str]]:
    with pyexiv2.ImageData(file if isinstance(file, bytes) else file.read_bytes()) as image:
        xmp: dict[str, dict[str, str]] = image.read_xmp()
    return xmp
