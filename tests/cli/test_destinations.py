"""Captions beside the photos and inside them, through the installed command."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from capcli.outputs.records import read_rows
from tests.conftest import RunCommand, command, environment
from tests.shapes import draw

SAID = "A red circle on a white ground."
posix = pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "my photos"
    folder.mkdir()
    for name in ("a b.jpg", "ü.png", "kept.png"):
        draw("circle", "red", "white", 1000, 64).save(folder / name, quality=95)
    (folder / "kept.txt").write_text("my own words\n")
    return folder


def test_sidecars_lie_beside_the_photos(capcli: RunCommand, tiny: Path, photos: Path) -> None:
    done = capcli("caption", photos, "--sidecar", ".txt", "--model", tiny)
    assert (done.code, done.out, done.err) == (0, b"", b"")
    assert {path.name: path.read_text("utf-8") for path in photos.glob("*.txt")} == {
        "a b.txt": f"{SAID}\n",
        "ü.txt": f"{SAID}\n",
        "kept.txt": "my own words\n",
    }
    # Nothing is left to do, so no model is needed.
    again = capcli("caption", photos, "--sidecar", ".txt", "--model", photos / "no such model")
    assert (again.code, again.out, again.err) == (0, b"", b"")
    over = capcli("caption", photos, "--sidecar", ".txt", "--model", tiny, "--existing", "replace", "--captions", "2")
    assert over.code == 0
    assert (photos / "kept.txt").read_text("utf-8").startswith(f"{SAID}\n")
    assert (photos / "kept.txt").read_text("utf-8").count("\n") == 2


def test_sidecars_and_rows_go_together(capcli: RunCommand, tiny: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.csv"
    done = capcli("caption", photos, "--sidecar", "caption", "-o", out, "--model", tiny)
    assert done.code == 2 and "no suffix" in done.errors and not out.exists()
    done = capcli("caption", photos, "--sidecar", ".caption", "-o", out, "--model", tiny)
    assert (done.code, done.err) == (0, b"")
    assert out.read_bytes().count(b"\n") == 4 and len(list(photos.glob("*.caption"))) == 3
    done = capcli("caption", photos, "--sidecar", ".txt", "--json", "--model", tiny)
    assert done.out.count(b"\n") == 3
    # A row alone would look as if the sidecar held its caption.
    assert (done.code, done.errors) == (0, f"capcli: {photos / 'kept.png'}: kept.txt exists\n")
    assert (photos / "kept.txt").read_text() == "my own words\n"


def test_two_photos_that_want_one_sidecar_are_told(capcli: RunCommand, tiny: Path, photos: Path) -> None:
    draw("square", "blue", "white", 1000, 64).save(photos / "ü.jpg")
    done = capcli("caption", photos, "--sidecar", ".txt", "--model", tiny)
    assert (done.code, done.errors.count("\n")) == (1, 1)
    assert "ü.png: ü.txt holds the caption of ü.jpg" in done.errors


def test_one_path_twice_is_no_failure(capcli: RunCommand, tiny: Path, photos: Path) -> None:
    done = capcli("caption", photos / "ü.png", photos / "ü.png", "--sidecar", ".txt", "--model", tiny)
    assert (done.code, done.err) == (0, b"")


def test_metadata_holds_the_caption_and_the_pixels_stay(capcli: RunCommand, tiny: Path, photos: Path) -> None:
    pytest.importorskip("pyexiv2")
    photo = photos / "a b.jpg"
    before, times = Image.open(photo).tobytes(), photo.stat().st_mtime_ns
    done = capcli("caption", photos, "--write-metadata", "--model", tiny)
    assert (done.code, done.out, done.err) == (0, b"", b"")
    with Image.open(photo) as image:
        assert image.tobytes() == before
        assert image.getexif()[0x010E] == SAID
    assert photo.stat().st_mtime_ns == times
    # Nothing is left to do, so no model is needed.
    after = photo.read_bytes()
    again = capcli("caption", photos, "--write-metadata", "--model", photos / "no such model")
    assert (again.code, again.out) == (0, b"") and photo.read_bytes() == after


def test_a_photo_that_cannot_hold_metadata_is_a_row_with_caption_and_error(
    capcli: RunCommand, tiny: Path, tmp_path: Path
) -> None:
    pytest.importorskip("pyexiv2")
    photo = tmp_path / "x.bmp"
    draw("circle", "red", "white", 1000, 64).save(photo)
    done = capcli("caption", photo, photo, "--write-metadata", "--json", "--model", tiny)
    assert done.code == 1
    assert done.text.count(SAID) == 2 and done.text.count('"error": null') == 0


def test_without_its_library_metadata_starts_nothing(
    capcli: RunCommand, tiny: Path, photos: Path, tmp_path: Path
) -> None:
    # A module that cannot be imported stands where the library would be found.
    (tmp_path / "pyexiv2.py").write_text("raise ModuleNotFoundError(\"No module named 'pyexiv2'\", name='pyexiv2')")
    done = capcli("caption", photos, "--write-metadata", "--model", tiny, env={"PYTHONPATH": str(tmp_path)})
    assert (done.code, done.out, done.errors.count("\n")) == (3, b"", 1)
    assert "capcli[metadata]" in done.errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--overwrite",), "--existing replace"),
        (("--overwrite", "--sidecar", ".txt"), "--existing replace"),
        (("--overwrite", "-o", "-"), "-o FILE"),
        (("--resume", "-o", "-"), "-o FILE"),
        (("--existing", "replace"), "--overwrite"),
        (("--existing", "replace", "-o", "x.csv"), "--overwrite"),
        (("--existing", "both", "--sidecar", ".txt"), "keep, replace, append or prepend"),
        (("--sidecar", ".json"), "'.json' is no suffix for sidecars; use .txt or .caption"),
        (("--sidecar", ".JSON"), "'.JSON' is no suffix for sidecars; use .txt or .caption"),
        (("-o", "x.TIFF", "--format", "csv"), "x.TIFF: ends in .TIFF as photos do"),
    ],
)
def test_options_that_would_replace_or_write_what_was_not_asked_for_start_nothing(
    capcli: RunCommand, photos: Path, options: tuple[str, ...], message: str
) -> None:
    before = {path.name: path.read_bytes() for path in photos.iterdir()}
    done = capcli("caption", "ü.png", "--model", "no such model", *options, cwd=photos)
    assert (done.code, done.out, done.errors.count("\n")) == (2, b"", 1)
    assert message in done.errors
    assert {path.name: path.read_bytes() for path in photos.iterdir()} == before


@pytest.mark.parametrize(
    ("format_", "option"), [("csv", "--overwrite"), ("tsv", None), ("jsonl", "--resume"), ("text", "--overwrite")]
)
def test_no_photo_becomes_the_output_file(capcli: RunCommand, photos: Path, format_: str, option: str | None) -> None:
    # As a shell completes `-o *.png` where the output's name was forgotten.
    given = ["-o", "kept.png", "ü.png", "--format", format_, *([] if option is None else [option])]
    before = (photos / "kept.png").read_bytes()
    done = capcli("caption", *given, cwd=photos)
    assert (done.code, done.out, done.errors.count("\n")) == (2, b"", 1)
    assert done.errors.startswith("capcli: kept.png: ends in .png as photos do")
    (photos / "kept.csv").write_bytes(before)
    given[1] = "kept.csv"
    done = capcli("caption", *given, cwd=photos)
    assert (done.code, done.out, done.errors.count("\n")) == (2, b"", 1)
    assert done.errors.startswith("capcli: kept.csv: is a photo, and is never replaced")
    assert (photos / "kept.csv").read_bytes() == (photos / "kept.png").read_bytes() == before


@posix
@pytest.mark.parametrize("option", ["--overwrite", "--resume"])
def test_no_input_becomes_the_output_file(capcli: RunCommand, photos: Path, option: str) -> None:
    (photos / "list.txt").write_text("ü.png\n")
    (photos / "link.csv").symlink_to("list.txt")
    for given, output in ((["./list.txt", "ü.png"], "list.txt"), (["ü.png", "list.txt"], "link.csv")):
        done = capcli("caption", *given, "-o", output, option, cwd=photos)
        assert (done.code, done.out, done.errors.count("\n")) == (2, b"", 1)
        assert done.errors.startswith(f"capcli: {output}: is one of the inputs")
    again: list[str | Path] = [command(), "caption", "-", "-o", "list.txt", option]
    with (photos / "list.txt").open("rb") as file:
        shell = subprocess.run(again, cwd=photos, stdin=file, capture_output=True, env=environment(), check=False)
    assert shell.returncode == 2 and b"is one of the inputs" in shell.stderr
    assert (photos / "list.txt").read_text() == "ü.png\n"


def test_an_output_file_that_comes_up_among_the_inputs_is_an_error_of_that_input(
    capcli: RunCommand, tiny: Path, photos: Path
) -> None:
    given = "ü.png\nx.csv\n".encode()
    done = capcli("caption", "-", "-o", "./x.csv", "--model", tiny, cwd=photos, stdin=given)
    assert (done.code, done.errors) == (1, "capcli: x.csv: is the output file\n")
    rows = {row.path: (row.caption, row.error) for row in read_rows(photos / "x.csv", "csv")}
    assert rows == {"ü.png": (SAID, None), "x.csv": (None, "is the output file")}


@pytest.mark.parametrize("existing", ["keep", "replace"])
@pytest.mark.parametrize(("suffix", "format_"), [(".txt", "text"), (".caption", "csv")])
def test_no_sidecar_replaces_the_output_file(
    capcli: RunCommand, tiny: Path, photos: Path, suffix: str, format_: str, existing: str
) -> None:
    out = photos / f"ü{suffix}"
    options = ("--format", format_, "--sidecar", suffix, "--existing", existing)
    done = capcli("caption", photos, "-o", out, *options, "--model", tiny)
    refused = f"{out.name} is not written: it is the output file"
    assert done.code == 1
    assert f"capcli: {photos / 'ü.png'}: {refused}\n" in done.errors
    rows = list(read_rows(out, format_))
    assert len(rows) == 3
    assert [row.error for row in rows if row.path.endswith("ü.png")] == ([refused] if format_ == "csv" else [None])


def test_no_sidecar_replaces_the_list_on_standard_input(tiny: Path, photos: Path) -> None:
    paths = f"{photos / 'kept.png'}\n{photos / 'a b.jpg'}\n".encode()
    (photos / "kept.txt").write_bytes(paths)
    with open(photos / "kept.txt", "rb") as given:
        done = subprocess.run(
            [command(), "caption", "-", "--sidecar", ".txt", "--existing", "replace", "--model", tiny],
            stdin=given,
            capture_output=True,
            env=environment(),
            timeout=120,
            check=False,
        )
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"kept.txt is not written: it is the list of paths that is being read" in done.stderr
    assert (photos / "kept.txt").read_bytes() == paths
    assert (photos / "a b.txt").read_text() == f"{SAID}\n"


@posix
@pytest.mark.parametrize("existing", ["keep", "replace"])
def test_links_lead_to_nothing_that_is_written(
    capcli: RunCommand, tiny: Path, photos: Path, tmp_path: Path, existing: str
) -> None:
    pytest.importorskip("pyexiv2")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "notes.md").write_text("my notes")
    draw("circle", "red", "white", 1000, 64).save(elsewhere / "theirs.png")
    before = (elsewhere / "theirs.png").read_bytes()
    (photos / "ü.txt").symlink_to("../notes.md")
    (photos / "a b.txt").symlink_to("../nothing.md")
    (photos / "linked.png").symlink_to(elsewhere / "theirs.png")
    (photos / "more").symlink_to(elsewhere)
    done = capcli("caption", photos, "--sidecar", ".txt", "--existing", existing, "--model", tiny)
    assert (done.code, done.out) == (1, b"")
    assert sorted(done.errors.splitlines()) == [
        f"capcli: {photos}/a b.jpg: a b.txt is not written: it is a symbolic link, and no link is followed",
        f"capcli: {photos}/more/theirs.png: theirs.txt is not written: a link leads out of {photos} to it; "
        "name the folder itself",
        f"capcli: {photos}/ü.png: ü.txt is not written: it is a symbolic link, and no link is followed",
    ]
    assert (tmp_path / "notes.md").read_text() == "my notes" and not (tmp_path / "nothing.md").exists()
    assert (photos / "linked.txt").read_text() == f"{SAID}\n"
    done = capcli("caption", photos, "--write-metadata", "--existing", existing, "--model", tiny)
    assert (done.code, done.errors.count("a link leads out of"), done.errors.count("\n")) == (1, 2, 2)
    assert (elsewhere / "theirs.png").read_bytes() == before and len(list(elsewhere.iterdir())) == 1
    # Who names a link, or the folder behind it, means what it leads to.
    done = capcli("caption", photos / "linked.png", photos / "more", "--write-metadata", "--model", tiny)
    assert (done.code, done.err) == (0, b"")
    assert (elsewhere / "theirs.png").read_bytes() != before
    assert capcli("caption", photos / "more", "--sidecar", ".txt", "--model", tiny).code == 0
    assert (elsewhere / "theirs.txt").read_text() == f"{SAID}\n"


@pytest.mark.parametrize("place", [("--sidecar", ".txt"), ("--write-metadata",)])
def test_an_image_on_standard_input_has_no_place_beside_it_or_in_it(
    capcli: RunCommand, tiny: Path, photos: Path, place: tuple[str, ...]
) -> None:
    if place == ("--write-metadata",):
        pytest.importorskip("pyexiv2")
    content, names = (photos / "ü.png").read_bytes(), sorted(path.name for path in photos.iterdir())
    for more in ((), ("--json",), ("-o", "x.csv")):
        done = capcli("caption", "-", *place, *more, "--model", "no such model", cwd=photos, stdin=content)
        assert (done.code, done.out, done.errors.count("\n")) == (2, b"", 1)
        assert "an image on standard input has no place" in done.errors
    assert sorted(path.name for path in photos.iterdir()) == names
    # One that comes after others is told as a failure of its own.
    done = capcli("caption", "ü.png", "-", *place, "--model", tiny, cwd=photos, stdin=content)
    assert (done.code, done.errors.count("\n")) == (1, 1)
    assert "capcli: -: an image on standard input has no place" in done.errors


def test_a_minus_is_standard_output(capcli: RunCommand, tiny: Path, photos: Path) -> None:
    names = sorted(path.name for path in photos.iterdir())
    for more in ((), ("--format", "csv"), ("--json",)):
        plain = capcli("caption", "ü.png", *more, "--model", tiny, cwd=photos)
        named = capcli("caption", "ü.png", *more, "-o", "-", "--model", tiny, cwd=photos)
        assert named == plain and named.code == 0 and SAID in named.text
    assert sorted(path.name for path in photos.iterdir()) == names
    # Beside sidecars, too, for who asks for it.
    done = capcli("caption", "ü.png", "--sidecar", ".txt", "-o", "-", "--model", tiny, cwd=photos)
    assert (done.code, done.text, done.err) == (0, f"{SAID}\n", b"")
    assert (photos / "ü.txt").read_text() == f"{SAID}\n"
    # And a file of that name is had as any is that begins with a minus.
    assert capcli("caption", "ü.png", "-o", "./-", "--format", "text", "--model", tiny, cwd=photos).code == 0
    assert (photos / "-").read_text() == f"{SAID}\n"


@pytest.mark.parametrize("rows", [(), ("--json",), ("-o", "x.csv")])
def test_a_description_that_is_kept_is_told(
    capcli: RunCommand, tiny: Path, tmp_path: Path, rows: tuple[str, ...]
) -> None:
    pytest.importorskip("pyexiv2")
    exif = Image.Exif()
    exif[0x010E] = "OLYMPUS DIGITAL CAMERA"
    draw("circle", "red", "white", 1000, 64).save(tmp_path / "olympus.jpg", exif=exif)
    draw("circle", "red", "white", 1000, 64).save(tmp_path / "plain.jpg")
    before = (tmp_path / "olympus.jpg").read_bytes()
    line = "capcli: olympus.jpg: its metadata has a description already: 'OLYMPUS DIGITAL CAMERA'\n"
    given = ("caption", "olympus.jpg", "plain.jpg", "--write-metadata", *rows, "--model", tiny)
    done = capcli(*given, cwd=tmp_path)
    assert (done.code, done.errors) == (0, line)
    assert (tmp_path / "olympus.jpg").read_bytes() == before
    # What capcli wrote itself is no news where there are rows. Without them the model is not asked what it would say.
    again = (*given, "--overwrite") if "-o" in rows else given
    own = f"capcli: plain.jpg: its metadata has a description already: {SAID!r}\n"
    assert capcli(*again, cwd=tmp_path).errors == (line if rows else line + own)
    assert capcli(*again, "--quiet", cwd=tmp_path).err == b""
    done = capcli(*again, "--existing", "replace", cwd=tmp_path)
    assert (done.code, done.err) == (0, b"")
    assert Image.open(tmp_path / "olympus.jpg").getexif()[0x010E] == SAID


def test_existing_is_not_what_overwrite_is(capcli: RunCommand, tiny: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.csv"
    out.write_text("old")
    given = ("caption", photos, "-o", out, "--sidecar", ".txt", "--model", tiny)
    done = capcli(*given, "--existing", "replace")
    assert done.code == 2 and "--overwrite" in done.errors
    assert (photos / "kept.txt").read_text() == "my own words\n"
    done = capcli(*given, "--overwrite")
    assert (done.code, done.errors) == (0, f"capcli: {photos / 'kept.png'}: kept.txt exists\n")
    assert (photos / "kept.txt").read_text() == "my own words\n"
    (tmp_path / "y.csv").write_text("")
    done = capcli(
        "caption", photos, "-o", tmp_path / "y.csv", "--resume", "--sidecar", ".txt", "--existing", "replace",
        "--model", tiny,
    )  # fmt: skip
    assert (done.code, done.err) == (0, b"")
    assert (photos / "kept.txt").read_text() == f"{SAID}\n"
