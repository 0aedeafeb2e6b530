"""Files appear whole or not at all; one that takes minutes to make is refused at once where it cannot be written."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from capcli.errors import OutputError, UsageError
from capcli.outputs.files import Draft, WholeFile, is_unchanged


def write(path: Path, *, overwrite: bool = False, content: bytes = b"new") -> None:
    with WholeFile(path, overwrite=overwrite) as file:
        file.write([content[:1], content[1:]])


def test_a_new_file_holds_all_chunks_and_nothing_lies_beside_it(tmp_path: Path) -> None:
    write(tmp_path / "x.html")
    assert [path.name for path in tmp_path.iterdir()] == ["x.html"]
    assert (tmp_path / "x.html").read_bytes() == b"new"


def test_an_existing_file_is_replaced_only_if_told(tmp_path: Path) -> None:
    path = tmp_path / "x.html"
    path.write_bytes(b"old")
    with pytest.raises(UsageError, match=r"x\.html: exists; use --overwrite"):
        write(path)
    assert path.read_bytes() == b"old"
    write(path, overwrite=True)
    assert path.read_bytes() == b"new"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_run_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "x.html"
    path.write_bytes(b"old")

    def chunks() -> Iterator[bytes]:
        yield b"half"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), WholeFile(path, overwrite=True) as file:
        file.write(chunks())
    assert path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1
    with WholeFile(tmp_path / "never written", overwrite=False):
        pass
    assert len(list(tmp_path.iterdir())) == 1


def test_a_file_that_appears_meanwhile_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.html"
    with pytest.raises(OutputError, match="in the meantime"), WholeFile(path, overwrite=False) as file:
        path.write_bytes(b"theirs")
        file.write([b"mine"])
    assert path.read_bytes() == b"theirs"


def test_places_that_cannot_be_written_are_told_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written: no such file or directory"):
        WholeFile(tmp_path / "missing" / "x.html", overwrite=False)
    with pytest.raises(OutputError, match="is a folder"):
        WholeFile(tmp_path, overwrite=True)
    with pytest.raises(OutputError, match="is not a regular file"):
        WholeFile(Path(os.devnull), overwrite=True)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_photo_and_an_input_are_never_replaced(overwrite: bool, tmp_path: Path) -> None:
    photo, captions = tmp_path / "x.html", tmp_path / "captions.csv"
    photo.write_bytes(b"\xff\xd8\xff\xe0 a photo")
    captions.write_bytes(b"image,caption")
    with pytest.raises(UsageError, match="is a photo"):
        WholeFile(photo, overwrite=overwrite)
    with pytest.raises(UsageError, match=r"ends in \.png as photos do"):
        WholeFile(tmp_path / "new.png", overwrite=overwrite)
    with pytest.raises(UsageError, match="is one of the inputs"):
        WholeFile(tmp_path / "." / "captions.csv", overwrite=overwrite, inputs=[captions])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["captions.csv", "x.html"]
    assert captions.read_bytes() == b"image,caption"


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_a_link_stays_a_link(tmp_path: Path) -> None:
    link, place = tmp_path / "link.html", tmp_path / "place.html"
    link.symlink_to(place)
    with pytest.raises(UsageError, match="exists"):
        write(link)
    write(link, overwrite=True)
    assert link.is_symlink()
    assert place.read_bytes() == b"new"


def test_a_file_that_comes_up_in_between_is_kept(tmp_path: Path) -> None:
    with Draft(str(tmp_path / "a.txt"), b"A dog.\n") as draft:
        (tmp_path / "a.txt").write_text("by hand")
        assert not draft.publish()
    assert os.listdir(tmp_path) == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "by hand"


def test_writes_that_take_only_a_few_bytes_lose_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_ = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, content: write_(descriptor, bytes(content[:3])))
    with Draft(str(tmp_path / "a.txt"), b"A dog runs ") as draft:
        draft.write(b"over the grass.")
        assert draft.publish()
    assert (tmp_path / "a.txt").read_bytes() == b"A dog runs over the grass."


@pytest.mark.skipif(sys.platform == "win32", reason="renaming replaces nothing there")
def test_on_a_disk_without_hard_links_nothing_is_left_where_renaming_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(source: str, target: str) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("capcli.outputs.drafts._renamed_at_once", lambda source, target: False)
    monkeypatch.setattr(os, "link", fails)
    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(OSError, match="Input/output"), Draft(str(tmp_path / "a.txt"), b"A dog.") as draft:
        draft.publish()
    assert os.listdir(tmp_path) == []


def test_files_leave_no_descriptor_open(tmp_path: Path) -> None:
    places = Path("/proc/self/fd")
    if not places.exists():
        return
    before = len(list(places.iterdir()))
    for number in range(20):
        with Draft(str(tmp_path / str(number)), b"x") as draft:
            if number % 2:
                draft.replace()
    assert len(list(places.iterdir())) == before and len(os.listdir(tmp_path)) == 10


@pytest.mark.parametrize("change", ["nothing", "size", "time", "file"])
def test_any_change_of_a_file_is_one(change: str, tmp_path: Path) -> None:
    path, other = tmp_path / "a.txt", tmp_path / "b.txt"
    for each in (path, other):
        each.write_bytes(b"mine")
        os.utime(each, ns=(10**18, 10**18))
    before = path.stat()
    if change == "size":
        path.write_bytes(b"mine, and more")
        os.utime(path, ns=(10**18, 10**18))
    elif change == "time":
        os.utime(path, ns=(10**18, 10**18 + 1))
    elif change == "file":
        other.replace(path)
    assert is_unchanged(str(path), before) == (change == "nothing")


@pytest.mark.skipif(sys.platform == "win32", reason="modes of POSIX")
def test_a_draft_takes_over_permissions_and_owner(tmp_path: Path) -> None:
    old = tmp_path / "a.csv"
    old.write_bytes(b"old")
    old.chmod(0o604)
    if os.geteuid() == 0:
        os.chown(old, 12345, 23456)
    before = old.stat()
    with Draft(str(old), b"new", mode=0o600) as draft:
        assert os.stat(draft.path).st_mode & 0o777 == 0o600
        draft.copy_access(before)
        draft.replace()
    after = old.stat()
    assert old.read_bytes() == b"new"
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
