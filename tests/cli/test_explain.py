"""`capcli explain` as a user runs it."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import RunCommand
from tests.shapes import draw


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "circle.png"
    draw("circle", "red", "white", 1000, 64).save(path)
    return path


def test_the_terminal_shows_words_with_bars(capcli: RunCommand, photo: Path, sure: Path) -> None:
    done = capcli("explain", photo, "--model", sure)
    assert (done.code, done.err) == (0, b"")
    lines = done.text.splitlines()
    assert lines[0] == "A red circle on a white ground."
    assert lines[1].startswith("right with an estimated chance of ")
    words = [line for line in lines if "looked most" in line]
    assert [line.split()[0] for line in words] == ["a", "red", "circle", "on", "a", "white", "ground", "(end)"]
    shares = [int(line.split("%")[0].split()[-1]) for line in words]
    assert [line.count("\u2588") for line in words] == [pytest.approx(0.3 * share, abs=0.7) for share in shares]
    assert sum(line.endswith(" ground.") for line in lines) == 3


def test_a_picture_is_new_or_not_written(capcli: RunCommand, photo: Path, tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "look.png"
    assert capcli("explain", photo, "--model", tiny, "-o", out).code == 0
    with Image.open(out) as picture:
        assert picture.format == "PNG"
    for place in (out, photo):
        before = place.read_bytes()
        done = capcli("explain", photo, "--model", tiny, "-o", place, "--overwrite")
        assert (done.code, done.errors.count("\n"), place.read_bytes()) == (2, 1, before)


def test_a_page_is_written_once(capcli: RunCommand, photo: Path, tiny: Path, tmp_path: Path) -> None:
    pytest.importorskip("jinja2", reason="needs the pages extra")
    out = tmp_path / "look.html"
    assert capcli("explain", photo, "--model", tiny, "-o", out).code == 0
    page = out.read_text("ascii")
    assert "A red circle on a white ground." in page
    done = capcli("explain", photo, "--model", tiny, "-o", out)
    assert (done.code, out.read_text("ascii")) == (2, page)


@pytest.mark.parametrize(
    ("photo_name", "out", "message"),
    [
        ("circle.png", "look.pdf", "its suffix must be .html or .png"),
        ("missing.png", None, "missing.png: no such file"),
    ],
)
def test_what_cannot_be_is_one_line(
    photo_name: str, out: str | None, message: str, capcli: RunCommand, photo: Path, tiny: Path
) -> None:
    output = () if out is None else ("-o", photo.parent / out)
    done = capcli("explain", photo.parent / photo_name, "--model", tiny, *output)
    assert (done.code, done.out, done.errors.count("\n")) == (2, b"", 1)
    assert message in done.errors
