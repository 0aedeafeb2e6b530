"""Rows become text, CSV, TSV and JSON Lines, and come back byte for byte."""

from __future__ import annotations

import csv
import io
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from capcli.errors import UsageError
from capcli.outputs.cells import CsvSplitter
from capcli.outputs.records import RecordError, Records, read_rows
from capcli.outputs.rows import Row, format_of, holds_raw_bytes, row_format
from tests.texts import texts

PATHS = st.binary(min_size=1, max_size=20).filter(lambda path: b"\0" not in path).map(os.fsdecode)
TEXT = texts("\0\n\r\t\"',;=\ufeff", exclude_categories=["Cs"], min_size=1, max_size=30)
ROWS = st.lists(
    st.one_of(
        st.builds(
            Row,
            PATHS,
            TEXT,
            st.floats(-9, 0).map(lambda score: round(score, 4)),
            st.none(),
            confidence=st.one_of(st.none(), st.floats(0, 1).map(lambda value: round(value, 4))),
            note=st.one_of(st.none(), TEXT),
        ),
        st.builds(Row, PATHS, st.none(), st.none(), TEXT),
    ),
    max_size=6,
)


@pytest.mark.parametrize("name", ["csv", "tsv", "jsonl", "text"])
@given(rows=ROWS)
@example(rows=[Row("\x01", "\0", None, None)])
@settings(max_examples=60, deadline=None)
def test_rows_come_back_as_they_were(name: str, rows: list[Row], tmp_path_factory: pytest.TempPathFactory) -> None:
    form = row_format(name, ranked=False)
    file = tmp_path_factory.mktemp("rows") / "out"
    file.write_bytes(form.header() + b"".join(form.record(row) for row in rows))
    if name == "text":
        # It has no more than the captions.
        rows = [Row(row.path, row.caption, None, None) for row in rows if row.caption is not None]
    assert list(read_rows(file, name)) == rows
    assert name == "csv" or file.read_bytes().count(b"\n") == len(rows) + bool(form.header())


@pytest.mark.parametrize("name", ["csv", "tsv", "jsonl"])
def test_a_path_of_nothing_but_space_is_a_path(name: str, tmp_path: Path) -> None:
    form = row_format(name, ranked=False)
    rows = [Row(" ", None, None, " "), Row("\x0b", None, None, " "), Row("a", "A dog.", -0.5, None)]
    (tmp_path / "out").write_bytes(form.header() + b"".join(map(form.record, rows)) + b"\n  \n")
    assert list(read_rows(tmp_path / "out", name)) == rows


@pytest.mark.parametrize("name", ["csv", "tsv"])
@given(rows=ROWS, safe=st.booleans())
@settings(max_examples=60, deadline=None)
def test_spreadsheet_safe_rows_come_back_as_they_were(name: str, rows: list[Row], safe: bool) -> None:
    rows = [replace(row, path="=" + row.path) for row in rows] + [replace(row, path="'" + row.path) for row in rows]
    form = row_format(name, ranked=False, spreadsheet_safe=safe)
    content = form.header() + b"".join(form.record(row) for row in rows)
    records = list(Records(io.BytesIO(content), name, columns=form.columns, spreadsheet_safe=safe))
    assert [record.row for record in records] == rows
    assert b"".join(content[record.start : record.end] for record in records) == content[len(form.header()) :]


@pytest.mark.parametrize("cell", ["=1+1", "-5 degrees.", "'s dog", "'", "''=1"])
def test_what_a_person_typed_into_such_a_file_loses_nothing_but_its_own_apostrophe(cell: str) -> None:
    form = row_format("tsv", ranked=False, spreadsheet_safe=True)
    content = form.header() + f"a.jpg\t{cell}\t\t\t\t\n".encode()
    (record,) = Records(io.BytesIO(content), "tsv", columns=form.columns, spreadsheet_safe=True)
    assert record.row.caption == ("'=1" if cell == "''=1" else cell)


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠"])
def test_no_cell_of_a_spreadsheet_is_a_formula(start: str) -> None:
    record = row_format("csv", ranked=False, spreadsheet_safe=True).record(
        Row(f"{start}cmd|' /C calc'!A0", f"{start}1+1", -0.5, None)
    )
    (cells,) = csv.reader(io.StringIO(record.decode(), newline=""))
    assert cells == [f"'{start}cmd|' /C calc'!A0", f"'{start}1+1", "-0.5000", "", "", ""]
    failed = row_format("csv", ranked=False, spreadsheet_safe=True).record(Row("a", None, None, f"{start}1+1"))
    assert next(csv.reader(io.StringIO(failed.decode(), newline="")))[3] == f"'{start}1+1"
    noted = row_format("csv", ranked=False, spreadsheet_safe=True).record(
        Row("a", "A dog.", None, None, note=f"{start}1+1")
    )
    assert next(csv.reader(io.StringIO(noted.decode(), newline="")))[5] == f"'{start}1+1"
    plain = row_format("csv", ranked=False).record(Row(f"{start}x", None, None, None))
    assert next(csv.reader(io.StringIO(plain.decode(), newline="")))[0] == f"{start}x"


