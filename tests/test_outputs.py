"""Rows become text, CSV, TSV and JSON Lines, and come back byte for byte."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capcli.errors import OutputError, UsageError
from capcli.outputs import OutputFile, Row, format_of, read_rows, row_format

PATHS = st.binary(min_size=1, max_size=20).filter(lambda path: b"\0" not in path).map(os.fsdecode)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
ROWS = st.lists(
    st.one_of(
        st.builds(Row, PATHS, TEXT, st.floats(-9, 0).map(lambda score: round(score, 4)), st.none()),
        st.builds(Row, PATHS, st.none(), st.none(), TEXT),
    ),
    max_size=6,
)


@pytest.mark.parametrize("name", ["csv", "tsv", "jsonl"])
@given(rows=ROWS)
@settings(max_examples=60, deadline=None)
def test_rows_come_back_as_they_were(name: str, rows: list[Row], tmp_path_factory: pytest.TempPathFactory) -> None:
    form = row_format(name, ranked=False)
    file = tmp_path_factory.mktemp("rows") / "out"
    file.write_bytes(form.header() + b"".join(form.record(row) for row in rows))
    assert list(read_rows(file, name)) == rows


@pytest.mark.parametrize("name", ["csv", "tsv", "jsonl"])
def test_ranks_are_a_column_only_where_asked_for(name: str, tmp_path: Path) -> None:
    rows = [Row("a.jpg", "A dog.", -0.5, None, 1), Row("a.jpg", "A cat.", -0.75, None, 2)]
    form = row_format(name, ranked=True)
    file = tmp_path / "out"
    file.write_bytes(form.header() + b"".join(form.record(row) for row in rows))
    assert list(read_rows(file, name)) == rows
    assert b"rank" not in row_format(name, ranked=False).record(rows[0])


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


def test_csv_is_what_the_standard_says() -> None:
    form = row_format("csv", ranked=False)
    record = form.record(Row('a "b", c\n.jpg', "A dog.", -0.123456, None))
    assert form.header() == b"path,caption,score,error\r\n"
    assert record == b'"a ""b"", c\n.jpg",A dog.,-0.1235,\r\n'
    (cells,) = csv.reader(io.StringIO(record.decode(), newline=""))
    assert cells == ['a "b", c\n.jpg', "A dog.", "-0.1235", ""]


def test_tsv_and_text_are_one_line_a_row() -> None:
    row = Row("a\tb\\c\r\n.jpg", "A dog.", -0.5, None)
    assert row_format("tsv", ranked=False).record(row) == b"a\\tb\\\\c\\r\\n.jpg\tA dog.\t-0.5000\t\n"
    assert row_format("text", ranked=False).record(row) == b"a\\tb\\\\c\\r\\n.jpg\tA dog.\n"
    assert row_format("text", ranked=False, with_path=False).record(row) == b"A dog.\n"
    assert row_format("text", ranked=False).record(Row("a", None, None, "is empty")) == b""


def test_json_writes_undecodable_bytes_as_escapes_and_text_as_it_is() -> None:
    form = row_format("jsonl", ranked=False)
    record = form.record(Row(os.fsdecode(b"\xff.jpg"), "A dog.", -0.12346, None))
    assert b"\\udcff.jpg" in record
    assert json.loads(record) == {"path": "\udcff.jpg", "caption": "A dog.", "score": -0.1235, "error": None}
    assert "über".encode() in form.record(Row("über.jpg", "A dog.", -1, None))


def test_the_suffix_names_the_format() -> None:
    for suffix, name in (("csv", "csv"), ("TSV", "tsv"), ("jsonl", "jsonl"), ("txt", "text")):
        assert format_of(Path(f"x.{suffix}"), None) == name
    assert format_of(Path("x.dat"), "csv") == "csv"
    assert format_of(None, None) == "text"
    with pytest.raises(UsageError, match="suffix"):
        format_of(Path("x.xlsx"), None)
    with pytest.raises(UsageError, match="no format 'xml'"):
        format_of(None, "xml")


ROW = Row("a.jpg", "A dog.", -0.5, None)
CONTENT = b"path,caption,score,error\r\na.jpg,A dog.,-0.5000,\r\n"


def test_an_existing_file_is_replaced_only_when_told_and_only_by_a_row(tmp_path: Path) -> None:
    file = tmp_path / "out.csv"
    form = row_format("csv", ranked=False)
    with OutputFile(file, form, overwrite=False) as output:
        output.write(ROW)
    assert file.read_bytes() == CONTENT
    with pytest.raises(UsageError, match="--overwrite"):
        OutputFile(file, form, overwrite=False)
    OutputFile(file, form, overwrite=True).discard()
    assert file.read_bytes() == CONTENT
    with OutputFile(file, form, overwrite=True) as output:
        output.write(Row("b.jpg", None, None, "is empty"))
    assert file.read_bytes() == b"path,caption,score,error\r\nb.jpg,,,is empty\r\n"


def test_a_run_that_fails_before_its_first_row_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), OutputFile(tmp_path / "x.csv", row_format("csv", ranked=False), overwrite=False):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_every_row_is_on_disk_as_soon_as_it_is_written(tmp_path: Path) -> None:
    output = OutputFile(tmp_path / "x.csv", row_format("csv", ranked=False), overwrite=False)
    output.write(ROW)
    assert (tmp_path / "x.csv").read_bytes() == CONTENT
    output.close()


def test_a_file_that_another_run_writes_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    code = (
        "import sys; from pathlib import Path; from capcli.outputs import *\n"
        "OutputFile(Path(sys.argv[1]), row_format('csv', ranked=False), overwrite=True)"
    )
    with OutputFile(file, row_format("csv", ranked=False), overwrite=False):
        done = subprocess.run([sys.executable, "-c", code, file], capture_output=True, text=True, check=False)
    assert "is being written by another run" in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_told(tmp_path: Path) -> None:
    link = tmp_path / "x.csv"
    link.symlink_to("/dev/full")
    output = OutputFile(link, row_format("csv", ranked=False), overwrite=True)
    with pytest.raises(OutputError, match=r"x\.csv: cannot be written: no space is left"):
        output.write(ROW)


def test_folders_and_missing_folders_are_told(tmp_path: Path) -> None:
    form = row_format("csv", ranked=False)
    with pytest.raises(OutputError, match="is a folder"):
        OutputFile(tmp_path, form, overwrite=True)
    with pytest.raises(OutputError, match="cannot be written: no such file"):
        OutputFile(tmp_path / "no" / "x.csv", form, overwrite=False)
