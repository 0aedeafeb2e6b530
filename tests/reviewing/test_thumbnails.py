"""Photos of rows: found where their paths say, made small in order, and in tars."""

from __future__ import annotations

import base64
import io
import os
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("jinja2", reason="needs the pages extra")

from capcli.errors import ImageError
from capcli.inputs import load_image
from capcli.reviewing.thumbnails import SIDE, Thumbnail, Thumbnails
from tests.photos import NAMES, photo_array, write_photo
from tests.shapes import draw


def opened(thumbnail: Thumbnail | ImageError) -> Image.Image:
    assert isinstance(thumbnail, Thumbnail)
    picture = Image.open(io.BytesIO(base64.b64decode(thumbnail.uri.partition(",")[2])))
    assert picture.size == (thumbnail.width, thumbnail.height)
    return picture


def test_thumbnails_are_small_and_in_the_order_asked_for(tmp_path: Path) -> None:
    paths = [str(write_photo(tmp_path / f"{name}.jpg", name)) for name in NAMES] * 5
    found = list(Thumbnails(None, tmp_path, workers=3).of(paths))
    assert found[: len(NAMES)] * 5 == found and len(set(found)) == len(NAMES)
    for name, thumbnail in zip(NAMES, found, strict=False):
        height, width = photo_array(name).shape[:2]
        assert opened(thumbnail).size == (
            round(SIDE * width / max(width, height)),
            round(SIDE * height / max(width, height)),
        )
        assert isinstance(thumbnail, Thumbnail) and 2_000 < len(thumbnail.uri) < 12_000


def test_photos_are_found_from_here_in_the_folder_and_beside_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    colours = {"here/a.png": "red", "folder/a.png": "blue", "folder/deep/b.png": "green", "beside/c.png": "yellow"}
    for name, colour in colours.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        draw("square", colour, "white", 1, 40).save(tmp_path / name)
    (tmp_path / "folder" / "'=d.png").write_bytes((tmp_path / "here" / "a.png").read_bytes())
    (tmp_path / "folder" / "=e.png").write_bytes((tmp_path / "here" / "a.png").read_bytes())
    monkeypatch.chdir(tmp_path / "here")
    with_folder = Thumbnails(tmp_path / "folder", tmp_path / "beside")
    paths = ["a.png", "old/place/deep/b.png", "c.png", "'=d.png", "'=e.png", "b.png", "missing.png"]
    found = list(with_folder.of(paths))
    same = list(Thumbnails(None, tmp_path).of([str(tmp_path / name) for name in colours]))
    assert found[:6] == [same[1], same[2], same[3], same[0], same[0], same[2]]
    assert isinstance(found[6], ImageError) and str(found[6]) == "no such file"
    # Without a folder they are where their paths say, from here, and nothing is searched.
    here, searched = Thumbnails(None, tmp_path / "beside").of(["a.png", "old/place/deep/b.png"])
    assert here == same[0] and str(searched) == "no such file"


def test_photos_in_tars_are_shown_whatever_the_order_of_the_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = {"x/1.png": "red", "2.PNG": "blue", "3.png": "green"}
    for tar_name, mode in (("one.tar", "w"), ("two.tar.gz", "w:gz")):
        with tarfile.open(tmp_path / tar_name, mode) as tar:  # type: ignore[call-overload]
            for name, colour in photos.items():
                content = io.BytesIO()
                draw("circle", colour, "white", 1, 40).save(content, "PNG")
                member = tarfile.TarInfo(name)
                member.size = len(content.getvalue())
                content.seek(0)
                tar.addfile(member, content)
            broken = tarfile.TarInfo("broken.png")
            broken.size = 4
            tar.addfile(broken, io.BytesIO(b"\x89PNG"))
    monkeypatch.chdir(tmp_path)
    inside = ["3.png", "x/1.png", "2.PNG", "broken.png", "missing.png"]
    paths = [f"{tar}/{name}" for name in inside for tar in ("two.tar.gz", "one.tar")]
    found = list(Thumbnails(None, tmp_path).of(paths))
    plain = []
    for name in inside[:3]:
        draw("circle", photos[name], "white", 1, 40).save(tmp_path / "plain.png")
        plain += list(Thumbnails(None, tmp_path).of([str(tmp_path / "plain.png")])) * 2
    assert found[:6] == plain
    assert [isinstance(each, ImageError) for each in found] == [False] * 6 + [True] * 4


def test_no_more_photos_are_in_hand_than_the_threads_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(60):
        draw("circle", "red", "white", number, 32).save(tmp_path / f"{number}.png")
    read: list[str] = []

    def load(image: str, **how: Any) -> np.ndarray:
        read.append(image)
        return load_image(image, **how)

    monkeypatch.setattr("capcli.reviewing.thumbnails.load_image", load)
    found = Thumbnails(None, tmp_path, workers=2).of([str(tmp_path / f"{number}.png") for number in range(60)])
    next(found)
    found.close()
    assert 1 <= len(read) <= 5


def test_a_photo_with_too_many_pixels_is_told_and_no_other(tmp_path: Path) -> None:
    draw("circle", "red", "white", 1, 64).save(tmp_path / "large.png")
    draw("circle", "red", "white", 1, 32).save(tmp_path / "small.png")
    (tmp_path / "text.jpg").write_text("no photo")
    os.mkdir(tmp_path / "folder.jpg")
    names = ("large.png", "small.png", "text.jpg", "folder.jpg")
    large, small, text, folder = Thumbnails(None, tmp_path, max_pixels=2000).of(
        [str(tmp_path / name) for name in names]
    )
    assert "64 x 64 pixels" in str(large) and opened(small).size == (32, 32)
    assert "looks like text" in str(text)
    assert str(folder) == "is a folder, not an image"
