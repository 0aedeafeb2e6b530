"""A file of captions as it is reviewed: every column, whatever version wrote it, and the order of review."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from capcli.errors import UsageError
from capcli.outputs.rows import Row, row_format
from capcli.reviewing import read_captions_file

ROWS = [
    Row('b\n"c".jpg', "A cat, sitting.", -0.5, None, confidence=0.7),
    Row("\u00e9\u4e2d\U0001f436.jpg", "A dog.", -0.25, None, confidence=0.2, note='keeps "x"\tand more'),
    Row("odd-\udcff\udce9.jpg", "A horse.", -1.0, "no space", confidence=0.4),
    Row("broken.jpg", None, None, "is empty"),
]


@pytest.mark.parametrize("earlier", [False, True])
@pytest.mark.parametrize("name", ["csv", "tsv", "jsonl"])
def test_all_formats_and_versions_say_the_same(name: str, earlier: bool, tmp_path: Path) -> None:
    form = row_format(name, ranked=False)
    columns: tuple[str, ...] = ("path", "caption", "score", "error", "confidence", "note")
    if earlier:
        columns = columns[:4]
        form = form.with_columns(columns)
    file = tmp_path / f"captions.{name}"
    file.write_bytes(form.header() + b"".join(map(form.record, ROWS)))
    found = read_captions_file(file, name)
    assert found.columns == (*columns, "review")
    assert [row.cells[:2] for row in found.rows] == [(row.path, row.caption or "") for row in ROWS]
    numbers = [cell and float(cell) for row in found.rows for cell in row.cells[2:3]]
    assert numbers == [-0.5, -0.25, -1.0, ""]
    assert [row.cells[3] for row in found.rows] == ["", "", "no space", "is empty"]
    assert {row.cells[-1] for row in found.rows} == {""}
    if not earlier:
        assert found.rows[1].cells[5] == 'keeps "x"\tand more'
    # By confidence, or, where an earlier version knew none, by score.
    order = [2, 0, 1] if earlier else [1, 2, 0]
    assert [[row.number for row in photo] for photo in found.photos()] == [[number] for number in order]
    assert [row.number for row in found.failures()] == [3]
    assert found.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()


def test_several_captions_of_a_photo_stay_together_in_its_place(tmp_path: Path) -> None:
    form = row_format("jsonl", ranked=True, words=True)
    rows = [
        Row("a.jpg", "A dog.", -0.5, None, rank=1, confidence=0.9, words=(("a", -0.1), ("dog", -0.2), ("", -0.3))),
        Row("a.jpg", "Dogs.", -0.6, None, rank=2, confidence=0.1),
        Row("b.jpg", "A cat.", -0.5, None, rank=1, confidence=0.3),
    ]
    file = tmp_path / "captions.jsonl"
    file.write_bytes(b"".join(map(form.record, rows)))
    found = read_captions_file(file, "jsonl")
    assert [[row.row.caption for row in photo] for photo in found.photos()] == [["A cat."], ["A dog.", "Dogs."]]
    assert found.columns == ("path", "rank", "caption", "score", "error", "confidence", "note", "words", "review")
    assert found.rows[0].cells[1] == "1" and found.rows[0].cells[7] == '[["a", -0.1], ["dog", -0.2], ["", -0.3]]'


def test_what_people_add_and_what_was_reviewed_before_stays(tmp_path: Path) -> None:
    file = tmp_path / "captions.csv"
    file.write_bytes(b"\xef\xbb\xbfpath,review,caption,mine\r\na.jpg,Accepted ,A dog.,x\r\nb.jpg,,A cat.,\r\n")
    found = read_captions_file(file, "csv")
    assert (found.columns, found.marked) == (("path", "caption", "mine", "review"), True)
    assert [row.cells for row in found.rows] == [("a.jpg", "A dog.", "x", "accepted"), ("b.jpg", "A cat.", "", "")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"path,caption\r\na.jpg\r\n", "line 2: 1 cells instead of 2; a file of captions that capcli wrote is wanted"),
        (b"path,caption,review\r\na.jpg,A dog.,yes\r\n", "line 2: review is 'yes'; it must be"),
        (b"image,text\r\na.jpg,A dog.\r\n", "line 1: the header names no columns path and caption"),
        (b"path,caption\r\n", "holds no captions"),
        (None, "cannot be read (No such file or directory)"),
    ],
)
def test_what_is_no_file_of_captions_is_named(content: bytes | None, message: str, tmp_path: Path) -> None:
    file = tmp_path / "captions.csv"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        read_captions_file(file, "csv")
    assert str(caught.value).startswith(f"{file}: ") and message in str(caught.value)
