"""Which rows of a file of captions are taken, and what is said of the others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from capcli.errors import UsageError
from capcli.outputs.given_rows import GivenRows
from capcli.outputs.rows import Row, row_format

ROWS = [
    Row("a.jpg", "A dog.", -0.5, None, rank=1, confidence=0.7),
    Row("a.jpg", "Two dogs.", -0.6, None, rank=2, confidence=0.4),
    Row("b.jpg", None, None, "no such file"),
    Row(b"caf\xe9.jpg".decode("utf-8", "surrogateescape"), 'A "cat",\ton a\nmat.', -0.7, "x.txt cannot be written"),
]
TAKEN = [("a.jpg", "A dog."), ("caf\udce9.jpg", 'A "cat",\ton a\nmat.')]


def taken(rows: GivenRows) -> list[tuple[str, str | None]]:
    return [(row.path, row.caption) for row in rows]


def given(tmp_path: Path, text: str, name: str = "x.csv", *, unreviewed: bool = False) -> GivenRows:
    (tmp_path / name).write_text(text, "utf-8")
    return GivenRows(tmp_path / name, unreviewed=unreviewed)


@pytest.mark.parametrize(("name", "form"), [("x.csv", "csv"), ("x.tsv", "tsv"), ("x.jsonl", "jsonl")])
def test_of_what_capcli_wrote_the_best_caption_of_each_photo_is_taken(name: str, form: str, tmp_path: Path) -> None:
    how = row_format(form, ranked=True)
    (tmp_path / name).write_bytes(how.header() + b"".join(map(how.record, ROWS)))
    rows = GivenRows(tmp_path / name)
    assert taken(rows) == TAKEN and taken(rows) == TAKEN
    assert rows.most == 2 and rows.has_confidence and not rows.reviewed
    assert rows.left_out() == "1 row without a caption"
    assert [(row.error, row.rank) for row in rows] == [(None, None)] * 2


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_anybodys_csv_is_taken_in_any_order_of_columns(delimiter: str, end: str, tmp_path: Path) -> None:
    lines = [["id", "caption", "path"], ["1", "A dog.", "a.jpg"], ["2", '"A; cat, or\ttwo"', "b.jpg"]]
    text = "\ufeff" + end.join(delimiter.join(cells) for cells in lines)
    assert taken(given(tmp_path, text)) == [("a.jpg", "A dog."), ("b.jpg", "A; cat, or\ttwo")]


REVIEWED = "path,caption,review\na,A.,accepted\nb,B.,Edited \nc,C.,rejected\nd,D.,\ne,,accepted\n"


def test_of_a_reviewed_file_approved_rows_alone_are_taken(tmp_path: Path) -> None:
    rows = given(tmp_path, REVIEWED)
    assert taken(rows) == [("a", "A."), ("b", "B.")]
    assert rows.reviewed and all(row.approved for row in rows)
    told = "1 rejected, 1 not reviewed (--unreviewed takes such rows too), 1 row without a caption"
    assert rows.left_out() == told
    rows = given(tmp_path, REVIEWED, unreviewed=True)
    assert taken(rows) == [("a", "A."), ("b", "B."), ("d", "D.")]
    assert rows.left_out() == "1 rejected, 1 row without a caption"


def test_of_json_lines_one_review_makes_a_reviewed_file(tmp_path: Path) -> None:
    lines = [{"path": "a", "caption": "A."}, {"path": "b", "caption": "B.", "review": "edited"}]
    rows = given(tmp_path, "\n".join(map(json.dumps, lines)), "x.jsonl")
    assert taken(rows) == [("b", "B.")]
    assert rows.left_out() == "1 not reviewed (--unreviewed takes such rows too)"


def test_a_photo_is_named_once_however_its_path_is_spelled(tmp_path: Path) -> None:
    rows = given(tmp_path, "path,caption\na,A.\nb,B.\n./a,C.\nx/../a,D.\n")
    assert taken(rows) == [("a", "A."), ("b", "B.")]
    assert rows.left_out() == "2 rows of photos that earlier rows name"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("x.csv", "path,caption\n", "no caption is taken from it; it holds none"),
        ("x.csv", "path,caption,error\na,,broken\n", "no caption is taken from it: 1 row without a caption"),
        ("x.csv", "path,caption,review\na,A.,rejected\n", "no caption is taken from it: 1 rejected"),
        ("x.csv", "path,caption,review\na,A.,\n", "--unreviewed takes such rows too"),
        (
            "x.csv",
            "path,caption,review\na,A.,\nb,B.,yes\n",
            "line 3: review is 'yes'; it must be accepted",
        ),
        ("x.csv", "image,text\na,A.\n", "line 1: the header names no columns path and caption"),
        ("x.csv", "path,caption\na,A.\n,B.\n", "line 3: it names no photo"),
        ("x.csv", 'path,caption\na,A.\nb,"B\n', "line 3: a quote is not closed"),
        ("x.jsonl", '{"path": "a"}\n', "line 1: no 'caption'"),
        ("x.xlsx", "PK", "its suffix names no format; captions are taken from .csv"),
    ],
)
def test_what_cannot_be_understood_is_told_before_anything_is_taken(
    name: str, text: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError) as refused:
        given(tmp_path, text, name)
    assert str(refused.value).startswith(f"{tmp_path / name}: ") and message in str(refused.value)


def test_what_is_no_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.csv: cannot be read: no such file"):
        GivenRows(tmp_path / "none.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(UsageError, match=r"folder\.csv: is no regular file"):
        GivenRows(tmp_path / "folder.csv")
