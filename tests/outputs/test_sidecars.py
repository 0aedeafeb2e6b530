"""Sidecars: whole or not there, never over somebody's file, never over an image."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from capcli.errors import OutputError, UsageError
from capcli.outputs import drafts
from capcli.outputs.affixes import Affixes
from capcli.outputs.files import Draft
from capcli.outputs.joining import Joining
from capcli.outputs.outcomes import Outcome
from capcli.outputs.sidecars import Sidecars

ODD_NAMES = [
    "a photo",
    'it\'s "a" photo',
    "two\nlines",
    "café 🐶",
    "no.dots.but.these",
    os.fsdecode(b"\xff\xfe caf\xe9"),
    "x" * 250,
]
posix = pytest.mark.skipif(os.name == "nt", reason="names and modes of POSIX")


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_captions_are_lines_beside_the_image(tmp_path: Path) -> None:
    sidecars = Sidecars(".txt")
    assert sidecars.write(str(tmp_path / "a.jpg"), ["Ein Hund läuft 🐶."]) == Outcome(True)
    assert sidecars.write(str(tmp_path / "b.tar.jpg"), ["A dog.", "A  cat\nsleeps."]) == Outcome(True)
    assert (tmp_path / "a.txt").read_bytes() == "Ein Hund läuft 🐶.\n".encode()
    assert (tmp_path / "b.tar.txt").read_bytes() == b"A dog.\nA cat sleeps.\n"
    assert names(tmp_path) == ["a.txt", "b.tar.txt"]


def test_the_suffix_is_the_callers(tmp_path: Path) -> None:
    Sidecars(".caption").write(str(tmp_path / "a.jpg"), ["A dog."])
    assert names(tmp_path) == ["a.caption"]


@pytest.mark.parametrize("suffix", ["", ".", "txt", "./x", "../x", ".a/b", ".jpg", ".PNG", ".xmp", ".t\n"])
def test_suffixes_that_would_do_harm_are_refused(suffix: str) -> None:
    with pytest.raises(UsageError):
        Sidecars(suffix)


@pytest.mark.parametrize("suffix", [".json", ".JSON", ".XMP", ".csv", ".md", ".heic", ".TXT", ".txt ", ".x"])
def test_other_suffixes_than_those_of_captions_are_refused_by_name(suffix: str) -> None:
    with pytest.raises(UsageError) as caught:
        Sidecars(suffix)
    assert str(caught.value) == f"{suffix!r} is no suffix for sidecars; use .txt or .caption"


def test_an_image_in_the_current_folder_needs_no_folder_in_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert Sidecars().write("a.jpg", ["A dog."]).written
    assert names(tmp_path) == ["a.txt"]


def test_a_sidecar_is_replaced_or_added_to_and_not_both() -> None:
    with pytest.raises(UsageError, match="either replaced or added to"):
        Sidecars(overwrite=True, joining=Joining())


def test_a_sidecar_that_comes_up_meanwhile_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync = os.fsync

    def another_was_quicker(descriptor: int) -> None:
        (tmp_path / "a.txt").write_text("by hand")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", another_was_quicker)
    assert Sidecars().write(str(tmp_path / "a.jpg"), ["A dog."]) == Outcome(False, "a.txt exists")
    assert (tmp_path / "a.txt").read_text() == "by hand" and names(tmp_path) == ["a.txt"]


@posix
@pytest.mark.parametrize("stem", ODD_NAMES)
def test_any_name_works(tmp_path: Path, stem: str) -> None:
    assert Sidecars().write(str(tmp_path / f"{stem}.jpg"), ["A dog."]).written
    assert names(tmp_path) == [f"{stem}.txt"]


def test_an_existing_sidecar_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("by hand")
    assert Sidecars().write(str(tmp_path / "a.jpg"), ["A dog."]) == Outcome(False, "a.txt exists")
    assert (tmp_path / "a.txt").read_text() == "by hand"


def test_an_existing_sidecar_is_replaced_when_told(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("by hand")
    (tmp_path / "a.txt").chmod(0o640)
    assert Sidecars(overwrite=True).write(str(tmp_path / "a.jpg"), ["A dog."]).written
    assert (tmp_path / "a.txt").read_text() == "A dog.\n"
    assert os.name == "nt" or (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("overwrite", [False, True])
def test_of_two_images_with_one_name_the_first_has_the_sidecar(tmp_path: Path, overwrite: bool) -> None:
    sidecars = Sidecars(overwrite=overwrite)
    assert sidecars.write(str(tmp_path / "a.jpg"), ["A dog."]).written
    second = sidecars.write(os.path.join(tmp_path, ".", "a.png"), ["A cat."])
    assert second == Outcome(
        False, "a.txt holds the caption of a.jpg, which has the same name but for its suffix", failed=True
    )
    again = sidecars.write(str(tmp_path / "a.jpg"), ["A cow."])
    assert again == Outcome(False, "a.txt exists")
    assert (tmp_path / "a.txt").read_text() == "A dog.\n"
    (tmp_path / "below").mkdir()
    assert sidecars.write(str(tmp_path / "below" / "a.png"), ["A cat."]).written


def test_an_image_is_never_overwritten(tmp_path: Path) -> None:
    image = tmp_path / "a.txt"
    Image.new("RGB", (4, 4)).save(image, "PNG")
    before = image.read_bytes()
    with pytest.raises(OutputError, match=r"^a\.txt cannot be written: it is an image$"):
        Sidecars(overwrite=True).write(str(image), ["A dog."])
    assert not Sidecars().write(str(image), ["A dog."]).written
    assert image.read_bytes() == before


@posix
def test_permissions_are_those_of_any_new_file(tmp_path: Path) -> None:
    mask = os.umask(0o027)
    try:
        Sidecars().write(str(tmp_path / "a.jpg"), ["A dog."])
        Sidecars(overwrite=True).write(str(tmp_path / "b.jpg"), ["A dog."])
    finally:
        os.umask(mask)
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("a.txt", "b.txt")] == [0o640, 0o640]


@posix
@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("target", ["texts/one", "nowhere", "a.txt", "texts", "b.txt"])
def test_a_link_is_never_followed_and_never_taken_for_a_sidecar(tmp_path: Path, target: str, overwrite: bool) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "one").write_text("by hand")
    (tmp_path / "b.txt").write_text("another's")
    (tmp_path / "a.txt").symlink_to(target)
    sidecars = Sidecars(overwrite=overwrite)
    # Who is told that it is there already is told nothing.
    assert sidecars.wants(str(tmp_path / "a.jpg"))
    with pytest.raises(OutputError, match=r"^a\.txt is not written: it is a symbolic link"):
        sidecars.write(str(tmp_path / "a.jpg"), ["A dog."])
    assert os.readlink(tmp_path / "a.txt") == target
    assert (tmp_path / "texts" / "one").read_text() == "by hand" and (tmp_path / "b.txt").read_text() == "another's"
    assert (names(tmp_path), names(tmp_path / "texts")) == (["a.txt", "b.txt", "texts"], ["one"])


@posix
@pytest.mark.parametrize("overwrite", [False, True])
def test_no_sidecar_is_written_where_a_link_leads_out_of_the_folder(tmp_path: Path, overwrite: bool) -> None:
    for folder in ("elsewhere", "q", "q/inside"):
        (tmp_path / folder).mkdir()
    (tmp_path / "elsewhere" / "b.txt").write_text("by hand")
    (tmp_path / "q" / "out").symlink_to("../elsewhere")
    (tmp_path / "q" / "in").symlink_to("inside")
    (tmp_path / "q" / "a.jpg").symlink_to("../elsewhere/a.jpg")
    q = str(tmp_path / "q")
    links = {f"{q}/{name}": q for name in ("out/a.jpg", "out/b.jpg", "in/a.jpg", "a.jpg")}
    sidecars = Sidecars(overwrite=overwrite, links=links)
    for name in ("out/a.jpg", "out/b.jpg"):
        assert sidecars.wants(f"{q}/{name}")
        with pytest.raises(OutputError, match=r"a link leads out of .*q to it; name the folder itself"):
            sidecars.write(f"{q}/{name}", ["A dog."])
    assert names(tmp_path / "elsewhere") == ["b.txt"]
    assert (tmp_path / "elsewhere" / "b.txt").read_text() == "by hand"
    # Inside, and beside a photo that is a link itself, they are; and out there, for who names it.
    assert sidecars.write(f"{q}/in/a.jpg", ["A dog."]).written and sidecars.write(f"{q}/a.jpg", ["A dog."]).written
    assert Sidecars().write(f"{q}/out/a.jpg", ["A dog."]).written


@posix
@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("output", ["a.txt", "./sub/../a.txt", "link.csv", "folder/a.txt", "hard.csv"])
def test_the_output_file_is_never_replaced(tmp_path: Path, output: str, overwrite: bool) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.txt").write_text("rows")
    (tmp_path / "link.csv").symlink_to("a.txt")
    (tmp_path / "folder").symlink_to(".")
    os.link(tmp_path / "a.txt", tmp_path / "hard.csv")
    sidecars = Sidecars(overwrite=overwrite, output=Path(f"{tmp_path}/{output}"))
    assert sidecars.wants(str(tmp_path / "a.jpg"))
    with pytest.raises(OutputError, match=r"^a\.txt is not written: it is the output file$"):
        sidecars.write(str(tmp_path / "a.jpg"), ["A dog."])
    assert (tmp_path / "a.txt").read_text() == "rows"
    assert sidecars.write(str(tmp_path / "b.jpg"), ["A dog."]).written


def test_an_output_file_that_is_not_there_yet_is_spared_too(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="it is the output file"):
        Sidecars(output=tmp_path / "a.txt").write(str(tmp_path / "a.jpg"), ["A dog."])
    assert names(tmp_path) == []


def test_a_sidecar_that_says_the_same_is_no_news(tmp_path: Path) -> None:
    photo = str(tmp_path / "a.jpg")
    sidecars = Sidecars()
    assert sidecars.write(photo, ["A dog."]).written
    same = Outcome(False, "a.txt exists", same=True)
    assert sidecars.write(photo, ["A dog."]) == Sidecars().write(photo, ["A dog."]) == same
    assert Sidecars().write(photo, ["A cow."]) == Outcome(False, "a.txt exists")


@posix
def test_what_is_no_file_is_no_sidecar_and_is_told(tmp_path: Path) -> None:
    (tmp_path / "folder.txt").mkdir()
    os.mkfifo(tmp_path / "pipe.txt")
    for name, reason in (("folder", "it is a folder"), ("pipe", "it is not a regular file")):
        sidecars = Sidecars()
        assert sidecars.wants(str(tmp_path / f"{name}.jpg"))
        with pytest.raises(OutputError, match=f"{name}.txt is not written: {reason}"):
            sidecars.write(str(tmp_path / f"{name}.jpg"), ["A dog."])


def test_the_list_that_is_being_read_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a.jpg\nb.jpg\n")
    with open(tmp_path / "a.txt", "rb") as file:
        sidecars = Sidecars(overwrite=True, reads=[file.fileno()])
        with pytest.raises(OutputError, match=r"a\.txt is not written: it is the list of paths"):
            sidecars.write(str(tmp_path / "a.jpg"), ["A dog."])
        assert sidecars.write(str(tmp_path / "b.jpg"), ["A dog."]).written
    assert (tmp_path / "a.txt").read_text() == "a.jpg\nb.jpg\n"


@posix
def test_what_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.txt").mkdir()
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "kept.txt").write_text("by hand")
    (tmp_path / "kept.txt").chmod(0o444)
    before = names(tmp_path)
    for image, reason in [
        ("file/a.jpg", "a.txt cannot be written: not a directory"),
        ("missing/a.jpg", "a.txt cannot be written: no such file or directory"),
        (f"{'x' * 255}.jpg", "its name is too long"),
        ("folder.jpg", "it is a folder"),
        ("pipe.jpg", "it is not a regular file"),
        ("kept.jpg", "it is read-only"),
        ("a\0b.jpg", "it is no valid path"),
    ]:
        with pytest.raises(OutputError) as caught:
            Sidecars(overwrite=True).write(str(tmp_path / image), ["A dog."])
        assert reason in str(caught.value)
        assert "\n" not in str(caught.value)
    assert names(tmp_path) == before


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc here")
def test_a_folder_that_takes_no_files_is_told() -> None:
    # Not even root may make a file here.
    with pytest.raises(OutputError, match=r"^a\.txt cannot be written: "):
        Sidecars().write("/proc/self/a.jpg", ["A dog."])


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text("by hand")

    def full(descriptor: int, data: memoryview) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    for overwrite in (False, True):
        with pytest.raises(OutputError, match=r"^[ab]\.txt cannot be written: no space is left on the disk$"):
            Sidecars(overwrite=overwrite).write(str(tmp_path / ("a.jpg" if overwrite else "b.jpg")), ["A dog."])
    assert names(tmp_path) == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "by hand"


@posix
def test_disks_without_hard_links_work_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(source: str, target: str) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(drafts, "_renameat2", lambda: None)
    monkeypatch.setattr(os, "link", no_links)
    assert Sidecars().write(str(tmp_path / "a.jpg"), ["A dog."]).written
    assert (tmp_path / "a.txt").read_text() == "A dog.\n"
    with Draft(str(tmp_path / "a.txt"), b"A cat.\n") as draft:
        assert not draft.publish()
    assert names(tmp_path) == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "A dog.\n"


@posix
def test_a_kill_leaves_whole_sidecars_or_none(tmp_path: Path) -> None:
    code = (
        "import sys; from capcli.outputs.sidecars import Sidecars\n"
        "sidecars = Sidecars(overwrite=sys.argv[2] == 'over')\n"
        "print('ready', flush=True)\n"
        "for number in range(100000): sidecars.write(f'{sys.argv[1]}/{number % 50000}.jpg', ['A dog runs.' * 50])\n"
    )
    caption = "A dog runs." * 50 + "\n"
    for round_ in range(8):
        folder = tmp_path / str(round_)
        folder.mkdir()
        process = subprocess.Popen(
            [sys.executable, "-c", code, folder, "over" if round_ % 2 else "new"], stdout=subprocess.PIPE
        )
        with process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(0.01 + 0.017 * round_)
            process.kill()
        left = [name for name in names(folder) if not (name.startswith(".capcli-") and name.endswith(".tmp"))]
        assert left or round_ < 2
        assert all((folder / name).read_text() == caption for name in left)
        assert len(names(folder)) - len(left) <= 1


def test_captions_are_added_to_what_sidecars_say_which_stays_theirs(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"a park, night\r\n")
    (tmp_path / "a.txt").chmod(0o640)
    added = Sidecars(joining=Joining(), affixes=Affixes("ohwx, "))
    assert added.wants(str(tmp_path / "a.jpg"))
    assert added.write(str(tmp_path / "a.jpg"), ["A dog."]) == Outcome(True)
    assert added.write(str(tmp_path / "b.jpg"), ["A dog."]) == Outcome(True)
    assert (tmp_path / "a.txt").read_bytes() == b"a park, night, ohwx, A dog.\n"
    assert (tmp_path / "b.txt").read_bytes() == b"ohwx, A dog.\n"
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o640
    # The best of several.
    assert added.write(str(tmp_path / "c.jpg"), ["A dog.", "A cat."]).written
    (tmp_path / "c.txt").write_text("night")
    assert Sidecars(joining=Joining()).write(str(tmp_path / "c.jpg"), ["A dog.", "A cat."]).written
    assert (tmp_path / "c.txt").read_text() == "night, A dog.\n"
    (tmp_path / "c.txt").unlink()
    # Of two photos of one name the first has it, here too.
    assert added.write(str(tmp_path / "a.png"), ["A cat."]).failed
    assert names(tmp_path) == ["a.txt", "b.txt"]


@posix
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("caf\xe9".encode("latin-1"), "a.txt cannot be added to: it is not UTF-8; save it as UTF-8"),
        ("One.".encode("utf-16"), "a.txt cannot be added to: it is not UTF-8; save it as UTF-8"),
        (b"x" * (1 << 20) + b"x", "a.txt cannot be added to: it is too long for captions"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 40, "a.txt cannot be written: it is an image"),
    ],
)
def test_what_is_no_text_is_not_added_to(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(OutputError) as caught:
        Sidecars(joining=Joining()).write(str(tmp_path / "a.jpg"), ["A dog."])
    assert str(caught.value) == reason and (tmp_path / "a.txt").read_bytes() == content


def test_a_sidecar_that_another_program_changes_meanwhile_is_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sidecar = tmp_path / "a.txt"
    sidecar.write_text("mine\n")
    finish = Draft.copy_access

    def changed_meanwhile(draft: Draft, status: os.stat_result) -> None:
        finish(draft, status)
        sidecar.write_text("mine, and more\n")

    monkeypatch.setattr(Draft, "copy_access", changed_meanwhile)
    with pytest.raises(OutputError, match=r"^a\.txt cannot be written: another program has changed it meanwhile$"):
        Sidecars(joining=Joining()).write(str(tmp_path / "a.jpg"), ["A dog."])
    assert sidecar.read_text() == "mine, and more\n" and names(tmp_path) == ["a.txt"]


def test_a_caption_that_is_not_utf8_is_told(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"^a\.txt cannot be written: the caption is not UTF-8$"):
        Sidecars().write(str(tmp_path / "a.jpg"), ["caf\udce9"])
    assert names(tmp_path) == []
