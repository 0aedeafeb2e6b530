"""Arguments, folders and standard input become a stream of inputs."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capcli.inputs.paths import FolderRules, InputItem, find_inputs, natural_key


def found(
    *arguments: str, rules: FolderRules | None = None, stdin: Iterable[bytes] = (), nul: bool = False
) -> list[InputItem]:
    pieces = iter([*stdin, b""])
    return list(
        find_inputs(
            arguments,
            rules or FolderRules(),
            read_stdin=lambda count: next(pieces),
            nul_separated=nul,
        )
    )


def paths(items: list[InputItem]) -> list[str]:
    return [item.path for item in items]


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_named_files_are_passed_on_as_they_are() -> None:
    assert found("a.jpg", "./b.txt", "/no/such.png") == [
        InputItem("a.jpg"),
        InputItem("./b.txt"),
        InputItem("/no/such.png"),
    ]


def test_folders_are_walked_in_natural_order_files_first(tmp_path: Path) -> None:
    touch(tmp_path, "b10.jpg", "b9.JPG", "B1.png", "z/1.webp", "a/2.tif", "notes.txt", "b9.xmp")
    root = str(tmp_path)
    assert paths(found(root)) == [f"{root}/{name}" for name in ("B1.png", "b9.JPG", "b10.jpg", "a/2.tif", "z/1.webp")]
    assert paths(found(root, rules=FolderRules(recursive=False))) == [
        f"{root}/{n}" for n in ("B1.png", "b9.JPG", "b10.jpg")
    ]


def test_names_that_differ_in_capitals_alone_have_their_order_whatever_the_disk_s(tmp_path: Path) -> None:
    names = sorted(f"{first}{second}{third}.jpg" for first in "aA" for second in "bB" for third in "cC")
    touch(tmp_path, *names)
    # Some disks hold one of them all.
    assert [os.path.basename(path) for path in paths(found(str(tmp_path)))] == sorted(os.listdir(tmp_path))


def test_a_path_is_the_argument_joined_with_what_is_below(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "photos/x.jpg")
    monkeypatch.chdir(tmp_path)
    assert paths(found("photos")) == ["photos/x.jpg"]
    assert paths(found("photos/")) == ["photos/x.jpg"]
    assert paths(found("./photos")) == ["./photos/x.jpg"]
    assert paths(found(".")) == ["./photos/x.jpg"]


def test_hidden_and_junk_folders_are_left_out_unless_asked_for(tmp_path: Path) -> None:
    touch(tmp_path, ".hidden.jpg", ".thumbs/1.jpg", "@eaDir/2.jpg", "$RECYCLE.BIN/3.jpg", "__MACOSX/4.jpg", "5.jpg")
    assert paths(found(str(tmp_path))) == [f"{tmp_path}/5.jpg"]
    assert len(found(str(tmp_path), rules=FolderRules(hidden=True))) == 6


def test_globs_choose_by_name_or_by_path_below_the_folder(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "b.png", "sub/c.jpg", "sub/d.jpg", "other/e.photo")
    root = str(tmp_path)
    assert paths(found(root, rules=FolderRules(include=("*.jpg",)))) == [
        f"{root}/{n}" for n in ("a.jpg", "sub/c.jpg", "sub/d.jpg")
    ]
    assert paths(found(root, rules=FolderRules(include=("*.photo",)))) == [f"{root}/other/e.photo"]
    assert paths(found(root, rules=FolderRules(include=("c*",)))) == [f"{root}/sub/c.jpg"]
    assert paths(found(root, rules=FolderRules(exclude=("sub/c*", "*.png")))) == [f"{root}/a.jpg", f"{root}/sub/d.jpg"]
    assert paths(found(root, rules=FolderRules(exclude=("sub",)))) == [f"{root}/a.jpg", f"{root}/b.png"]


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_links_are_followed_and_loops_end(tmp_path: Path) -> None:
    touch(tmp_path, "real/1.jpg", "apart/2.jpg")
    (tmp_path / "real" / "loop").symlink_to(tmp_path)
    (tmp_path / "link.jpg").symlink_to(tmp_path / "real" / "1.jpg")
    (tmp_path / "broken.jpg").symlink_to(tmp_path / "nothing.jpg")
    names = [os.path.relpath(path, tmp_path) for path in paths(found(str(tmp_path)))]
    assert names == ["broken.jpg", "link.jpg", "apart/2.jpg", "real/1.jpg"]


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_a_folder_is_walked_once_and_by_its_own_name_where_it_has_one(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    root = tmp_path / "root"
    touch(tmp_path, "outside/x.jpg", *(f"root/{number}/{number}.jpg" for number in range(8)))
    for one in range(8):
        for other in range(8):
            (root / str(one) / f"to{other}").symlink_to(root / str(other))
    (root / "0" / "away").symlink_to(outside)
    # Whoever walks each way there never comes to an end.
    items = itertools.islice(find_inputs([str(root)], FolderRules()), 20)
    names = [os.path.relpath(item.path, root) for item in items]
    assert names == [*(f"{number}/{number}.jpg" for number in range(8)), "0/away/x.jpg"]


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_files_that_links_lead_to_know_the_folder_they_were_found_in(tmp_path: Path) -> None:
    touch(tmp_path, "outside/sub/x.jpg", "root/in/1.jpg")
    root = str(tmp_path / "root")
    (tmp_path / "root" / "away").symlink_to(tmp_path / "outside")
    (tmp_path / "root" / "2.jpg").symlink_to("in/1.jpg")
    assert {os.path.relpath(item.path, root): item.linked_in for item in found(root)} == {
        "2.jpg": root,
        "in/1.jpg": None,
        "away/sub/x.jpg": root,
    }
    # Who names a file, or a folder by a link, means it.
    assert [item.linked_in for item in found(f"{root}/2.jpg", f"{root}/away")] == [None, None]


def test_folders_may_lie_deeper_than_python_may_recurse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    levels = 0
    try:
        while levels < 1500:
            os.mkdir("d")
            os.chdir("d")
            levels += 1
        Path("deep.jpg").touch()
        os.chdir(tmp_path)
        # A path has at most 4,096 bytes on Linux: 1,500 levels of "d/" are fewer.
        assert paths(found("d")) == ["d/" * 1500 + "deep.jpg"]
    finally:
        # Nor may those recurse who clean up after tests.
        os.chdir(os.path.join(tmp_path, *["d"] * levels))
        Path("deep.jpg").unlink(missing_ok=True)
        for _ in range(levels):
            os.chdir("..")
            os.rmdir("d")


def test_files_of_kinds_that_are_not_read_are_counted_where_photos_would_be_taken(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "b.ARW", "c.arw", "sub/d.jxl", "e.txt", ".f.cr2", "g.psd", "@eaDir/h.arw")
    left_out: Counter[str] = Counter()
    assert paths(list(find_inputs([str(tmp_path)], FolderRules(exclude=("g*",)), left_out=left_out))) == [
        f"{tmp_path}/a.jpg"
    ]
    assert left_out == {".arw": 2, ".jxl": 1}
    assert paths(found(f"{tmp_path}/b.ARW")) == [f"{tmp_path}/b.ARW"]


def test_a_folder_that_cannot_be_read_is_an_error_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "closed/1.jpg", "open/2.jpg")
    real = os.scandir

    def scandir(folder: str) -> object:
        # The tests may run as root, whom no permission keeps out.
        if folder.endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return real(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    items = found(str(tmp_path))
    assert [(item.path, item.error) for item in items] == [
        (f"{tmp_path}/closed", "the folder cannot be read (Permission denied)"),
        (f"{tmp_path}/open/2.jpg", None),
    ]


@pytest.mark.skipif(os.name == "nt", reason="names are not bytes on Windows")
def test_names_that_are_not_utf8_pass_through(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/\xff\xfe\n.jpg"
    with open(name, "wb"):
        pass
    assert [os.fsencode(path) for path in paths(found(str(tmp_path)))] == [name]
    assert [os.fsencode(path) for path in paths(found("-", stdin=[b"\xff.jpg\n"]))] == [b"\xff.jpg"]


def test_folders_on_standard_input_are_walked(tmp_path: Path) -> None:
    touch(tmp_path, "1.jpg")
    assert paths(found("-", stdin=[f"{tmp_path}\n".encode()])) == [f"{tmp_path}/1.jpg"]


@given(st.lists(st.text(max_size=6), max_size=6))
def test_natural_order_is_total_and_stable(names: list[str]) -> None:
    key: Callable[[str], object] = natural_key
    shuffled = random.Random(len(names)).sample(names, len(names))
    assert sorted(names, key=natural_key) == sorted(shuffled, key=natural_key)
    assert all((key(a) == key(b)) == (a == b) for a in names for b in names)


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=5), st.text(max_size=5), st.lists(st.integers(0, 10**20), min_size=2, max_size=5, unique=True))
def test_numbers_within_names_count_by_their_value(before: str, after: str, numbers: list[int]) -> None:
    before, after = before.rstrip("0123456789"), after.lstrip("0123456789")
    names = [f"{before}{number}{after}" for number in numbers]
    assert sorted(names, key=natural_key) == [f"{before}{number}{after}" for number in sorted(numbers)]


def test_natural_order_counts() -> None:
    names = ["img12.png", "img0009.png", "img10.png", "IMG2.png", "img1.png", "img02.png"]
    in_order = ["img1.png", "IMG2.png", "img02.png", "img0009.png", "img10.png", "img12.png"]
    assert sorted(names, key=natural_key) == in_order
    # What differs in capitals or zeros alone has its order too, whatever the disk's.
    assert len({str(natural_key(name)) for name in ("img2", "IMG2", "img02", "ımg2")}) == 4


def test_an_argument_that_no_path_can_be_is_passed_on_to_be_told() -> None:
    assert list(find_inputs(["a\0b"], FolderRules())) == [InputItem("a\0b")]


def test_an_entry_that_cannot_be_asked_is_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Entry:
        """One of a listing, of a disk that fails."""

        def __init__(self, name: str) -> None:
            self.name, self.path = name, str(tmp_path / name)

        def is_dir(self) -> bool:
            raise OSError(5, "Input/output error")

        def is_symlink(self) -> bool:
            return False

    monkeypatch.setattr("os.scandir", lambda folder: contextlib.nullcontext([Entry("b.jpg"), Entry("a.jpg")]))
    found = [Path(item.path).name for item in find_inputs([str(tmp_path)], FolderRules())]
    assert found == ["a.jpg", "b.jpg"]