@pytest.mark.parametrize("name", ["text", "jsonl"])
def test_spreadsheet_safety_is_refused_where_no_spreadsheet_reads(name: str) -> None:
    with pytest.raises(UsageError, match="--spreadsheet-safe"):
        row_format(name, ranked=False, spreadsheet_safe=True)


@pytest.mark.parametrize("name", ["csv", "tsv", "jsonl"])
def test_ranks_are_a_column_only_where_asked_for(name: str, tmp_path: Path) -> None:
    rows = [Row("a.jpg", "A dog.", -0.5, None, 1), Row("a.jpg", "A cat.", -0.75, None, 2)]
    form = row_format(name, ranked=True)
    file = tmp_path / "out"
    file.write_bytes(form.header() + b"".join(form.record(row) for row in rows))
    assert list(read_rows(file, name)) == rows
    assert b"rank" not in row_format(name, ranked=False).record(rows[0])


@pytest.mark.parametrize("name", ["csv", "tsv", "jsonl", "text"])
def test_a_byte_order_mark_is_one_only_at_the_start_of_a_file(name: str, tmp_path: Path) -> None:
    form = row_format(name, ranked=False)
    rows = [Row(path, "A dog.", None, None) for path in ("a.jpg", "\ufeffb.jpg")]
    (tmp_path / "x").write_bytes(b"\xef\xbb\xbf" + form.header() + b"".join(map(form.record, rows)))
    assert list(read_rows(tmp_path / "x", name)) == rows


