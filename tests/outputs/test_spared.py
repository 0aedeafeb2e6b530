"""What captions are never written over: pictures under any name, what the command reads, places that links lead to."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest
from PIL import Image

from capcli.errors import UsageError
from capcli.outputs import Existing, RowFile, row_format
from capcli.outputs.spared import check_output_file, is_picture, is_same_file, leads_out

posix = pytest.mark.skipif(sys.platform == "win32", reason="links need rights there, and pipes are others")

# Not read by Pillow alone, or not at all: how they begin is enough.
HEADS = {
    "HEIC": b"\0\0\0\x18ftypheic\0\0\0\0heicmif1",
    "AVIF": b"\0\0\0\x18ftypavif\0\0\0\0avifmif1",
    "Photoshop": b"8BPS\0\1" + bytes(20),
    "JPEG XL": b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(20),
    "Fujifilm raw": b"FUJIFILMCCD-RAW 0201" + bytes(20),
    "Canon CR3": b"\0\0\0\x18ftypcrx \0\0\0\1",
    "PPM": b"P6\n4 4\n255\n" + bytes(48),
    "PBM in text": b"P1\n# drawn\n2 2\n1 0 0 1\n",
    "video": b"\0\0\0\x18ftypisom\0\0\2\0",
}


def picture(kind: str) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (4, 4)).save(content, kind)
    return content.getvalue()


@pytest.mark.parametrize("kind", [*("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "JPEG2000", "ICO"), *HEADS])
def test_a_picture_is_told_by_its_first_bytes(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(HEADS.get(kind) or picture(kind))
    assert is_picture(str(path))
    with pytest.raises(UsageError, match=r"x\.csv: is a photo, and is never replaced; name another output file"):
        check_output_file(path)


@pytest.mark.parametrize("existing", Existing)
@pytest.mark.parametrize(
    "name", ["x.jpg", "x.TIF", "x.heic", "x.jp2", "x.CR2", "x.jxl", "x.mp4", "x.ppm", "x.TGA", "x.pcx", "x.hif"]
)
def test_rows_go_to_no_file_that_ends_as_photos_do(name: str, existing: Existing, tmp_path: Path) -> None:
    with (
        pytest.raises(UsageError, match=rf"{name}: ends in \.\w+ as photos do"),
        RowFile(tmp_path / name, row_format("csv", ranked=False), existing=existing).opened(),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "start", [b"mmorpg/1.jpg\tA dog.\n", b"path,caption,score,error\r\n", b"BMW.jpg\tA car.\n", b""]
)
def test_rows_are_no_picture_whatever_they_begin_with(start: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_bytes(start)
    assert not is_picture(str(path))
    check_output_file(path)


def test_what_is_not_there_is_no_picture(tmp_path: Path) -> None:
    assert not is_picture(str(tmp_path / "x")) and not is_picture(str(tmp_path)) and not is_picture("a\0b")
    check_output_file(tmp_path / "x.csv", ["y.csv", "a\0b", tmp_path / "missing.jpg"])


@posix
def test_a_pipe_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    # Reading would wait for ever.
    check_output_file(tmp_path / "pipe", [tmp_path / "pipe"])
    check_output_file(Path(os.devnull), [os.devnull])


@posix
def test_links_are_what_they_point_to(tmp_path: Path) -> None:
    (tmp_path / "photo").write_bytes(picture("PNG"))
    for name, target in (("a.csv", "photo"), ("b.csv", "nowhere.jpg")):
        (tmp_path / name).symlink_to(target)
        with pytest.raises(UsageError, match="photo"):
            check_output_file(tmp_path / name)
    os.link(tmp_path / "photo", tmp_path / "c.csv")
    with pytest.raises(UsageError, match="is a photo"):
        check_output_file(tmp_path / "c.csv")


@posix
def test_an_input_is_known_by_any_of_its_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("list.txt").write_text("a.jpg\n")
    Path("link.txt").symlink_to("list.txt")
    os.link("list.txt", "hard.txt")
    Path("folder").mkdir()
    for other in ("list.txt", "./list.txt", "folder/../list.txt", tmp_path / "list.txt", "link.txt", "hard.txt"):
        with pytest.raises(UsageError, match=r"list\.txt: is one of the inputs"):
            check_output_file(Path("list.txt"), ["folder", other])
    with open("list.txt", "rb") as file, pytest.raises(UsageError, match="is one of the inputs"):
        check_output_file(Path("link.txt"), [file.fileno()])
    # One that is not there yet, too.
    assert is_same_file("new.csv", "folder/../new.csv") and not is_same_file("new.csv", "list.txt")


@posix
def test_links_lead_out_of_a_folder_or_not(tmp_path: Path) -> None:
    for name in ("q/in", "q2"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "q2" / "a.jpg").write_bytes(b"")
    links = {"q/out.jpg": "../q2/a.jpg", "q/d": "../q2", "q/in/up.jpg": "../b.jpg", "q/gone.jpg": "/no/such", "r": "q"}
    for name, target in links.items():
        (tmp_path / name).symlink_to(target)
    leading = {name: leads_out(str(tmp_path / name), str(tmp_path / "q")) for name in (*links, "q/d/a.jpg", "q/b.jpg")}
    assert [name for name, out in leading.items() if out] == ["q/out.jpg", "q/d", "q/gone.jpg", "q/d/a.jpg"]
    # The folder itself may be a link, or the root of all.
    assert not leads_out(str(tmp_path / "r" / "in"), str(tmp_path / "r"))
    assert not leads_out(str(tmp_path / "q" / "d"), "/")
