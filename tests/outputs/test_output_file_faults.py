"""The output file where disks, other runs and earlier kills get in the way."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from io import FileIO
from pathlib import Path

import pytest

from capcli.errors import OutputError, UsageError
from capcli.outputs import file_lock, output_file
from capcli.outputs.drafts import draft_path
from capcli.outputs.earlier_file import EarlierFile
from capcli.outputs.output_file import Existing, OutputFile
from capcli.outputs.records import read_rows
from capcli.outputs.rows import Row, row_format

HEADER = b"path,caption,score,error,confidence,note\r\n"


def row(path: str, error: str | None = None) -> Row:
    return Row(path, None, None, error) if error else Row(path, "A dog.", -0.5, None)


def opened(file: Path, existing: Existing = Existing.RESUME, **how: bool | int) -> OutputFile:
    form = row_format("csv", ranked=how.get("captions", 1) > 1)
    return OutputFile(file, form, existing=existing, **how)  # type: ignore[arg-type]


def paths(file: Path) -> list[str]:
    return [found.path for found in read_rows(file, "csv")]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Two rows, of which the first is a failure."""
    with opened(tmp_path / "x.csv") as output:
        output.write([row("a.jpg", "is empty")])
        output.write([row("b.jpg")])
    return tmp_path / "x.csv"


def retry(file: Path) -> None:
    with opened(file, retry_failed=True) as output:
        assert output.claim("a.jpg")
        output.write([row("a.jpg")])


class Writing:
    """Stands before an open file: its `write` takes a few bytes at a time, and no more than there is space for."""

    def __init__(self, file: FileIO, at_once: int, space: int | None = None) -> None:
        self._file, self._at_once, self._space = file, at_once, space

    def write(self, content: memoryview) -> int:
        if self._space is not None and self._space <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = self._file.write(content[: self._at_once])
        self._space = None if self._space is None else self._space - written
        return written

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)


def test_writes_that_take_only_a_few_bytes_lose_none(tmp_path: Path) -> None:
    output = opened(tmp_path / "x.csv")
    output._file = Writing(output._file, 3)  # type: ignore[assignment]
    output.write([row("a.jpg")])
    output.close()
    assert (tmp_path / "x.csv").read_bytes() == HEADER + b"a.jpg,A dog.,-0.5000,,,\r\n"


def test_a_disk_that_gets_full_keeps_no_half_record(file: Path) -> None:
    before = file.read_bytes()
    output = opened(file)
    output._file = Writing(output._file, 5, space=5)  # type: ignore[assignment]
    with pytest.raises(OutputError, match="no space is left on the disk"):
        output.write([row("c.jpg")])
    output.discard()
    assert file.read_bytes() == before


@pytest.mark.parametrize("space", range(0, len(HEADER) + 30, 4))
def test_what_is_written_after_a_disk_was_full_follows_what_is_whole(space: int, tmp_path: Path) -> None:
    """A new file has its header then, too, and no NUL byte stands for what had no room."""
    output = opened(tmp_path / "x.csv")
    file = output._file
    output._file = Writing(file, 5, space)  # type: ignore[assignment]
    for write in (output.write_first, output.write):
        try:
            write([row("a.jpg")])
        except OutputError:
            output._file = file
    output.write([row("b.jpg")])
    output.close()
    assert paths(tmp_path / "x.csv")[-1] == "b.jpg" and set(paths(tmp_path / "x.csv")) <= {"a.jpg", "b.jpg"}
    assert (tmp_path / "x.csv").read_bytes().startswith(HEADER)


def test_the_copy_without_old_rows_is_on_the_disk_before_it_takes_their_place(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace

    def watched_fsync(descriptor: int) -> None:
        calls.append("fsync")
        fsync(descriptor)

    def watched_replace(old: str, new: str) -> None:
        calls.append("replace")
        replace(old, new)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "replace", watched_replace)
    retry(file)
    assert calls == ["fsync", "replace"] and paths(file) == ["b.jpg", "a.jpg"]


