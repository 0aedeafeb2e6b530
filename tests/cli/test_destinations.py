"""Captions beside the photos and inside them, through the installed command."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import RunCommand
from tests.shapes import draw

SAID = "A red circle on a white ground."


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
    over = capcli("caption", photos, "--sidecar", ".txt", "--model", tiny, "--overwrite", "--captions", "2")
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
