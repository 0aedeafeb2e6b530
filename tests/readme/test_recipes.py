"""README.md's recipes do what it says, with the real programs that they name."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Generator
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image

from capcli.outputs.records import read_rows
from tests.conftest import RunCommand
from tests.readme.shell import Shell, block, need, wait_until
from tests.shapes import draw

SHAPE = {"red": "circle", "blue": "circle", "green": "triangle"}
RED, BLUE, GREEN = (f"A {colour} {shape} on a white ground." for colour, shape in SHAPE.items())


def picture(colour: str) -> Image.Image:
    """One that the tiny bundle captions rightly, as a JPEG too."""
    return draw(SHAPE[colour], colour, "white", 1000, 64)


@pytest.fixture
def photos(shell: Shell) -> Path:
    folder = shell.folder / "photos"
    folder.mkdir()
    picture("red").save(folder / "red.jpg", quality=95)
    picture("blue").save(folder / "blue & so.jpg", quality=95)
    return folder


def captions(path: Path) -> dict[str, str | None]:
    """Caption or None by path; nothing where there is no file yet."""
    if not path.exists():
        return {}
    return {row.path: row.caption for row in read_rows(path, path.suffix[1:])}


@pytest.mark.parametrize("number", range(3))
def test_captions_come_by_a_pipe_of_paths(number: int, shell: Shell, photos: Path) -> None:
    line = block("fd -0").splitlines()[number]
    need(*(["fdfind"] if line.startswith("fd ") else ["find", "xargs"]))
    done = shell.run(line)
    assert (done.code, done.err) == (0, b"")
    found = {os.path.basename(path): said for path, said in captions(shell.folder / "captions.jsonl").items()}
    assert found == {"red.jpg": RED, "blue & so.jpg": BLUE}


def test_jq_picks_the_surer_photos(shell: Shell, sure: Path, photos: Path) -> None:
    need("jq")
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(photos / "noise.png")
    done = replace(shell, model=sure).run(block("select(.confidence > 0.5)"))
    assert (done.code, sorted(done.text.splitlines())) == (0, ["photos/blue & so.jpg", "photos/red.jpg"])


def test_jq_makes_alt_texts_for_a_page(shell: Shell, photos: Path) -> None:
    need("jq")
    done = shell.run(block("@html"))
    assert (done.code, sorted(done.text.splitlines())) == (
        0,
        [f'<img src="photos/blue &amp; so.jpg" alt="{BLUE}">', f'<img src="photos/red.jpg" alt="{RED}">'],
    )


def test_pandas_reads_the_rows(shell: Shell, photos: Path, capcli: RunCommand) -> None:
    pytest.importorskip("pandas")
    capcli("caption", photos, "-o", "captions.csv", "--model", shell.model, cwd=shell.folder)
    code = block("import pandas")
    done = subprocess.run([sys.executable, "-c", code], cwd=shell.folder, capture_output=True, check=True)
    assert done.stdout.count(b" circle on a white ground.") == 2


@pytest.fixture
def address(photos: Path) -> Generator[str]:
    """Of a photo, from a server that sends who asks for it to another address first."""

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/photo.jpg":
                self.send_response(302)
                self.send_header("Location", "/red.jpg")
                self.end_headers()
            else:
                super().do_GET()

    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(photos))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/photo.jpg"
        server.shutdown()


def test_curl_brings_a_photo_of_the_web(shell: Shell, address: str, capcli: RunCommand) -> None:
    need("curl")
    line = block("curl ", {"https://example.com/photo.jpg": address})
    done = shell.run(line, no_proxy="*")
    assert (done.code, done.text, done.err) == (0, f"{RED}\n", b"")
    # What is typed where capcli was given the address itself.
    assert capcli("caption", address).errors.endswith(f": {line}")
    missing = shell.run(line.replace("photo.jpg", "missing.jpg"), no_proxy="*")
    assert missing.code != 0 and missing.out == b"" and missing.errors.startswith("curl: (22) ")


def test_sqlite_utils_finds_captions_by_word(shell: Shell, photos: Path) -> None:
    pytest.importorskip("sqlite_utils", reason="needs sqlite-utils")
    lines = block("sqlite-utils search", {"'striped cats'": "'red circles'"})
    caption, insert, enable, search = lines.splitlines(keepends=True)
    assert shell.run(caption + insert + enable).code == 0
    picture("red").save(photos / "another.jpg")
    done = shell.run(caption.replace("\n", " --resume\n") + insert + search)
    head, *found = done.text.strip().splitlines()
    assert (done.code, head) == (0, "path\tcaption")
    assert sorted(found) == [f"photos/another.jpg\t{RED}", f"photos/red.jpg\t{RED}"]


def test_inotifywait_brings_photos_as_they_come(shell: Shell, photos: Path) -> None:
    need("inotifywait")
    out, odd = shell.folder / "captions.csv", photos / "moved, \n here.PNG"
    picture("blue").save(shell.folder / "elsewhere.png")
    with shell.started(block("inotifywait ")) as process:
        wait_until(lambda: watches_a_folder(process.pid))
        picture("red").save(photos / "red.jpg", quality=95)
        wait_until(lambda: captions(out) == {"photos/red.jpg": RED})
        (photos / "notes.txt").write_text("no photo")
        (shell.folder / "elsewhere.png").rename(odd)
        wait_until(lambda: len(captions(out)) > 1)
    # Neither the photo that was there before nor what is none.
    assert captions(out) == {"photos/red.jpg": RED, f"photos/{odd.name}": BLUE}


def watches_a_folder(group: int) -> bool:
    """Whether a process of a group has an inotify watch."""
    for info in Path("/proc").glob("[0-9]*/fdinfo/*"):
        # Processes end while they are looked at.
        with contextlib.suppress(OSError):
            if os.getpgid(int(info.parts[2])) == group and "inotify wd:" in info.read_text():
                return True
    return False


def test_a_loop_brings_photos_as_they_come(shell: Shell, photos: Path) -> None:
    out, content = shell.folder / "captions.csv", (photos / "red.jpg").read_bytes()
    (photos / "red.jpg").write_bytes(content[: len(content) // 2])
    with shell.started(f"sleep() {{ command sleep 0.2; }}\n{block('while sleep')}"):
        wait_until(lambda: captions(out) == {"photos/red.jpg": None, "photos/blue & so.jpg": BLUE})
        (photos / "red.jpg").write_bytes(content)
        (photos / "below").mkdir()
        picture("green").save(photos / "below" / "g.png")
        wait_until(lambda: None not in captions(out).values() and len(captions(out)) == 3)
    assert captions(out) == {"photos/red.jpg": RED, "photos/blue & so.jpg": BLUE, "photos/below/g.png": GREEN}


def test_ffmpeg_brings_the_seconds_of_a_film(shell: Shell) -> None:
    need("ffmpeg")
    for number, colour in enumerate(SHAPE):
        picture(colour).save(shell.folder / f"{number}.png")
    film = "ffmpeg -v error -framerate 1 -i %d.png -r 8 -c:v mpeg4 -q:v 2 film.mp4\n"
    done = shell.run(film + block("ffmpeg "))
    assert (done.code, done.err) == (0, b"")
    said = {f"frames/00000{second}.jpg": caption for second, caption in enumerate((RED, BLUE, GREEN))}
    assert captions(shell.folder / "film.csv") == said


def write_dng(path: Path, preview: Image.Image, orientation: int) -> None:
    """A raw photo as cameras and Adobe's converter lay it out: a JPEG preview, and the sensor's picture below it."""
    jpeg = io.BytesIO()
    preview.save(jpeg, "JPEG", quality=95)
    sensor = np.asarray(preview.convert("L"), np.uint16) * 16
    with tifffile.TiffWriter(path) as file:
        # Without the codec of its own that tifffile would ask for, the JPEG is written as if it were pixels.
        bytes_as_pixels = np.frombuffer(jpeg.getvalue(), np.uint8)[None]
        tags = [
            (ExifTags.Base.Orientation, "H", 1, orientation, True),
            (ExifTags.Base.DNGVersion, "B", 4, (1, 4, 0, 0), True),
        ]
        file.write(bytes_as_pixels, photometric="minisblack", subfiletype=1, subifds=1, metadata=None, extratags=tags)
        colours = [
            (tifffile.TIFF.TAGS["CFARepeatPatternDim"], "H", 2, (2, 2), True),
            (tifffile.TIFF.TAGS["CFAPattern"], "B", 4, (0, 1, 1, 2), True),
        ]
        file.write(sensor, photometric="cfa", metadata=None, extratags=colours)
    with tifffile.TiffFile(path, mode="r+") as written:
        page = written.pages.first.tags
        page["Compression"].overwrite(tifffile.COMPRESSION.JPEG)
        page["PhotometricInterpretation"].overwrite(tifffile.PHOTOMETRIC.YCBCR)
        page["ImageWidth"].overwrite(preview.width)
        page["ImageLength"].overwrite(preview.height)


def test_exiftool_brings_the_previews_of_raw_photos_and_their_xmp(shell: Shell) -> None:
    need("exiftool")
    pytest.importorskip("pyexiv2", reason="needs the metadata extra")

    raw = shell.folder / "raw"
    raw.mkdir()
    # The tiny bundle takes a circle that lies on its side for a square.
    write_dng(raw / "upright.dng", picture("red").rotate(90), 6)
    write_dng(raw / "edited.dng", picture("blue"), 1)
    before = {path.name: path.read_bytes() for path in raw.iterdir()}
    (raw / "edited.xmp").write_text("another program's")
    done = shell.run(block("exiftool -q"))
    assert (done.out, done.err) == (b"", b"")
    with Image.open(shell.folder / "previews" / "upright.jpg") as preview:
        assert preview.getexif()[ExifTags.Base.Orientation] == 6
    described = subprocess.run(
        ["exiftool", "-j", "-XMP-dc:Description", raw / "upright.xmp"], capture_output=True, check=True
    )
    assert json.loads(described.stdout)[0]["Description"] == RED
    assert (raw / "edited.xmp").read_text() == "another program's"
    assert {path.name: path.read_bytes() for path in raw.glob("*.dng")} == before
