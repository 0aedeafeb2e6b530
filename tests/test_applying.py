"""A run that takes captions from a file to the photos, without any command: what it delivers and reports."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from capcli.applying import ApplyingRun, GivenCaption, photos_of
from capcli.inputs.paths import InputItem
from capcli.outputs import Destinations, Sidecars
from capcli.outputs.rows import Row
from capcli.run_report import Observer, Report
from tests.conftest import python
from tests.shapes import draw

posix = pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("1.png", "2.png", "3.png"):
        draw("circle", "red", "white", 1000, 64).save(folder / name)
    return folder


def row(path: str | Path, caption: str = "A dog.") -> Row:
    return Row(str(path), caption, None, None)


def found(path: str, below: str = "") -> InputItem:
    (given,) = photos_of([row(path)], below)
    assert given.row.path == given.item.path
    return given.item


def test_relative_paths_begin_in_a_folder_and_absolute_ones_do_not(photos: Path, tmp_path: Path) -> None:
    assert found("1.png", str(photos)) == InputItem(str(photos / "1.png"), from_folder=True)
    assert found(str(photos / "1.png"), str(tmp_path)).path == str(photos / "1.png")
    assert found("../photos/1.png", str(photos)).error is None


def test_the_folder_may_be_one_that_the_paths_name(photos: Path, tmp_path: Path) -> None:
    """Rows of `capcli caption /old/home/photos` or of `capcli caption photos`, and the photos lie elsewhere by now."""
    (photos / "a").mkdir()
    for name in ("1.png", "4.png"):
        draw("circle", "red", "white", 1000, 64).save(photos / "a" / name)
    for start in ("photos/", "/no such home/photos/"):
        names = ("none.png", "1.png", "a/4.png", "a/1.png", "old/2.png")
        given = list(photos_of([row(start + name) for name in names], str(photos)))
        # The one that is gone is no other photo, though one of its name lies there.
        found = [each.item.path for each in given if each.item.error is None]
        assert found == [str(photos / name) for name in ("1.png", "a/4.png", "a/1.png")]
    # What is found as it is named is no other one.
    assert [each.item.path for each in photos_of([row("1.png"), row("a/1.png")], str(photos))] == [
        str(photos / "1.png"),
        str(photos / "a" / "1.png"),
    ]
    (other,) = photos_of([row(str(photos / "1.png"))], str(photos / "a"))
    assert other.item.path == str(photos / "1.png")


def test_paths_may_begin_beside_their_file_and_the_first_that_is_found_decides_for_all(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    draw("circle", "red", "white", 1000, 64).save(tmp_path / "2.png")

    def places(names: list[str], below: str = "") -> list[str | None]:
        given = photos_of([row(name) for name in names], below, "photos")
        return [None if each.item.error else each.item.path for each in given]

    # A folder is no photo, and decides nothing.
    assert places(["photos", "1.png"]) == [None, "photos/1.png"]
    assert places(["none.png", "1.png", "3.png"]) == [None, "photos/1.png", "photos/3.png"]
    # The 2.png that lies here is another photo.
    assert places(["1.png", "2.png"]) == ["photos/1.png", "photos/2.png"]
    assert places(["2.png", "1.png"]) == ["2.png", None]
    # Who says where photos are means no other place.
    (tmp_path / "elsewhere").mkdir()
    assert places(["1.png"], "elsewhere") == [None]
    # An absolute path begins nowhere else.
    assert places([f"{tmp_path}/1.png"]) == [None]


def test_a_name_that_a_spreadsheet_was_kept_from_running_is_found(photos: Path) -> None:
    (photos / "1.png").rename(photos / "=1.png")
    (photos / "2.png").rename(photos / "'-2.png")
    assert [found(name, str(photos)).path for name in ("'=1.png", "'-2.png", "'3.png")] == [
        str(photos / name) for name in ("=1.png", "'-2.png", "'3.png")
    ]


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("none.png", "no such file"),
        ("", "is a folder, not an image"),
        ("notes.png", "is not an image (it looks like text)"),
        ("empty.png", "is empty"),
    ],
)
def test_nothing_is_written_beside_what_is_no_photo(name: str, error: str, photos: Path) -> None:
    (photos / "notes.png").write_text("my notes")
    (photos / "empty.png").touch()
    assert found(name, str(photos)).error == error
    run = ApplyingRun(Destinations(photos=[Sidecars(".txt")]))
    assert run.run(photos_of([row(name)], str(photos))) == Report(failed=1, found_any=True)
    assert list(photos.parent.rglob("*.txt")) == []


def test_an_image_that_came_on_standard_input_has_no_file(photos: Path) -> None:
    assert found("-").error == "is an image that came on standard input, which has no file"


@posix
def test_a_link_is_known_by_the_folder_that_it_leads_out_of(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    draw("circle", "red", "white", 1000, 64).save(tmp_path / "other" / "theirs.png")
    (photos / "out.png").symlink_to(tmp_path / "other" / "theirs.png")
    (photos / "in.png").symlink_to("1.png")
    (photos / "more").symlink_to(tmp_path / "other")
    assert found("out.png", str(photos)).linked_in == str(photos)
    assert found("more/theirs.png", str(photos)).linked_in == str(photos)
    assert found("photos/more/theirs.png", str(photos)).linked_in == str(photos)
    assert found("/no such home/more/theirs.png", str(photos)).linked_in == str(photos)
    assert found("in.png", str(photos)).linked_in is None
    (beside,) = photos_of([row("more/theirs.png")], beside=str(photos))
    assert beside.item.linked_in == str(photos)
    assert found(str(photos / "out.png")).linked_in == str(photos)
    assert found("../photos/out.png", str(photos)).linked_in == os.path.join(str(photos), "../photos")
    # A home that is a link somewhere else is no link out of anything.
    (tmp_path / "home").symlink_to(photos)
    assert found(str(tmp_path / "home" / "1.png")).linked_in is None


def test_what_says_the_same_is_skipped_and_what_else_is_there_is_kept(photos: Path) -> None:
    (photos / "1.txt").write_text("A dog.\n")
    (photos / "2.txt").write_text("mine\n")
    kept: list[str] = []
    rows = [row("1.png"), row("2.png"), row("3.png")]
    destinations = Destinations(photos=[Sidecars(".txt")], kept=lambda path, what: kept.append(what))
    assert ApplyingRun(destinations).run(photos_of(rows, str(photos))) == Report(captioned=1, skipped=2, found_any=True)
    assert kept == ["2.txt exists"]
    assert (photos / "2.txt").read_text() == "mine\n" and (photos / "3.txt").read_text() == "A dog.\n"


def test_a_stopped_run_delivers_nothing_more(photos: Path) -> None:
    class Stopping(Observer):
        def captioned(self, path: str) -> None:
            assert run.stop() and not run.stop()

    run = ApplyingRun(Destinations(photos=[Sidecars(".txt")]), Stopping())
    assert not run.stop()
    run = ApplyingRun(Destinations(photos=[Sidecars(".txt")]), Stopping())
    endless = (GivenCaption(InputItem(str(photos / f"{n}.png")), row(photos / f"{n}.png")) for n in range(1, 10**9))
    assert run.run(endless) == Report(captioned=1, stopped=True, found_any=True)
    assert [path.name for path in photos.glob("*.txt")] == ["1.txt"]


def test_no_model_is_needed_not_even_its_libraries() -> None:
    done = python(
        "import sys, capcli.applying, capcli.cli.apply, capcli.outputs.given_rows, capcli.outputs.sidecars\n"
        "print(sorted({'onnxruntime', 'torch', 'numpy', 'PIL', 'tokenizers'} & set(sys.modules)))"
    )
    assert (done.text, done.errors) == ("[]\n", "")
