"""Drafts: one a file, locked by who writes it, taken away when nobody does, and renamed without replacing."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from io import FileIO
from pathlib import Path

import pytest

from capcli.outputs import drafts
from capcli.outputs.drafts import discard_left_over, draft_path, open_draft, rename_new
from capcli.outputs.files import Draft
from capcli.outputs.sidecars import Sidecars

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals and modes of POSIX")


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


@posix
@pytest.mark.parametrize("name", ["a.txt", "x" * 250 + ".csv"])
def test_what_a_killed_process_leaves_goes_with_the_next_draft_of_its_file(name: str, tmp_path: Path) -> None:
    """Those of other files stay."""
    code = (
        "import os, sys; from capcli.outputs.files import Draft\n"
        "drafts = [Draft(name, b'half') for name in sys.argv[1:]]; os.kill(os.getpid(), 9)"
    )
    killed = subprocess.run([sys.executable, "-c", code, name, "other"], cwd=tmp_path, check=False)
    left = names(tmp_path)
    assert killed.returncode == -signal.SIGKILL and len(left) == 2
    with Draft(str(tmp_path / name), b"whole") as draft:
        assert names(tmp_path) == left
        draft.replace()
    other = os.path.basename(draft_path("other"))
    assert names(tmp_path) == sorted([name, other]) and (tmp_path / name).read_bytes() == b"whole"
    assert discard_left_over(str(tmp_path / "other")) and names(tmp_path) == [name]


def test_of_two_who_write_a_file_at_once_neither_takes_the_others_draft(tmp_path: Path) -> None:
    target = str(tmp_path / "a.txt")
    with Draft(target, b"one") as one, Draft(target, b"other") as other:
        assert one.path != other.path and not discard_left_over(target)
        one.replace()
        # Its name is free again, for a third one, whom the end of the first does not concern.
        with Draft(target, b"third") as third:
            one.discard()
            assert third.path == one.path and Path(third.path).read_bytes() == b"third"
            assert not other.publish()
    assert names(tmp_path) == ["a.txt"] and (tmp_path / "a.txt").read_bytes() == b"one"


@posix
def test_one_that_was_taken_away_before_it_was_locked_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = str(tmp_path / "a.txt")
    lock = drafts.try_lock  # type: ignore[attr-defined]
    taken: list[FileIO] = []

    def late(file: FileIO) -> bool:
        if not taken:
            taken.append(file)
            assert discard_left_over(target)
        return bool(lock(file))

    monkeypatch.setattr(drafts, "try_lock", late)
    with open_draft(target, 0o600) as file:
        assert names(tmp_path) == [os.path.basename(str(file.name))] == [os.path.basename(draft_path(target))]


def test_a_signal_as_a_draft_is_made_leaves_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(file: object) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(drafts, "try_lock", stopped)
    with pytest.raises(KeyboardInterrupt):
        Draft(str(tmp_path / "a.txt"), b"A dog.\n")
    assert names(tmp_path) == []


@posix
def test_where_locks_are_unknown_nothing_is_taken_away_and_all_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(file: object) -> bool:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(drafts, "try_lock", no_locks)
    left = Path(draft_path(str(tmp_path / "a.txt")))
    left.write_bytes(b"somebody may be writing it")
    assert Sidecars().write(str(tmp_path / "a.jpg"), ["A dog."]).written
    assert names(tmp_path) == [left.name, "a.txt"]


@posix
def test_what_is_no_file_under_a_drafts_name_is_left_alone_and_not_waited_for(tmp_path: Path) -> None:
    makers: list[Callable[[str], None]] = [os.mkfifo, os.mkdir, lambda path: os.symlink(tmp_path / "mine", path)]
    for number, make in enumerate(makers):
        target = str(tmp_path / f"{number}.txt")
        make(draft_path(target))
        with Draft(target, b"A dog.\n") as draft:
            assert draft.publish()
        assert os.path.lexists(draft_path(target))
    assert not (tmp_path / "mine").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="the call is Linux's")
def test_linux_renames_without_replacing_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill finds no second name and no empty file: neither on a disk with hard links, nor on one without."""
    monkeypatch.delattr(os, "link")
    (tmp_path / "new").write_bytes(b"new")
    (tmp_path / "there").write_bytes(b"old")
    with pytest.raises(FileExistsError):
        rename_new(str(tmp_path / "new"), str(tmp_path / "there"))
    assert (tmp_path / "there").read_bytes() == b"old"
    rename_new(str(tmp_path / "new"), str(tmp_path / "free"))
    assert names(tmp_path) == ["free", "there"] and (tmp_path / "free").read_bytes() == b"new"
    with pytest.raises(FileNotFoundError):
        monkeypatch.undo()
        rename_new(str(tmp_path / "new"), str(tmp_path / "x"))


@posix
def test_a_kill_between_a_sidecars_two_names_leaves_nothing_that_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is no such call, the draft has the sidecar's name, and then loses its own."""
    Path(draft_path(str(tmp_path / "a.txt"))).write_bytes(b"A dog.\n")
    os.link(draft_path(str(tmp_path / "a.txt")), tmp_path / "a.txt")
    assert Sidecars(dry_run=True).write(str(tmp_path / "a.jpg"), ["A dog."]).same and len(names(tmp_path)) == 2
    assert Sidecars().write(str(tmp_path / "a.jpg"), ["A dog."]).same
    assert names(tmp_path) == ["a.txt"]
