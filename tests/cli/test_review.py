"""`capcli review` as a user runs it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

pytest.importorskip("jinja2", reason="needs the pages extra")

from tests.conftest import RunCommand, command, environment
from tests.shapes import draw


@pytest.fixture
def captions(tmp_path: Path) -> Path:
    draw("circle", "red", "white", 1, 48).save(tmp_path / "a.png")
    path = tmp_path / "captions.csv"
    path.write_text("path,caption,score,error\r\na.png,A red circle.,-0.5,\r\n", newline="")
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_caption_wrote_is_reviewed_the_least_sure_first(capcli: RunCommand, sure: Path, tmp_path: Path) -> None:
    for number, shape in enumerate(("circle", "square", "triangle")):
        draw(shape, "red", "white", number, 64).save(tmp_path / f"{shape}.png")
    (tmp_path / "text.jpg").write_text("no photo")
    assert capcli("caption", ".", "--model", sure, "-o", "captions.jsonl", cwd=tmp_path).code == 1
    done = capcli("review", "captions.jsonl", "-o", "review.html", cwd=tmp_path)
    assert (done.code, done.out, done.err) == (0, b"", b"")
    page = (tmp_path / "review.html").read_text("ascii")
    assert len(re.findall(r'<img src="data:image/webp;base64,[^"]+" width="64" height="64"', page)) == 3
    sure_of = [int(found) for found in re.findall(r"confidence (\d+) %", page)]
    assert len(sure_of) == 3 and sure_of == sorted(sure_of)
    assert '<bdi class="name">./text.jpg</bdi>: is not an image (it looks like text)' in page


def test_photos_are_looked_for_in_the_folder_that_is_named(capcli: RunCommand, captions: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    moved = captions.rename(tmp_path / "elsewhere" / "captions.csv")
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "a.png").rename(tmp_path / "deep" / "er" / "a.png")
    done = capcli("review", moved, "-o", tmp_path / "review.html", cwd=tmp_path)
    # A photo that is not found has a placeholder, and one line.
    assert (done.code, done.errors) == (0, "capcli: 1 photo is shown without a picture: a.png: no such file\n")
    assert "No picture: no such file" in (tmp_path / "review.html").read_text("ascii")
    done = capcli("review", moved, "-o", tmp_path / "r.html", "--photos", tmp_path / "deep", cwd=tmp_path)
    assert (done.code, done.err) == (0, b"")
    assert 'width="48"' in (tmp_path / "r.html").read_text("ascii")
    assert capcli("review", moved, "-o", tmp_path / "q.html", "--quiet", cwd=tmp_path).err == b""


def test_nothing_that_exists_is_replaced_unasked(capcli: RunCommand, captions: Path, tmp_path: Path) -> None:
    # 5,000 photos are on a page; one more makes a second one.
    with captions.open("a", newline="") as file:
        file.writelines(f"missing-{number}.png,Thing.,-0.1,\r\n" for number in range(5000))
    (tmp_path / "review-2.html").write_text("mine")
    done = capcli("review", captions.name, "-o", "review.html", cwd=tmp_path)
    assert (done.code, done.errors.count("\n")) == (2, 1)
    assert "review-2.html: exists; use --overwrite" in done.errors
    assert names(tmp_path) == ["a.png", "captions.csv", "review-2.html"]
    assert capcli("review", captions.name, "-o", "review.html", "--overwrite", cwd=tmp_path).code == 0
    first, second = (tmp_path / name for name in ("review.html", "review-2.html"))
    assert [path.read_text("ascii").count('<li class="image">') for path in (first, second)] == [5000, 1]
    assert "Page 2 of 2" in second.read_text("ascii") and 'href="review.html"' in second.read_text("ascii")
    assert names(tmp_path) == ["a.png", "captions.csv", "review-2.html", "review.html"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["captions.csv", "-o", "review.pdf"], 2, "review.pdf: its suffix must be .html"),
        (["captions.csv", "-o", "none/review.html"], 4, "none/review.html: cannot be written"),
        (["captions.csv", "-o", "r.html", "--photos", "none"], 2, "none: no such folder of photos"),
        (["captions.csv", "-o", "r.html", "--photos", "a.png"], 2, "a.png: not a folder of photos"),
        (["captions.csv", "-o", "r.html", "--workers", "0"], 2, "--workers is 0; it must be at least 1"),
        (["none.csv", "-o", "r.html"], 2, "none.csv: cannot be read (No such file or directory)"),
        (["a.png", "-o", "r.html"], 2, "a.png: its suffix names no format"),
        (["a.png", "-o", "r.html", "--format", "csv"], 2, "a.png: line 1: "),
        (["same.html", "-o", "same.html", "--format", "csv", "--overwrite"], 2, "same.html: is one of the inputs"),
        (["captions.csv"], 2, "Missing option '--output'"),
    ],
)
def test_what_cannot_be_is_one_line(
    arguments: list[str], code: int, message: str, capcli: RunCommand, captions: Path, tmp_path: Path
) -> None:
    (tmp_path / "same.html").write_bytes(captions.read_bytes())
    before = names(tmp_path)
    done = capcli("review", *arguments, cwd=tmp_path)
    assert (done.code, done.out, done.errors.count("\n")) == (code, b"", 1)
    assert message in done.errors
    assert names(tmp_path) == before
    assert (tmp_path / "same.html").read_bytes() == captions.read_bytes()


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_ctrl_c_leaves_nothing_behind(captions: Path, tmp_path: Path) -> None:
    draw("circle", "red", "white", 1, 700).save(tmp_path / "a.png")
    with captions.open("a", newline="") as file:
        for number in range(2000):
            os.link(tmp_path / "a.png", tmp_path / f"{number}.png")
            file.write(f"{number}.png,Thing.,-0.1,\r\n")
    before = names(tmp_path)
    running = subprocess.Popen(
        [command(), "review", captions.name, "-o", "review.html"],
        cwd=tmp_path,
        env=environment(),
        stderr=subprocess.PIPE,
    )
    while not any(path.stat().st_size for path in tmp_path.glob(".capcli-*.tmp")):
        assert running.poll() is None
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=30)
    assert (running.returncode, said) == (130, b"capcli: stopped\n")
    assert names(tmp_path) == before
