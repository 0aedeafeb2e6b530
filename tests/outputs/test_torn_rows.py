"""What a kill cannot have left at the end of an output file is never cut away: kept, or refused by its line."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from capcli.errors import UsageError
from capcli.outputs.output_file import Existing, OutputFile
from capcli.outputs.records import read_rows
from capcli.outputs.rows import Row, row_format

HEADERS = {
    "csv": b"path,caption,score,error,confidence,note\r\n",
    "tsv": b"path\tcaption\tscore\terror\tconfidence\tnote\n",
    "jsonl": b"",
    "text": b"",
}
MARK = b"\xef\xbb\xbf"


def row(path: str) -> Row:
    return Row(path, "A dog.", -0.5, None)


def sixty(name: str) -> list[bytes]:
    form = row_format(name, ranked=False)
    return [HEADERS[name], *(form.record(row(f"{number}.jpg")) for number in range(1, 61))]


def resume(file: Path, name: str, *paths: str, captions: int = 1) -> list[str]:
    """Goes on with a file; returns what the user is told."""
    with OutputFile(file, row_format(name, ranked=captions > 1), existing=Existing.RESUME, captions=captions) as output:
        for path in paths:
            if output.claim(path):
                output.write([row(path)])
        return output.notes


def refusal(file: Path, content: bytes, name: str) -> str:
    """What the user is told of a file that is refused."""
    file.write_bytes(content)
    with pytest.raises(UsageError, match="cannot be gone on with") as caught:
        resume(file, name, "new.jpg")
    return str(caught.value)


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (b'10.jpg,A 5" nail.,-0.5000,,,\r\n', "line 11: a quote stands within a cell"),
        (b'10.jpg,"A nail.,-0.5000,,,\r\n', "line 11: a quote is never closed"),
        (b'"10.jpg,A nail.,-0.5000,,,\r\n', "line 11: a quote is never closed"),
        (b'10.jpg,A nail.,-0.5000,,,"\r\n', "line 11: a quote is never closed"),
    ],
)
@pytest.mark.parametrize("following", [50, 0])
def test_a_quote_typed_by_hand_loses_no_row(typed: bytes, message: str, following: int, tmp_path: Path) -> None:
    lines = sixty("csv")
    lines[10] = typed
    if following == 0 and typed.endswith(b'"\r\n'):
        # Of the last row alone nobody can say; it is done again.
        (tmp_path / "x.csv").write_bytes(b"".join(lines[:11]))
        assert resume(tmp_path / "x.csv", "csv", "10.jpg") == [
            f"{tmp_path / 'x.csv'}: line 11 was not written to its end; that photo is done again"
        ]
        return
    content = b"".join(lines[: 11 + following])
    assert message in refusal(tmp_path / "x.csv", content, "csv")
    assert (tmp_path / "x.csv").read_bytes() == content


def test_a_quote_that_is_never_closed_is_found_without_reading_everything_into_memory(tmp_path: Path) -> None:
    lines = sixty("csv")
    lines[10] = b'10.jpg,A 5" nail.,-0.5000,,,\r\n'
    content = b"".join(lines) + lines[20] * 500_000
    tracemalloc.start()
    try:
        assert "line 11: a quote is never closed" in refusal(tmp_path / "x.csv", content, "csv")
        assert tracemalloc.get_traced_memory()[1] < len(content) / 4
    finally:
        tracemalloc.stop()
    assert (tmp_path / "x.csv").read_bytes() == content


def test_two_quotes_typed_by_hand_are_told_by_the_first(tmp_path: Path) -> None:
    lines = sixty("csv")
    lines[10] = lines[30] = b'10.jpg,A 5" nail.,-0.5000,,,\r\n'
    content = b"".join(lines)
    told = refusal(tmp_path / "x.csv", content, "csv")
    assert "line 11: a quote is not closed, or stands within a cell" in told
    assert (tmp_path / "x.csv").read_bytes() == content


@pytest.mark.parametrize("name", ["csv", "tsv", "jsonl", "text"])
def test_line_ends_of_old_macs_are_refused(name: str, tmp_path: Path) -> None:
    content = b"".join(sixty(name)).replace(b"\r\n", b"\n").replace(b"\n", b"\r")
    assert "line 1: its lines end with CR alone" in refusal(tmp_path / "x", content, name)
    assert (tmp_path / "x").read_bytes() == content


def test_only_the_end_with_such_line_ends_is_refused_too(tmp_path: Path) -> None:
    lines = sixty("csv")
    content = b"".join(lines[:30]) + b"".join(lines[30:]).replace(b"\r\n", b"\r")
    assert "line 31: its lines end with CR alone" in refusal(tmp_path / "x.csv", content, "csv")
    assert (tmp_path / "x.csv").read_bytes() == content


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("text", b"Buy milk", "line 1: has no end"),
        ("text", b"milk\t2 litres", "line 1: has no end"),
        ("csv", b"Buy milk", "line 1: is no header that capcli wrote"),
        ("csv", b"path,name", "line 1: is no header that capcli wrote"),
        ("tsv", b"Buy milk", "line 1: is no header that capcli wrote"),
        ("jsonl", b"Buy milk", "line 1: is no row"),
        ("jsonl", b"[" * 100_000 + b"\n", "line 1: "),
        ("jsonl", b'{"path": "a.jpg"}', "line 1: is no row"),
        ("jsonl", b'{"path": "a.jpg", "words": "A horse."}', "line 1: is no row"),
        ("jsonl", b"5\n", "line 1: is no JSON object"),
        ("csv", HEADERS["csv"].decode().encode("utf-16"), "line 1: the file is in UTF-16"),
        ("csv", HEADERS["csv"].decode().encode("utf-16-le"), "line 1: the file is in UTF-16"),
        (
            "tsv",
            (HEADERS["tsv"] + b"a\tA dog.\t-0.5\t\t\t\n").decode().encode("utf-16"),
            "line 1: the file is in UTF-16",
        ),
        ("csv", HEADERS["csv"] + b"a,b,c,d,e,f,g", "line 2: 7 cells instead of 6"),
        ("tsv", HEADERS["tsv"] + b"a\tb\tc\td\te\tf\tg", "line 2: 7 cells instead of 6"),
        ("csv", HEADERS["csv"] + b"x" * 65536, "line 2: is longer than any row"),
        ("jsonl", b'{"path": "' + b"x" * 65536, "line 1: is longer than any row"),
        ("csv", HEADERS["csv"] + b"\0" * (1 << 21), "line 2: 2097152 NUL bytes follow"),
    ],
)
def test_what_no_run_wrote_stays(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    assert message in refusal(tmp_path / "x", content, name)
    assert (tmp_path / "x").read_bytes() == content


def test_a_text_of_somebodys_own_stays_where_nothing_is_left_to_do(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_bytes(b"Buy milk")
    with pytest.raises(UsageError, match="line 1: has no end"):
        resume(file, "text")
    form = row_format("text", ranked=False)
    with pytest.raises(UsageError), OutputFile(file, form, existing=Existing.RESUME) as output:
        output.write([Row("a.jpg", None, None, "is empty")])
        output.write([row("a.jpg")])
    assert file.read_bytes() == b"Buy milk"
    # A path that ends is one of a run's only if it is the very path.
    file.write_bytes(b"milk\t2 lit")
    with pytest.raises(UsageError, match="line 1: has no end"):
        resume(file, "text", "milkman.jpg")
    assert file.read_bytes() == b"milk\t2 lit"
    resume(file, "text", "milk")
    assert file.read_bytes() == b"milk\tA dog.\n"


@pytest.mark.parametrize(
    ("name", "last"),
    [
        ("csv", b"hand.jpg,A horse.,,,,"),
        ("csv", b'"hand.jpg","A horse.",,,,""'),
        ("csv", b"hand.jpg,A horse.,,,,\r"),
        ("tsv", b"hand.jpg\tA horse.\t\t\t\t"),
        ("tsv", b"hand.jpg\tA horse.\t\t\t\t\r"),
        ("jsonl", b'{"path": "hand.jpg", "caption": "A horse."}'),
        ("jsonl", b'{"caption": "A horse.", "path": "hand.jpg"}\r'),
    ],
)
def test_a_last_row_written_by_hand_is_kept_where_it_is_whole(name: str, last: bytes, tmp_path: Path) -> None:
    file = tmp_path / "x"
    before = HEADERS[name] + row_format(name, ranked=False).record(row("a.jpg")) + last
    file.write_bytes(before)
    assert resume(file, name, "hand.jpg", "a.jpg", "b.jpg") == []
    end = b"\n" if last.endswith(b"\r") or name != "csv" else b"\r\n"
    assert file.read_bytes() == before + end + row_format(name, ranked=False).record(row("b.jpg"))
    assert list(read_rows(file, name)) == [row("a.jpg"), Row("hand.jpg", "A horse.", None, None), row("b.jpg")]


@pytest.mark.parametrize(
    ("name", "last"),
    [
        ("csv", b"hand.jpg,A horse."),
        ("csv", b"hand.jpg,A horse.,-0.5,it fell"),
        # What is told of a failure may go on.
        ("csv", b"hand.jpg,A horse.,-0.5,it fell,,"),
        ("csv", b"hand.jpg,,,it fell,,"),
        ("tsv", b"hand.jpg\t\t\tit fell\t\t"),
        ("csv", b"hand.jpg,,,"),
        ("csv", b'"two\nlines, ha'),
        ("csv", b'"two\nlines\rand a half'),
        ("tsv", b"hand.jpg\tA horse."),
        ("jsonl", b'{"path": "hand.jpg", "caption": "A horse."'),
        ("text", b"hand.jpg\tA horse."),
        ("text", b"hand.jpg\tA horse,"),
    ],
)
def test_a_last_row_that_may_be_a_part_is_done_again_and_told(name: str, last: bytes, tmp_path: Path) -> None:
    file = tmp_path / "x"
    record = row_format(name, ranked=False).record
    before = HEADERS[name] + record(row("a.jpg"))
    file.write_bytes(before + last)
    line = before.count(b"\n") + 1
    told = resume(file, name, "a.jpg", "hand.jpg")
    assert told == [f"{file}: line {line} was not written to its end; that photo is done again"]
    assert file.read_bytes() == before + record(row("hand.jpg"))


@pytest.mark.parametrize("name", ["csv", "tsv", "jsonl", "text"])
@pytest.mark.parametrize("torn", [b"", b"{"])
def test_nul_bytes_of_a_crash_are_dropped_and_told(name: str, torn: bytes, tmp_path: Path) -> None:
    file = tmp_path / "x"
    record = row_format(name, ranked=False).record
    before = HEADERS[name] + record(row("a.jpg"))
    file.write_bytes(before + torn + bytes(5000))
    told = resume(file, name, "a.jpg", "b.jpg")
    assert "ends in NUL bytes, as a crash leaves them" in told[0]
    assert len(told) == (2 if torn else 1)
    assert file.read_bytes() == before + record(row("b.jpg"))


@pytest.mark.parametrize("name", ["csv", "tsv", "jsonl", "text"])
@pytest.mark.parametrize("mark", [b"", MARK])
@pytest.mark.parametrize("more", [b"", b"\r\n\r\n"])
def test_what_an_editor_saved_is_gone_on_with(name: str, mark: bytes, more: bytes, tmp_path: Path) -> None:
    """Windows' line ends, a byte order mark, empty lines: all of it stays."""
    file = tmp_path / "x"
    before = mark + b"".join(line.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n") for line in sixty(name)) + more
    file.write_bytes(before)
    assert resume(file, name, *(f"{number}.jpg" for number in range(1, 61))) == []
    assert file.read_bytes() == before
    assert resume(file, name, "1.jpg", "new.jpg") == []
    assert file.read_bytes() == before + row_format(name, ranked=False).record(row("new.jpg"))


@pytest.mark.parametrize("mark", [b"", MARK])
def test_a_header_alone_keeps_its_bytes(mark: bytes, tmp_path: Path) -> None:
    file = tmp_path / "x.tsv"
    before = mark + HEADERS["tsv"].replace(b"\n", b"\r\n")
    file.write_bytes(before)
    resume(file, "tsv", "new.jpg")
    assert file.read_bytes() == before + row_format("tsv", ranked=False).record(row("new.jpg"))


@pytest.mark.parametrize("cut", [1, 2, 3, 9])
def test_a_file_that_was_to_have_a_mark_gets_it_whoever_goes_on(cut: int, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes((MARK + HEADERS["csv"])[:cut])
    assert resume(tmp_path / "x.csv", "csv", "a.jpg") == []
    record = row_format("csv", ranked=False).record(row("a.jpg"))
    assert (tmp_path / "x.csv").read_bytes() == MARK + HEADERS["csv"] + record


def test_rows_that_a_person_sorted_stay_all_of_them(tmp_path: Path) -> None:
    """By score: the rows of a path lie apart, and the last ones are fewer than a path has."""
    form = row_format("csv", ranked=True)
    rows = [Row(path, f"Words {rank}.", -0.1 * rank, None, rank) for rank in (1, 2, 3) for path in ("a", "b", "c")]
    by_path = sorted(rows, key=lambda row: row.path)
    # All in place but one, which lies at the end and looks like the first of those that a kill has cut off.
    one_moved = [*by_path[:3], *by_path[4:], by_path[3]]
    for ordered in (rows, rows[::-1], one_moved):
        file = tmp_path / "x.csv"
        before = form.header() + b"".join(map(form.record, ordered))
        file.write_bytes(before)
        assert resume(file, "csv", "a", "b", "c", captions=3) == []
        assert file.read_bytes() == before


def test_a_last_path_whose_first_rows_a_person_has_taken_away_is_done(tmp_path: Path) -> None:
    form = row_format("csv", ranked=True)
    rows = [Row(path, f"Words {rank}.", -0.1 * rank, None, rank) for path in "ab" for rank in (1, 2, 3)]
    file = tmp_path / "x.csv"
    before = form.header() + b"".join(map(form.record, [*rows[:3], *rows[4:]]))
    file.write_bytes(before)
    # A kill leaves the first ones.
    assert resume(file, "csv", "a", "b", captions=3) == []
    assert file.read_bytes() == before


def test_the_last_path_is_measured_by_those_before_it(tmp_path: Path) -> None:
    """A run that asks for more captions than the file has does not take the last path for torn."""
    form = row_format("csv", ranked=True)
    before = form.header() + b"".join(form.record(Row(path, "Words.", -1, None, n)) for path in "ab" for n in (1, 2))
    file = tmp_path / "x.csv"
    file.write_bytes(before)
    assert resume(file, "csv", "a", "b", captions=5) == []
    assert file.read_bytes() == before
    file.write_bytes(before[: before.rindex(b"b,2")])
    assert resume(file, "csv", captions=5) == [f"{file}: line 4 was not written to its end; that photo is done again"]


def test_a_path_twice_is_made_one_only_where_both_say_the_same(tmp_path: Path) -> None:
    record = row_format("csv", ranked=False).record
    other = record(Row("a.jpg", "A horse.", -0.5, None))
    again = record(Row("a.jpg", "A dog.", -0.6, None))
    before = HEADERS["csv"] + record(row("a.jpg")) + record(row("b.jpg"))
    file = tmp_path / "x.csv"
    file.write_bytes(before + again + record(row("c.jpg")) + other)
    resume(file, "csv", "a.jpg")
    assert file.read_bytes() == before + record(row("c.jpg")) + other
