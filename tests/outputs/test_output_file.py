"""The output file: never lost, never doubled, gone on with wherever a kill has left it."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from capcli.errors import OutputError, UsageError
from capcli.outputs.output_file import Existing, OutputFile
from capcli.outputs.records import Records, read_rows
from capcli.outputs.rows import Row, row_format

ROW = Row("a.jpg", "A dog.", -0.5, None)
HEADER = b"path,caption,score,error,confidence,note\r\n"
CONTENT = HEADER + b"a.jpg,A dog.,-0.5000,,,\r\n"


def test_an_existing_file_is_replaced_only_when_told_and_only_by_a_row(tmp_path: Path) -> None:
    file = tmp_path / "out.csv"
    form = row_format("csv", ranked=False)
    with OutputFile(file, form) as output:
        output.write([ROW])
    assert file.read_bytes() == CONTENT
    with pytest.raises(UsageError, match="--overwrite"):
        OutputFile(file, form)
    OutputFile(file, form, existing=Existing.REPLACE).discard()
    assert file.read_bytes() == CONTENT
    with OutputFile(file, form, existing=Existing.REPLACE) as output:
        output.write([Row("b.jpg", None, None, "is empty")])
    assert file.read_bytes() == b"path,caption,score,error,confidence,note\r\nb.jpg,,,is empty,,\r\n"


def test_a_run_that_fails_before_its_first_row_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), OutputFile(tmp_path / "x.csv", row_format("csv", ranked=False)):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="no file that is open is deleted there")
@pytest.mark.parametrize("theirs", ["before", "after"])
def test_a_run_that_ends_takes_no_file_away_from_another(
    theirs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, form = tmp_path / "x.csv", row_format("csv", ranked=False)
    ours = OutputFile(file, form)
    others: list[OutputFile] = []
    unlink = Path.unlink

    def unlink_as_another_begins(path: Path, missing_ok: bool = False) -> None:
        with pytest.raises(OutputError, match="another run"):
            OutputFile(file, form, existing=Existing.RESUME)
        unlink(path, missing_ok)
        others.append(OutputFile(file, form, existing=Existing.RESUME))

    if theirs == "after":
        monkeypatch.setattr(Path, "unlink", unlink_as_another_begins)
    else:
        # Another program put its own file in this one's place.
        file.unlink()
        others.append(OutputFile(file, form))
    ours.discard()
    (other,) = others
    other.write([ROW])
    other.close()
    assert file.read_bytes() == CONTENT


def test_every_row_is_on_disk_as_soon_as_it_is_written(tmp_path: Path) -> None:
    output = OutputFile(tmp_path / "x.csv", row_format("csv", ranked=False))
    output.write([ROW])
    assert (tmp_path / "x.csv").read_bytes() == CONTENT
    output.close()


def test_a_file_that_another_run_writes_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    code = (
        "import sys; from pathlib import Path\n"
        "from capcli.outputs.rows import *; from capcli.outputs.output_file import *\n"
        "OutputFile(Path(sys.argv[1]), row_format('csv', ranked=False), existing=Existing.REPLACE)"
    )
    with OutputFile(file, row_format("csv", ranked=False)):
        done = subprocess.run([sys.executable, "-c", code, file], capture_output=True, text=True, check=False)
    assert "is being written by another run" in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_told(tmp_path: Path) -> None:
    link = tmp_path / "x.csv"
    link.symlink_to("/dev/full")
    output = OutputFile(link, row_format("csv", ranked=False), existing=Existing.REPLACE)
    with pytest.raises(OutputError, match=r"x\.csv: cannot be written: no space is left"):
        output.write([ROW])


def test_folders_and_missing_folders_are_told(tmp_path: Path) -> None:
    form = row_format("csv", ranked=False)
    with pytest.raises(OutputError, match="is a folder"):
        OutputFile(tmp_path, form, existing=Existing.REPLACE)
    with pytest.raises(OutputError, match="cannot be written: no such file"):
        OutputFile(tmp_path / "no" / "x.csv", form)


NAMES = [
    b"plain.jpg",
    b"a, b.jpg",
    b'say "hi".jpg',
    b"two\nlines.jpg",
    b"\xff\xfe.jpg",
    b"tab\t.jpg",
    b"=1+1.jpg",
    b"z\\.jpg",
]


def rows_of(path: str, captions: int) -> list[Row]:
    """What a run would say of a path; one of them cannot be read."""
    if path.startswith("a"):
        return [Row(path, None, None, "is empty")]
    if captions == 1:
        return [Row(path, f"A {len(path)}.", -0.5, None)]
    return [Row(path, f"A {len(path)} {rank}.", -0.5 * rank, None, rank) for rank in range(1, captions + 1)]


Opener = Callable[..., OutputFile]


def opener(file: Path, name: str, captions: int) -> Opener:
    form = row_format(name, ranked=captions > 1)
    return lambda **how: OutputFile(file, form, captions=captions, **how)


def write_all(output: OutputFile, paths: Iterable[str], captions: int) -> list[str]:
    """Does what a run does; returns the paths that were still to be done."""
    claimed = [path for path in paths if output.claim(path)]
    for path in claimed:
        output.write(rows_of(path, captions))
    output.close()
    return claimed


@pytest.mark.parametrize("captions", [1, 3])
@pytest.mark.parametrize("name", ["csv", "tsv", "jsonl", "text"])
def test_a_file_cut_anywhere_becomes_whole_again(name: str, captions: int, tmp_path: Path) -> None:
    paths = [os.fsdecode(path) for path in NAMES]
    whole_file, file = tmp_path / "whole", tmp_path / "cut"
    write_all(opener(whole_file, name, captions)(), paths, captions)
    whole = whole_file.read_bytes()
    for cut in range(len(whole) + 1):
        file.write_bytes(whole[:cut])
        again = write_all(opener(file, name, captions)(existing=Existing.RESUME), paths, captions)
        assert file.read_bytes() == whole, f"cut at byte {cut}"
        if cut == len(whole) and name != "text":
            assert again == []


def test_each_path_is_there_once(tmp_path: Path) -> None:
    open_ = opener(tmp_path / "x.csv", "csv", 1)
    assert write_all(open_(), ["b", "c", "b"], 1) == ["b", "c"]
    resumed = open_(existing=Existing.RESUME)
    assert resumed.kept == 2
    assert write_all(resumed, ["c", "d", "b", "d"], 1) == ["d"]
    assert [row.path for row in read_rows(tmp_path / "x.csv", "csv")] == ["b", "c", "d"]


def test_failures_are_kept_or_retried_and_told(tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    open_ = opener(file, "csv", 1)
    write_all(open_(), ["a1", "b", "a2", "c"], 1)
    resumed = open_(existing=Existing.RESUME)
    assert (resumed.kept, resumed.kept_failures) == (4, 2)
    assert write_all(resumed, ["a1", "b", "a2", "c"], 1) == []
    assert resumed.kept_failures == 2

    retried = open_(existing=Existing.RESUME, retry_failed=True)
    assert [path for path in ("a1", "b", "c") if retried.claim(path)] == ["a1"]
    # Once, whether its new row is there or not.
    assert not retried.claim("a1")
    retried.write([Row("a1", "A mended photo.", -0.1, None)])
    assert not retried.claim("a1")
    # Until it is closed nothing is lost: the old row is there too, and a killed run goes on from that.
    assert [row.path for row in read_rows(file, "csv")] == ["a1", "b", "a2", "c", "a1"]
    killed = file.read_bytes()
    retried.close()
    assert retried.kept_failures == 1
    wanted = [Row("b", "A 1.", -0.5, None), Row("a2", None, None, "is empty"), Row("c", "A 1.", -0.5, None)]
    mended = Row("a1", "A mended photo.", -0.1, None)
    assert list(read_rows(file, "csv")) == [*wanted, mended]
    assert sorted(tmp_path.iterdir()) == [file]

    retried = open_(existing=Existing.RESUME, retry_failed=True)
    del retried
    file.write_bytes(killed)
    resumed = open_(existing=Existing.RESUME)
    assert (resumed.kept, resumed.kept_failures) == (4, 1)
    assert write_all(resumed, ["a1"], 1) == []
    assert list(read_rows(file, "csv")) == [*wanted, mended]


def whole_records(file: Path) -> set[str]:
    with file.open("rb") as opened:
        return {record.row.path for record in Records(opened, "csv")}


@pytest.mark.parametrize("seed", range(5))
def test_retries_cut_anywhere_lose_nothing(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    file = tmp_path / "x.csv"
    paths = [f"{chance.choice('ab')}{number}" for number in range(30)]
    open_ = opener(file, "csv", 1)
    write_all(open_(), paths, 1)
    for _ in range(20):
        output = open_(existing=Existing.RESUME, retry_failed=True)
        before, written = whole_records(file), file.stat().st_size
        for path in [path for path in paths if output.claim(path)][: chance.randrange(20)]:
            output.write([Row(path, None, None, "is still empty")])
        content = file.read_bytes()
        # A kill keeps what earlier runs wrote; of this run's last record any part may be missing.
        lines = content.splitlines(keepends=True)
        file.write_bytes(content[: chance.randint(max(written, len(content) - len(lines[-1])), len(content))])
        output.discard()
        assert whole_records(file) >= before
    write_all(open_(existing=Existing.RESUME, retry_failed=True), paths, 1)
    assert sorted(row.path for row in read_rows(file, "csv")) == sorted(paths)


def test_a_compacted_file_keeps_its_link_and_its_permissions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, link = tmp_path / "real.csv", tmp_path / "link.csv"
    write_all(opener(file, "csv", 1)(), ["a1", "b"], 1)
    file.chmod(0o640)
    link.symlink_to(file)
    modes: list[int] = []
    open_ = os.open

    def watched(name: str, flags: int, mode: int = 0o777) -> int:
        modes.append(mode)
        return open_(name, flags, mode)

    output = opener(link, "csv", 1)(existing=Existing.RESUME, retry_failed=True)
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", watched)
        # As if the file were large.
        patch.setattr("capcli.outputs.compaction._COPY_BYTES", 3)
        write_all(output, ["a1"], 1)
    # Nobody else may look into the copy before it has the file's own permissions.
    assert modes == [0o600]
    assert link.is_symlink() and file.stat().st_mode & 0o777 == 0o640
    assert [row.path for row in read_rows(file, "csv")] == ["b", "a1"]
    assert sorted(tmp_path.iterdir()) == [link, file]


def test_a_kill_while_the_copy_is_made_leaves_nothing_that_stays(tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    open_ = opener(file, "csv", 1)
    write_all(open_(), ["a1", "b"], 1)
    code = (
        "import os, sys; from pathlib import Path; from capcli.outputs import files\n"
        "from capcli.outputs.rows import *; from capcli.outputs.output_file import *\n"
        "files.Draft.replace = lambda self: os._exit(9)\n"
        "file = OutputFile(Path(sys.argv[1]), row_format('csv', ranked=False), existing=Existing.RESUME,"
        " retry_failed=True)\n"
        "file.claim('a1'), file.write([Row('a1', 'A dog.', -0.5, None)]), file.close()"
    )
    assert subprocess.run([sys.executable, "-c", code, file], check=False).returncode == 9
    assert [row.path for row in read_rows(file, "csv")] == ["a1", "b", "a1"]
    assert len(list(tmp_path.iterdir())) == 2
    assert write_all(open_(existing=Existing.RESUME), ["a1", "b"], 1) == []
    assert [row.path for row in read_rows(file, "csv")] == ["b", "a1"]
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"name,age\r\nTom,3\r\n", "line 1: the columns are name, age instead of"),
        (b"path,rank,caption,score,error,confidence,note\r\n", "another --captions"),
        (
            b"path,caption,score,error,confidence,note\r\na.jpg,A dog.,-0.5,,,\r\nb.jpg,A dog.\r\n",
            "line 3: 2 cells instead of 6",
        ),
        (HEADER + b"a.jpg,A dog.,-0.5,,,,\r\n", "line 2: 7 cells instead of 6"),
        # Some readers would take it for: A dog.
        (HEADER + b'a.jpg,"A" dog.,-0.5,,,\r\n', "line 2: a quote is not closed, or stands within a cell"),
        (b"path,caption,score,error,confidence,note\r\na.jpg,A dog.,high,,,\r\n", "line 2: "),
        (b"\xff\xd8\xff\xe0 a photo\r\n", "line 1: "),
    ],
)
def test_a_file_of_something_else_is_left_alone(content: bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    file.write_bytes(content)
    with pytest.raises(UsageError, match="cannot be gone on with") as caught:
        opener(file, "csv", 1)(existing=Existing.RESUME)
    assert message in str(caught.value)
    assert file.read_bytes() == content


def test_lines_without_a_path_cannot_be_gone_on_with(tmp_path: Path) -> None:
    file = tmp_path / "x.txt"
    file.write_text("A dog.\n")
    with pytest.raises(UsageError, match="line 1: 1 cells instead of 2"):
        opener(file, "text", 1)(existing=Existing.RESUME)


def test_resuming_nothing_starts_a_file(tmp_path: Path) -> None:
    write_all(opener(tmp_path / "x.csv", "csv", 1)(existing=Existing.RESUME), ["b"], 1)
    assert (tmp_path / "x.csv").read_bytes() == b"path,caption,score,error,confidence,note\r\nb,A 1.,-0.5000,,,\r\n"


@pytest.mark.parametrize("ranked", [False, True])
@pytest.mark.parametrize("name", ["csv", "tsv", "jsonl"])
def test_a_file_of_an_earlier_version_is_gone_on_with_in_its_own_columns(
    name: str, ranked: bool, tmp_path: Path
) -> None:
    columns = ["path", *(["rank"] if ranked else []), "caption", "score", "error"]
    earlier = row_format(name, ranked=ranked).with_columns(columns)
    old, new = (Row(path, "A dog.", -0.5, None, 1 if ranked else None, 0.7, "noted") for path in ("old", "new"))
    for mark in (b"", b"\xef\xbb\xbf"):
        file = tmp_path / "x"
        before = mark + earlier.header() + earlier.record(old)
        file.write_bytes(before)
        with OutputFile(file, row_format(name, ranked=ranked), existing=Existing.RESUME) as output:
            assert not output.claim("old") and output.claim("new")
            output.write([new])
        assert file.read_bytes() == before + earlier.record(new)
        assert b"noted" not in file.read_bytes() and b"0.7" not in file.read_bytes()