def test_a_file_saved_by_a_spreadsheet_is_read(tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    file.write_bytes(b"\xef\xbb\xbfpath,caption,score,error\r\na.jpg,A dog.,-0.5000,\r\n")
    assert list(read_rows(file, "csv")) == [Row("a.jpg", "A dog.", -0.5, None)]


@pytest.mark.parametrize("cell", ["a\\", "a\\x"])
def test_half_an_escape_is_an_error_of_the_file(cell: str, tmp_path: Path) -> None:
    file = tmp_path / "x.tsv"
    file.write_text(f"path\tcaption\tscore\terror\n{cell}\tA dog.\t-0.5\t\n")
    with pytest.raises(ValueError, match="begins no escape"):
        list(read_rows(file, "tsv"))


@pytest.mark.parametrize("wrong", ['"a', '"a"b', '"a\nb'])
def test_a_line_of_csv_that_is_none_changes_nothing_in_the_next(wrong: str) -> None:
    splitter = CsvSplitter(",")
    with pytest.raises(ValueError, match="quote"):
        splitter.split(wrong)
    assert splitter.split('"c, d",e') == ["c, d", "e"]


def test_csv_is_what_the_standard_says() -> None:
    form = row_format("csv", ranked=False)
    record = form.record(Row('a "b", c\n.jpg', "A dog.", -0.123456, None, None, 0.51239, "b.txt exists"))
    assert form.header() == b"path,caption,score,error,confidence,note\r\n"
    assert record == b'"a ""b"", c\n.jpg",A dog.,-0.1235,,0.5124,b.txt exists\r\n'
    (cells,) = csv.reader(io.StringIO(record.decode(), newline=""))
    assert cells == ['a "b", c\n.jpg', "A dog.", "-0.1235", "", "0.5124", "b.txt exists"]


def test_tsv_and_text_are_one_line_a_row() -> None:
    row = Row("a\tb\\c\r\n.jpg", "A dog.", -0.5, None)
    assert row_format("tsv", ranked=False).record(row) == b"a\\tb\\\\c\\r\\n.jpg\tA dog.\t-0.5000\t\t\t\n"
    assert row_format("text", ranked=False).record(row) == b"a\\tb\\\\c\\r\\n.jpg\tA dog.\n"
    assert row_format("text", ranked=False, with_path=False).record(row) == b"A dog.\n"
    assert row_format("text", ranked=False).record(Row("a", None, None, "is empty")) == b""


def test_json_writes_undecodable_bytes_as_escapes_and_text_as_it_is() -> None:
    form = row_format("jsonl", ranked=False)
    record = form.record(Row(os.fsdecode(b"\xff.jpg"), "A dog.", -0.12346, None, None, 0.98765))
    assert b"\\udcff.jpg" in record
    expected = {"path": "\udcff.jpg", "caption": "A dog.", "score": -0.1235, "error": None}
    assert json.loads(record) == {**expected, "confidence": 0.9877, "note": None}
    assert "über".encode() in form.record(Row("über.jpg", "A dog.", -1, None))


@pytest.mark.parametrize(
    "row",
    [
        Row("a", None, None, "\udcff.jpg fell"),
        Row("a", "A \udcff.", -1, None),
        Row("a", "A dog.", -1, None, note="\udcff.txt exists"),
    ],
)
def test_json_is_utf8_whatever_a_row_holds(row: Row) -> None:
    values = json.loads(row_format("jsonl", ranked=False).record(row).decode("utf-8"))
    assert (values["caption"], values["error"], values["note"]) == (row.caption, row.error, row.note)


def test_numbers_that_a_program_wrote_as_texts_are_numbers(tmp_path: Path) -> None:
    values = {"path": "a", "rank": "2", "caption": "A dog.", "score": "-0.5", "confidence": "0.25"}
    (tmp_path / "x").write_text(json.dumps(values) + "\n")
    (row,) = read_rows(tmp_path / "x", "jsonl")
    assert (row.rank, row.score, row.confidence) == (2, -0.5, 0.25)


def test_words_are_told_one_by_one_with_four_decimals() -> None:
    row = Row("a", "A dog.", -0.5, None, words=(("a", -0.123456), ("dog", -1.0), ("", -0.00004)))
    values = json.loads(row_format("jsonl", ranked=False, words=True).record(row))
    assert values["words"] == [["a", -0.1235], ["dog", -1.0], ["", -0.0]] and list(values)[-1] == "words"
    assert "words" not in json.loads(row_format("jsonl", ranked=False).record(row))
    with pytest.raises(UsageError, match=r"--words is for JSON Lines \(--json\), not for csv"):
        row_format("csv", ranked=False, words=True)


def test_columns_in_another_order_are_other_columns() -> None:
    form = row_format("csv", ranked=False)
    for more in (b"", b",confidence,note"):
        content = b"caption,path,score,error" + more + b"\r\nA dog.,a.jpg,-0.5," + b"," * more.count(b",") + b"\r\n"
        with pytest.raises(
            RecordError, match=r"line 1: the columns are caption, path, score, error.* instead of path, "
        ):
            list(Records(io.BytesIO(content), "csv", columns=form.columns))
    assert [record.row for record in Records(io.BytesIO(content), "csv")] == [Row("a.jpg", "A dog.", -0.5, None)]


@pytest.mark.parametrize("name", ["csv", "tsv", "jsonl", "text"])
def test_a_last_line_without_end_is_read(name: str, tmp_path: Path) -> None:
    form = row_format(name, ranked=False)
    rows = [Row(path, "A dog.", None if name == "text" else -0.5, None) for path in ("a", "b")]
    file = tmp_path / "x"
    file.write_bytes((form.header() + b"".join(map(form.record, rows))).rstrip(b"\r\n"))
    assert list(read_rows(file, name)) == rows


def test_a_byte_order_mark_is_for_spreadsheets_alone(tmp_path: Path) -> None:
    for name in ("csv", "tsv"):
        header = row_format(name, ranked=False, bom=True).header()
        assert header == b"\xef\xbb\xbf" + row_format(name, ranked=False).header()
    for name in ("jsonl", "text"):
        with pytest.raises(UsageError, match=f"--bom is for csv and tsv, not for {name}"):
            row_format(name, ranked=False, bom=True)


def test_names_that_are_not_utf8_are_raw_bytes_where_json_does_not_escape_them() -> None:
    odd, plain = Row(os.fsdecode(b"\xff.jpg"), "A dog.", -1, None), Row("über.jpg", "A dog.", -1, None)
    for name in ("csv", "tsv", "text", "jsonl"):
        form = row_format(name, ranked=False)
        assert holds_raw_bytes(form, [plain, odd]) == (name != "jsonl")
        assert not holds_raw_bytes(form, [plain])


def test_the_suffix_names_the_format() -> None:
    for suffix, name in (("csv", "csv"), ("TSV", "tsv"), ("jsonl", "jsonl"), ("txt", "text")):
        assert format_of(Path(f"x.{suffix}"), None) == name
    assert format_of(Path("x.dat"), "csv") == "csv"
    assert format_of(None, None) == "text"
    with pytest.raises(UsageError, match="suffix"):
        format_of(Path("x.xlsx"), None)
    with pytest.raises(UsageError, match="no format 'xml'"):
        format_of(None, "xml")
