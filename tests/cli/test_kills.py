"""Captions on their way into photos, XMP files and sidecars when kill -9 comes: each of them is old or new."""

from __future__ import annotations

import random
import shutil
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from capcli.outputs.records import read_rows
from capcli.outputs.rows import Row
from tests.conftest import RunCommand
from tests.shapes import draw

pyexiv2 = pytest.importorskip("pyexiv2", reason="needs the metadata extra")

from capcli.outputs.metadata import write_description  # noqa: E402
from capcli.outputs.xmp_sidecars import XmpSidecars  # noqa: E402

OLD, NEW = "By hand.", "A red circle on a white ground."
LANGUAGE = 'lang="x-default"'
PHOTOS, KILLS = 60, 15


@dataclass(frozen=True)
class Said:
    """What a photo, its XMP file and its sidecar say, and all else that they hold."""

    texts: tuple[str, str, str]
    rest: tuple[bytes, object, object]


def said(photo: Path) -> Said:
    with Image.open(photo) as image:
        pixels = image.tobytes()
    with pyexiv2.ImageData(photo.read_bytes()) as image:
        exif, xmp = image.read_exif(), image.read_xmp()
    with pyexiv2.ImageData(Path(f"{photo}.xmp").read_bytes()) as file:
        beside = file.read_xmp()
    # A description is in two places of each, which never differ.
    inside, outside = (found.pop("Xmp.dc.description")[LANGUAGE] for found in (xmp, beside))
    assert exif.pop("Exif.Image.ImageDescription") == inside
    assert beside.pop("Xmp.tiff.ImageDescription")[LANGUAGE] == outside
    text = photo.with_suffix(".txt").read_text("utf-8").removesuffix("\n")
    return Said((inside, outside, text), (pixels, (exif, xmp), beside))


@pytest.mark.skipif(sys.platform != "linux", reason="what is killed is forked")
def test_a_kill_at_any_moment_leaves_each_old_or_new(capcli: RunCommand, tiny: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "photos", tmp_path / "captions.csv"
    folder.mkdir()
    first = folder / "0.jpg"
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    draw("circle", "red", "white", 1000, 64).save(first, quality=95, exif=exif)
    write_description(first, OLD)
    XmpSidecars().put([Row(str(first), OLD, None, None)])
    first.with_suffix(".txt").write_text(f"{OLD}\n")
    photos = [folder / f"{number}.jpg" for number in range(PHOTOS)]
    for photo in photos[1:]:
        for suffix in (".jpg", ".jpg.xmp", ".txt"):
            shutil.copy(f"{first.with_suffix('')}{suffix}", f"{photo.with_suffix('')}{suffix}")
    before = said(first)
    assert before.texts == (OLD, OLD, OLD)
    options = ("--sidecar", ".txt", "--xmp", "--write-metadata", "--existing", "replace", "--model", tiny)
    run = ("caption", folder, "-o", out, "--resume", *options)
    names = {path.name for path in folder.iterdir()}
    chance, killed, torn = random.Random(4), 0, 0
    for _ in range(KILLS):
        begun = out.stat().st_size if out.exists() else 0
        rows, moment = begun + chance.randrange(1, 800), chance.random() * 0.006

        def is_now(size: int = rows, moment: float = moment) -> bool:
            reached = out.exists() and out.stat().st_size >= size
            if reached:
                time.sleep(moment)
            return reached

        killed += capcli(*run, killed_when=is_now).code == -signal.SIGKILL
        for photo in photos:
            found = said(photo)
            assert found.rest == before.rest and set(found.texts) <= {OLD, NEW}
            torn += len(set(found.texts)) > 1
        others = {path.name for path in folder.iterdir()} - names
        assert all(name.startswith(".capcli-") and name.endswith(".tmp") for name in others)
    assert killed > KILLS // 2 and torn
    assert capcli(*run).code == 0
    assert {said(photo).texts for photo in photos} == {(NEW, NEW, NEW)}
    assert sorted(row.path for row in read_rows(out, "csv")) == sorted(map(str, photos))
    assert {path.name for path in folder.iterdir()} == names