def test_a_copy_that_cannot_take_the_files_place_goes(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(old: str, new: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(OutputError, match="no space"):
            retry(file)
    assert os.listdir(file.parent) == ["x.csv"] and paths(file) == ["a.jpg", "b.jpg", "a.jpg"]
    # The next run ends it, and takes away what a kill might have left.
    Path(draft_path(str(file))).write_text("left over")
    with opened(file):
        pass
    assert os.listdir(file.parent) == ["x.csv"] and paths(file) == ["b.jpg", "a.jpg"]


def test_a_file_that_was_replaced_before_it_was_locked_is_opened_again(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = file.parent / "newer"
    newer.write_bytes(HEADER + b"newer.jpg,A cat.,-0.5000,,,\r\n")
    lock: Callable[[FileIO], bool] = file_lock.try_lock
    calls: list[FileIO] = []

    def replaced_first(opened: FileIO) -> bool:
        if not calls:
            newer.replace(file)
        calls.append(opened)
        return lock(opened)

    monkeypatch.setattr(output_file, "try_lock", replaced_first)
    with opened(file) as output:
        assert not output.claim("newer.jpg") and output.claim("b.jpg")
        output.write([row("b.jpg")])
    assert len(calls) == 2 and paths(file) == ["newer.jpg", "b.jpg"]


def test_a_file_that_came_up_meanwhile_is_not_emptied(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = file.read_bytes()
    monkeypatch.setattr(Path, "exists", lambda self: False)
    for existing in Existing:
        with pytest.raises(UsageError, match="exists"):
            opened(file, existing)
    assert file.read_bytes() == before


def test_disks_that_know_no_locks_are_written_all_the_same(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(opened: FileIO) -> bool:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(output_file, "try_lock", no_locks)
    retry(file)
    assert paths(file) == ["b.jpg", "a.jpg"]


@pytest.mark.skipif(os.name == "nt", reason="an open file cannot be deleted there")
def test_a_run_that_ends_takes_away_no_file_of_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one opens it just before it goes, and finds out when it has the lock."""
    file = tmp_path / "x.csv"
    first = opened(file)
    lock: Callable[[FileIO], bool] = file_lock.try_lock

    def ends_first(opened: FileIO) -> bool:
        first.discard()
        return lock(opened)

    monkeypatch.setattr(output_file, "try_lock", ends_first)
    with opened(file) as second:
        second.write([row("a.jpg")])
    assert paths(file) == ["a.jpg"]
    # And once more after its end, it has nothing to take away.
    first.discard()
    assert paths(file) == ["a.jpg"]


def test_the_last_path_is_done_where_its_only_row_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    with opened(file, captions=3) as output:
        output.write([Row("b.jpg", "A dog.", -0.5, None, rank) for rank in (1, 2, 3)])
        output.write([row("a.jpg", "is empty")])
    before = file.read_bytes()
    with opened(file, captions=3) as output:
        assert not output.claim("a.jpg") and output.notes == []
    assert file.read_bytes() == before


def test_a_torn_end_goes_where_nothing_is_left_to_do(file: Path) -> None:
    before = file.read_bytes()
    file.write_bytes(before + b"gone.jp")
    with opened(file):
        pass
    assert file.read_bytes() == before


def test_a_run_without_a_row_leaves_a_header(tmp_path: Path) -> None:
    with opened(tmp_path / "x.csv"):
        pass
    assert (tmp_path / "x.csv").read_bytes() == HEADER


def test_a_row_that_says_nothing_is_done_and_has_nothing_to_give(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b"mine.jpg,,,,,\r\n" * 2)
    before = file.read_bytes()
    with opened(file) as output:
        assert not output.claim("mine.jpg") and not output.has_captions("mine.jpg")
        assert output.captions_of("mine.jpg") == []
    assert file.read_bytes() == before


def test_what_a_photo_said_is_on_the_disk_before_the_photo_is_changed(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync, seen = os.fsync, list[bytes]()

    def watched(descriptor: int) -> None:
        fsync(descriptor)
        seen.append(file.read_bytes())

    monkeypatch.setattr(os, "fsync", watched)
    with opened(file) as output:
        assert output.claim("c.jpg")
        output.write_first([row("c.jpg")])
        assert [b"c.jpg" in content for content in seen] == [True]
        output.write([row("c.jpg")])
    assert paths(file) == ["a.jpg", "b.jpg", "c.jpg"]


def test_new_rows_of_the_last_path_take_the_place_of_its_old_ones_alone(file: Path) -> None:
    with opened(file) as output:
        assert not output.claim("b.jpg")
        output.write([Row("b.jpg", "A dog.", -0.5, None, note="noted")])
    assert [(found.path, found.note) for found in read_rows(file, "csv")] == [("a.jpg", None), ("b.jpg", "noted")]


def test_captions_come_best_first_however_their_rows_lie(tmp_path: Path) -> None:
    rows = [Row("a.jpg", f"Words {rank}.", -0.5, None, rank) for rank in (3, 1, 2)]
    with opened(tmp_path / "x.csv", captions=3) as output:
        output.write(rows)
    with opened(tmp_path / "x.csv", captions=3) as output:
        assert [found.rank for found in output.captions_of("a.jpg")] == [1, 2, 3]


def test_a_file_that_was_refused_can_be_replaced_at_once(file: Path) -> None:
    file.write_bytes(HEADER + b"a.jpg,A dog.,high,,,\r\n")
    with pytest.raises(UsageError, match="line 2") as refused:
        opened(file)
    # Whoever holds on to the error holds no lock.
    with opened(file, Existing.REPLACE) as output:
        output.write([row("b.jpg")])
    assert paths(file) == ["b.jpg"] and refused.value


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_what_a_link_leads_to_is_no_new_file(tmp_path: Path) -> None:
    (tmp_path / "x.csv").symlink_to("elsewhere.csv")
    for make in (OutputFile, EarlierFile):
        with pytest.raises(UsageError, match="exists"):
            make(tmp_path / "x.csv", row_format("csv", ranked=False))
    with pytest.raises(UsageError, match="is no regular file; --resume needs one"):
        opened(Path(os.devnull))
    assert os.listdir(tmp_path) == ["x.csv"]


def test_a_name_that_is_too_long_is_told(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"\.csv: cannot be written: its name is too long$"):
        OutputFile(tmp_path / f"{'x' * 300}.csv", row_format("csv", ranked=False))


def test_a_file_that_is_cut_while_it_is_written_ends_the_run_in_one_line(tmp_path: Path) -> None:
    file, form = tmp_path / "x.csv", row_format("csv", ranked=False)
    with OutputFile(file, form) as output:
        output.write([Row("a.jpg", None, None, "is empty")])
        output.write([Row("b.jpg", None, None, "is empty")])
    output = OutputFile(file, form, existing=Existing.RESUME, retry_failed=True)
    assert output.claim("b.jpg")
    file.write_bytes(file.read_bytes()[:30])
    with pytest.raises(OutputError, match="was changed by another program"):
        output.write([Row("b.jpg", "A dog.", -0.1, None)])
    output.discard()
