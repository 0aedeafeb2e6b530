"""The alt text beside the description: in the form that others read, kept or replaced by itself, and cut to fit."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capcli.outputs.outcomes import Outcome
from capcli.outputs.replaced import replaced_note
from capcli.outputs.rows import Row
from capcli.outputs.text_edits import Wording, one_line
from capcli.outputs.text_fields import ALT_TEXT, DESCRIPTION
from tests.shapes import draw

pyexiv2 = pytest.importorskip("pyexiv2")

from capcli.outputs.metadata import PhotoMetadata  # noqa: E402
from capcli.outputs.undoing import UndoneMetadata, UndoneXmp  # noqa: E402
from capcli.outputs.xmp_sidecars import XmpSidecars  # noqa: E402

ALT, DC = "Xmp.iptc.AltTextAccessibility", "Xmp.dc.description"
LANGUAGE = 'lang="x-default"'
BOTH = (DESCRIPTION, ALT_TEXT)
# As the IPTC standard has it; as an attribute it would be found by nobody who looks for an alternative.
AS_IT_SHOULD_BE = re.compile(
    rb"<Iptc4xmpCore:AltTextAccessibility>\s*<rdf:Alt>\s*"
    rb'<rdf:li xml:lang="x-default">A dog\.</rdf:li>\s*</rdf:Alt>\s*</Iptc4xmpCore:AltTextAccessibility>'
)
NAMESPACE = b'xmlns:Iptc4xmpCore="http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/"'


def photo(path: Path, xmp: dict[str, Any] | None = None) -> Path:
    draw("circle", "red", "white", 1000, 64).save(path)
    if xmp is not None:
        with pyexiv2.ImageData(path.read_bytes()) as image:
            image.modify_xmp(xmp)
            path.write_bytes(image.get_bytes())
    return path


def xmp(path: Path) -> dict[str, Any]:
    with pyexiv2.ImageData(path.read_bytes()) as image:
        found: dict[str, Any] = image.read_xmp()
    return found


def rows(path: Path, *captions: str) -> list[Row]:
    return [Row(str(path), caption, -0.1, None, rank) for rank, caption in enumerate(captions, 1)]


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif", "a.bmp"])
@pytest.mark.parametrize("before", [None, "plain", "alternative"])
def test_its_bytes_are_a_language_alternative(name: str, before: str | None, tmp_path: Path) -> None:
    """In a photo, or beside one that holds none, whatever form an older one had."""
    beside = name.endswith(".bmp")
    forms: dict[str | None, dict[str, Any]] = {"plain": {ALT: "Old."}, "alternative": {ALT: {LANGUAGE: "Old."}}}
    old = forms.get(before, {})
    path = photo(tmp_path / name, None if beside else old)
    file = tmp_path / "a.bmp.xmp" if beside else path
    wording = Wording((ALT_TEXT,), overwrite=True)
    place = XmpSidecars(wording) if beside else PhotoMetadata(wording)
    if beside and before is not None:
        XmpSidecars(wording).put(rows(path, "Old."))
        if before == "plain":
            whole = (rb"<Iptc4xmpCore:AltTextAccessibility>.*</Iptc4xmpCore:AltTextAccessibility>", rb"")
            plain = re.sub(*whole, file.read_bytes(), flags=re.DOTALL).replace(
                NAMESPACE, NAMESPACE + b' Iptc4xmpCore:AltTextAccessibility="Old."'
            )
            file.write_bytes(plain)
            assert xmp(file) == {ALT: "Old."}
    assert place.put(rows(path, "A dog.")).written
    content = file.read_bytes()
    assert len(AS_IT_SHOULD_BE.findall(content)) == 1 and content.count(NAMESPACE) == 1
    assert b"AltTextAccessibility=" not in content
    assert xmp(file) == {ALT: {LANGUAGE: "A dog."}}
    assert place.put(rows(path, "A dog.")).same and file.read_bytes() == content


@pytest.mark.parametrize("beside", [True, False])
def test_description_and_alt_text_are_kept_each_by_itself(beside: bool, tmp_path: Path) -> None:
    path = photo(tmp_path / "a.jpg")
    file = tmp_path / "a.jpg.xmp" if beside else path
    what = "a.jpg.xmp" if beside else "its metadata"
    make = XmpSidecars if beside else PhotoMetadata
    assert make(Wording()).put(rows(path, "My own words.")).written
    both = make(Wording(BOTH))
    assert both.wants(str(path))
    kept = f"{what} has a description already: 'My own words.'"
    assert both.put(rows(path, "A dog.")) == Outcome(True, kept)
    assert (xmp(file)[DC], xmp(file)[ALT]) == ({LANGUAGE: "My own words."}, {LANGUAGE: "A dog."})
    assert not both.wants(str(path))
    alt = f"{what} has an alt text already: 'A dog.'"
    assert both.keeps(str(path)) == f"{kept}; {alt}"
    # What says the same is no news, what says something else is.
    assert both.put(rows(path, "A dog.")) == Outcome(False, kept)
    assert make(Wording((ALT_TEXT,))).put(rows(path, "A cat.")) == Outcome(False, alt)
    assert make(Wording((ALT_TEXT,), overwrite=True)).put(rows(path, "A cat.")).written
    assert (xmp(file)[DC], xmp(file)[ALT]) == ({LANGUAGE: "My own words."}, {LANGUAGE: "A cat."})


@pytest.mark.parametrize("beside", [True, False])
def test_each_is_put_back_by_itself(beside: bool, tmp_path: Path) -> None:
    path = photo(tmp_path / "a.jpg")
    file, make = (tmp_path / "a.jpg.xmp", XmpSidecars) if beside else (path, PhotoMetadata)
    undo = UndoneXmp() if beside else UndoneMetadata()
    what = "a.jpg.xmp" if beside else "its metadata"
    make(Wording()).put(rows(path, "Old description."))
    make(Wording((ALT_TEXT,))).put(rows(path, "Old alt text."))
    before = xmp(file)
    outcome = make(Wording(BOTH, overwrite=True, max_chars=9)).put(rows(path, "A dog runs fast."))
    assert xmp(file)[ALT] == {LANGUAGE: "A dog"}
    row = Row(str(path), "A dog runs fast.", None, None, note=replaced_note(outcome.replaced or {}))
    make(Wording(overwrite=True)).put(rows(path, "Mine."))
    assert undo.put([row]) == Outcome(True, f"{what} has another description than capcli wrote: 'Mine.'")
    assert (xmp(file)[DC], xmp(file)[ALT]) == ({LANGUAGE: "Mine."}, before[ALT])
    make(Wording(overwrite=True)).put(rows(path, "A dog runs fast."))
    assert undo.put([row]) == Outcome(True)
    assert xmp(file) == before


@pytest.mark.parametrize(
    ("most", "alt_text", "note"),
    [
        (None, "A dog runs over green grass.", None),
        (28, "A dog runs over green grass.", None),
        (27, "A dog runs, well.", "the alt text is a shorter caption: 'A dog runs, well.'"),
        (17, "A dog runs, well.", "the alt text is a shorter caption: 'A dog runs, well.'"),
        (15, "A dog runs over", "the alt text is cut: 'A dog runs over'"),
        (14, "A dog runs", "the alt text is cut: 'A dog runs'"),
        (3, "A", "the alt text is cut: 'A'"),
    ],
)
def test_what_is_too_long_is_another_caption_or_cut_at_a_word(
    most: int | None, alt_text: str, note: str | None, tmp_path: Path
) -> None:
    captions = ("A dog runs over green grass.", "A dog runs,\n well.", "A dog that runs over grass and more.")
    path = photo(tmp_path / "a.jpg")
    outcome = PhotoMetadata(Wording(BOTH, max_chars=most)).put(rows(path, *captions))
    assert (outcome.written, outcome.note) == (True, note)
    # The description has no limit.
    assert (xmp(path)[DC], xmp(path)[ALT]) == ({LANGUAGE: captions[0]}, {LANGUAGE: alt_text})


@pytest.mark.parametrize(
    ("caption", "most", "cut"),
    [("Hippopotamus.", 5, "Hippo"), ("Cats, dogs", 5, "Cats"), ("Ein Hund 🐶 läuft", 10, "Ein Hund 🐶")],
)
def test_a_cut_leaves_no_half_word_where_there_is_a_whole_one(caption: str, most: int, cut: str) -> None:
    texts = Wording((ALT_TEXT,), max_chars=most).texts([Row("a", caption, None, None)])
    assert texts == {ALT_TEXT: cut} and len(cut) <= most


@settings(max_examples=150, deadline=None)
@given(
    captions=st.lists(st.text("ab -,.;\n🐶", min_size=1).filter(str.strip), min_size=1, max_size=3),
    most=st.integers(1, 12),
)
def test_an_alt_text_is_short_enough_and_never_empty(captions: list[str], most: int) -> None:
    rows = [Row("a", caption, None, None) for caption in captions]
    texts = Wording(BOTH, max_chars=most).texts(rows)
    lines = list(map(one_line, captions))
    assert texts[DESCRIPTION] == lines[0]
    alt = texts[ALT_TEXT]
    assert 1 <= len(alt) <= most and alt == alt.strip()
    fitting = [line for line in lines if len(line) <= most]
    if fitting:
        assert alt == fitting[0]
    else:
        assert lines[0].startswith(alt)
        # Words are whole where one of them, and more than marks, is short enough.
        following = lines[0][len(alt)]
        assert (
            following in " ,;:-"
            or " " not in lines[0][: most + 1]
            or not lines[0][:most].rpartition(" ")[0].strip(" ,;:-")
        )
