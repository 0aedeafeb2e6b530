"""The caption gets into the photo's metadata, and nothing else of the photo changes."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from capcli.errors import OutputError
from capcli.outputs import metadata
from capcli.outputs.exiv2 import Metadata
from capcli.outputs.metadata import PhotoMetadata, write_description
from capcli.outputs.outcomes import Outcome
from capcli.outputs.rows import Row
from capcli.outputs.text_edits import Edit
from tests.conftest import python
from tests.photos import photo_array

pyexiv2 = pytest.importorskip("pyexiv2")

CAPTION = 'Ein Hund läuft über Gras 🐶 – "schnell".'
ODD_NAMES = ["a photo", 'it\'s "a" photo', "two\nlines", "café 🐶", "-o", os.fsdecode(b"\xff\xfe caf\xe9"), "x" * 250]
posix = pytest.mark.skipif(os.name == "nt", reason="names, links and modes of POSIX")
OLD_TIMES = (1_000_000_000_123_456_789, 1_100_000_000_987_654_321)


def photo(name: str = "astronaut", size: tuple[int, int] = (160, 120)) -> Image.Image:
    return Image.fromarray(photo_array(name)).resize(size)


def profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def camera_exif(description: str | None = None) -> Image.Exif:
    """What a telephone writes: maker, orientation, exposure, position."""
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    exif[0x0112] = 6
    exif.get_ifd(0x8769).update({0x9003: "2024:05:06 07:08:09", 0x8827: 200})
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 8.0, 30.5), 3: "E", 4: (11.0, 34.0, 2.25)})
    if description is not None:
        exif[0x010E] = description
    return exif


def frames(source: Path | bytes) -> list[np.ndarray]:
    """Every frame's pixels."""
    with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
        found = []
        for index in range(getattr(image, "n_frames", 1)):
            image.seek(index)
            found.append(np.array(image))
        return found


def same(before: list[np.ndarray], after: list[np.ndarray]) -> bool:
    return len(before) == len(after) and all(np.array_equal(one, two) for one, two in zip(before, after, strict=True))


def descriptions(path: Path) -> dict[str, object]:
    """The three fields as the library reads them."""
    with pyexiv2.ImageData(path.read_bytes()) as image:
        return {
            "xmp": image.read_xmp().get("Xmp.dc.description"),
            "exif": image.read_exif().get("Exif.Image.ImageDescription"),
            "iptc": image.read_iptc().get("Iptc.Application2.Caption"),
        }


def edit(path: Path, change: Callable[[Any], None]) -> None:
    """Changes metadata with the library itself."""
    with pyexiv2.ImageData(path.read_bytes()) as image:
        change(image)
        path.write_bytes(image.get_bytes())


def save_photo(path: Path, image: Image.Image | None = None, **options: Any) -> Path:
    (image or photo()).save(path, **options)
    return path


KINDS: dict[str, Callable[[Path], Path]] = {
    "baseline.jpg": lambda path: save_photo(path, exif=camera_exif(), icc_profile=profile(), comment=b"a comment"),
    "bare.jpg": save_photo,
    "progressive-cmyk.jpg": lambda path: save_photo(path, image=photo().convert("CMYK"), progressive=True),
    "two-pictures.jpg": lambda path: save_photo(
        path, format="MPO", save_all=True, append_images=[photo("chelsea")], exif=camera_exif()
    ),
    "bare.png": save_photo,
    "full.png": lambda path: save_photo(path, exif=camera_exif(), icc_profile=profile(), dpi=(300, 300)),
    "palette.png": lambda path: save_photo(path, image=photo().quantize(16), transparency=3),
    "animated.png": lambda path: save_photo(path, save_all=True, append_images=[photo("chelsea")], duration=100),
    "lossy.webp": save_photo,
    "lossless.webp": lambda path: save_photo(path, lossless=True),
    "alpha-lossless.webp": lambda path: save_photo(path, image=translucent(), lossless=True),
    "alpha.webp": lambda path: save_photo(path, image=translucent()),
    "full.webp": lambda path: save_photo(path, exif=camera_exif(), icc_profile=profile()),
    "animated.webp": lambda path: save_photo(path, save_all=True, append_images=[photo("chelsea")], duration=100),
    "bare.tif": save_photo,
    "full.tif": lambda path: save_photo(path, exif=camera_exif(), icc_profile=profile(), compression="tiff_lzw"),
    "pages.tif": lambda path: save_photo(
        path, save_all=True, append_images=[photo("chelsea")], compression="tiff_adobe_deflate"
    ),
    "three-pages.tif": lambda path: save_photo(path, save_all=True, append_images=[photo("chelsea"), photo("coffee")]),
    "jpeg-inside.tif": lambda path: save_photo(path, compression="jpeg"),
    "fax.tif": lambda path: save_photo(path, image=photo().convert("1"), compression="group4"),
    "deep.tif": lambda path: save_photo(path, image=Image.fromarray(np.arange(4096, dtype=np.uint16).reshape(64, 64))),
}


def translucent() -> Image.Image:
    image = photo().convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


@pytest.mark.parametrize("name", KINDS)
def test_the_caption_is_written_and_the_rest_stays(name: str, tmp_path: Path) -> None:
    path = KINDS[name](tmp_path / name)
    before = frames(path)
    with Image.open(path) as image:
        info, exif = dict(image.info), image.getexif()
        camera = {tag: value for tag, value in exif.items() if tag in (0x010F, 0x0112)}
        position, exposure = exif.get_ifd(0x8825), exif.get_ifd(0x8769)
    os.utime(path, ns=OLD_TIMES)
    assert write_description(path, CAPTION) == Outcome(True)
    status = path.stat()
    assert (status.st_atime_ns, status.st_mtime_ns) == OLD_TIMES
    assert descriptions(path) == {"xmp": {'lang="x-default"': CAPTION}, "exif": CAPTION, "iptc": None}
    assert same(before, frames(path))
    with Image.open(path) as image:
        assert image.info.get("icc_profile") == info.get("icc_profile")
        assert image.info.get("comment", b"").rstrip(b"\0") == info.get("comment", b"")
        for key in info.keys() & {"dpi", "transparency", "loop", "duration"}:
            assert image.info[key] == info[key]
        exif = image.getexif()
        # EXIF texts are Latin-1 to Pillow.
        assert str(exif[0x010E]).encode("latin-1").decode() == CAPTION
        assert {tag: exif.get(tag) for tag in camera} == camera
        assert exif.get_ifd(0x8825) == position
        assert exif.get_ifd(0x8769) == exposure
    assert os.listdir(tmp_path) == [name]


def test_pillow_reads_the_xmp(tmp_path: Path) -> None:
    path = save_photo(tmp_path / "a.jpg")
    write_description(path, 'A dog <runs> & "jumps".')
    with Image.open(path) as image:
        assert b'<rdf:li xml:lang="x-default">A dog &lt;runs&gt; &amp; "jumps".</rdf:li>' in image.info["xmp"]


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif"])
@pytest.mark.parametrize("where", ["exif", "xmp", "iptc"])
def test_a_description_is_replaced_only_when_told(name: str, where: str, tmp_path: Path) -> None:
    if where == "iptc" and name in ("a.webp", "a.png"):
        return  # WebP has none, and Exiv2 reads only some of what it writes to PNG
    path = save_photo(tmp_path / name)
    tags = {
        "exif": {"Exif.Image.ImageDescription": "Mother, 1974"},
        "xmp": {"Xmp.dc.description": {'lang="x-default"': "Mother, 1974"}},
        "iptc": {"Iptc.Application2.Caption": "Mother, 1974", "Iptc.Application2.Byline": ["Father"]},
    }
    edit(path, lambda image: getattr(image, f"modify_{where}")(tags[where]))
    content = path.read_bytes()
    outcome = write_description(path, CAPTION)
    assert outcome == Outcome(False, "its metadata has a description already: 'Mother, 1974'")
    assert path.read_bytes() == content
    assert write_description(path, CAPTION, overwrite=True).written
    # IPTC follows where a photo has it, and is not begun where it has none.
    iptc = CAPTION if where == "iptc" else None
    assert descriptions(path) == {"xmp": {'lang="x-default"': CAPTION}, "exif": CAPTION, "iptc": iptc}
    assert not write_description(path, "A cat.").written
    assert same(frames(content), frames(path))


@pytest.mark.parametrize("blank", ["", " " * 31, "\0" * 31, " \0"])
def test_the_blanks_that_cameras_write_are_no_description(blank: str, tmp_path: Path) -> None:
    path = save_photo(tmp_path / "a.jpg", exif=camera_exif(blank))
    edit(path, lambda image: image.modify_iptc({"Iptc.Application2.Caption": blank}))
    assert write_description(path, CAPTION).written


def describe_in_exif(image: Any, coding: str) -> None:
    image.modify_exif({"Exif.Image.ImageDescription": "Hündin"}, coding)


def test_a_description_is_told_as_people_read_it(tmp_path: Path) -> None:
    """In EXIF it is UTF-8 more often than Latin-1, as which Exiv2 gives both."""
    path = save_photo(tmp_path / "a.jpg")
    for coding in ("utf-8", "latin-1"):
        edit(path, partial(describe_in_exif, coding=coding))
        assert write_description(path, "A dog.").reason == "its metadata has a description already: 'Hündin'"


def test_what_a_photo_keeps_is_its_own_whichever_was_asked_last(tmp_path: Path) -> None:
    one, two = (str(save_photo(tmp_path / name)) for name in ("1.jpg", "2.jpg"))
    write_description(one, "One.")
    write_description(two, "Two.")
    places = PhotoMetadata()
    assert not places.wants(one) and not places.wants(two)
    kept = [places.keeps(path) for path in (one, two, one)]
    assert kept == [f"its metadata has a description already: '{text}'" for text in ("One.", "Two.", "One.")]


def test_a_png_description_counts_and_other_texts_stay(tmp_path: Path) -> None:
    texts = PngImagePlugin.PngInfo()
    texts.add_text("parameters", "a dog, 20 steps")
    texts.add_itxt("Title", "Hündin", zip=True)
    path = save_photo(tmp_path / "a.png", pnginfo=texts)
    assert write_description(path, "A dog.").written
    with Image.open(path) as image:
        assert image.info["parameters"] == "a dog, 20 steps"
        assert image.info["Title"] == "Hündin"
    texts.add_text("Description", "Mother, 1974")
    path = save_photo(tmp_path / "b.png", pnginfo=texts)
    assert "Mother, 1974" in str(write_description(path, "A dog.").reason)
    assert write_description(path, "A dog.", overwrite=True).written
    with Image.open(path) as image:
        assert image.info["Description"] == "A dog."


def test_other_metadata_and_languages_stay(tmp_path: Path) -> None:
    path = save_photo(tmp_path / "a.jpg")
    languages = {'lang="x-default"': "A cat", 'lang="en-US"': "A cat", 'lang="de-DE"': "Eine Katze, schwarz"}
    other = {"Xmp.dc.subject": ["cat", "Tier, groß"], "Xmp.xmp.Rating": "4", "Xmp.dc.title": {'lang="x-default"': "T"}}
    edit(path, lambda image: image.modify_xmp({"Xmp.dc.description": languages, **other}))
    assert write_description(path, CAPTION, overwrite=True).written
    with pyexiv2.ImageData(path.read_bytes()) as image:
        xmp = image.read_xmp()
    # What only repeated the default language follows it; a translation is somebody's work.
    assert xmp.pop("Xmp.dc.description") == {
        'lang="x-default"': CAPTION,
        'lang="en-US"': CAPTION,
        'lang="de-DE"': "Eine Katze, schwarz",
    }
    assert xmp == other


def test_iptc_in_an_old_coding_stays_readable(tmp_path: Path) -> None:
    path = save_photo(tmp_path / "a.jpg")
    old = {"Iptc.Application2.City": "München", "Iptc.Application2.Caption": "Straße"}
    edit(path, lambda image: image.modify_iptc(old, "latin-1"))
    assert write_description(path, "A dog.").reason == "its metadata has a description already: 'Straße'"
    for caption, iptc in (("A dog.", "A dog."), (CAPTION, None)):
        assert write_description(path, caption, overwrite=True).written
        with pyexiv2.ImageData(path.read_bytes()) as image:
            found = image.read_iptc("latin-1")
        # The one coding holds for all texts: one that it cannot say goes to EXIF and XMP only.
        assert found == {"Iptc.Application2.City": "München"} | ({"Iptc.Application2.Caption": iptc} if iptc else {})


def test_iptc_that_is_begun_in_ascii_tells_its_coding_and_has_no_more_than_fits(tmp_path: Path) -> None:
    path = save_photo(tmp_path / "a.jpg")
    edit(path, lambda image: image.modify_iptc({"Iptc.Application2.City": "Rome"}))
    for caption, iptc in ((CAPTION, CAPTION), ("ü" * 1000, "ü" * 1000), ("ü" * 1000 + "x", None)):
        assert write_description(path, caption, overwrite=True).written
        assert descriptions(path) == {"xmp": {'lang="x-default"': caption}, "exif": caption, "iptc": iptc}
        with pyexiv2.ImageData(path.read_bytes()) as image:
            # Without it, others read UTF-8 as Latin-1.
            assert image.read_iptc()["Iptc.Envelope.CharacterSet"] == "\x1b%G"


def test_what_follows_the_picture_stays(tmp_path: Path) -> None:
    path = save_photo(tmp_path / "a.jpg")
    video = b"the video of a motion photo" * 1000
    path.write_bytes(path.read_bytes() + video)
    assert write_description(path, CAPTION).written
    assert path.read_bytes().endswith(video)


@posix
@pytest.mark.parametrize("stem", ODD_NAMES)
def test_any_name_works(stem: str, tmp_path: Path) -> None:
    folder = tmp_path / stem
    folder.mkdir()
    path = folder / f"{stem}.jpg"
    photo().save(path)
    assert write_description(path, CAPTION).written
    assert descriptions(path)["exif"] == CAPTION
    assert os.listdir(folder) == [path.name]


@posix
def test_permissions_owner_and_extended_attributes_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save_photo(tmp_path / "a.jpg")
    modes: list[int] = []
    open_ = os.open

    def watched(name: str, flags: int, mode: int = 0o777, **how: Any) -> int:
        modes.extend([mode] if flags & os.O_CREAT else [])
        return open_(name, flags, mode, **how)

    monkeypatch.setattr(os, "open", watched)
    path.chmod(0o604)
    if os.geteuid() == 0:
        os.chown(path, 12345, 23456)
    attributes = hasattr(os, "setxattr")
    if attributes:
        try:
            os.setxattr(path, "user.tags", b"family")
        except OSError:
            attributes = False  # the disk keeps none
    before = path.stat()
    assert write_description(path, CAPTION).written
    after = path.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    # Until then nobody else may look into the new file.
    assert modes == [0o600]
    if attributes:
        assert os.getxattr(path, "user.tags") == b"family"


@posix
def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "album").mkdir()
    path = save_photo(tmp_path / "album" / "a.jpg")
    (tmp_path / "one.jpg").symlink_to("album/a.jpg")
    (tmp_path / "two.jpg").symlink_to(tmp_path / "one.jpg")
    assert write_description(tmp_path / "two.jpg", CAPTION).written
    assert os.readlink(tmp_path / "one.jpg") == "album/a.jpg"
    assert (tmp_path / "two.jpg").is_symlink()
    assert descriptions(path)["exif"] == CAPTION
    assert not path.is_symlink()
    assert os.listdir(tmp_path / "album") == ["a.jpg"]


@posix
def test_a_link_that_was_found_is_not_followed_out_of_its_folder(tmp_path: Path) -> None:
    for folder in ("elsewhere", "q", "q/inside"):
        (tmp_path / folder).mkdir()
    out, inside = save_photo(tmp_path / "elsewhere" / "a.jpg"), save_photo(tmp_path / "q" / "inside" / "b.jpg")
    before = out.read_bytes()
    links = {
        "file.jpg": "../elsewhere/a.jpg",
        "folder": "../elsewhere",
        "chain.jpg": "file.jpg",
        "in.jpg": "inside/b.jpg",
    }
    for name, target in links.items():
        (tmp_path / "q" / name).symlink_to(target)
    q = str(tmp_path / "q")
    found = [f"{q}/{name}" for name in ("file.jpg", "folder/a.jpg", "chain.jpg", "in.jpg")]
    for overwrite in (False, True):
        places = PhotoMetadata(overwrite=overwrite, links=dict.fromkeys(found, q))
        for path in found[:3]:
            with pytest.raises(OutputError, match=r"a link leads out of .*q to the photo; name the photo itself"):
                places.put([Row(path, CAPTION, -0.1, None)])
    assert out.read_bytes() == before
    assert places.put([Row(found[3], CAPTION, -0.1, None)]).written
    assert descriptions(inside)["exif"] == CAPTION
    # One that was named is followed.
    assert PhotoMetadata().put([Row(found[0], CAPTION, -0.1, None)]).written
    assert descriptions(out)["exif"] == CAPTION
    # Whatever it says by now, that it is not followed is told.
    assert PhotoMetadata(links={found[0]: q}).wants(found[0]) and not PhotoMetadata().wants(found[0])


def test_a_description_that_says_the_same_is_no_news(tmp_path: Path) -> None:
    path = save_photo(tmp_path / "a.jpg")
    assert write_description(path, "A  dog.").written
    content = path.read_bytes()
    again = write_description(path, "A dog.")
    assert again.same and not again.written and not again.failed
    assert path.read_bytes() == content


@posix
def test_a_snapshot_that_shares_the_file_keeps_the_old_one(tmp_path: Path) -> None:
    path = save_photo(tmp_path / "a.jpg")
    before = path.read_bytes()
    os.link(path, tmp_path / "snapshot.jpg")
    assert write_description(path, CAPTION).written
    assert descriptions(path)["exif"] == CAPTION
    assert (tmp_path / "snapshot.jpg").read_bytes() == before


@pytest.mark.parametrize("name", ["a.gif", "a.bmp", "a.ppm", "a.avif", "a.jp2", "a.ico"])
def test_formats_that_are_left_alone_are_told(name: str, tmp_path: Path) -> None:
    path = save_photo(tmp_path / name)
    before = path.read_bytes()
    with pytest.raises(OutputError, match=r"^its metadata cannot be written: .* files are left alone; JPEG, PNG"):
        write_description(path, CAPTION)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == [name]


def test_tiff_files_that_would_lose_something_are_left_alone(tmp_path: Path) -> None:
    path = save_photo(tmp_path / "a.tif", big_tiff=True)
    with pytest.raises(OutputError, match="BigTIFF"):
        write_description(path, CAPTION)
    path = save_photo(tmp_path / "a.tif", tiffinfo={330: 8})
    before = path.read_bytes()
    with pytest.raises(OutputError, match="sub-images"):
        write_description(path, CAPTION)
    assert path.read_bytes() == before


def end_of_pipe(path: Path) -> None:
    with contextlib.suppress(OSError):
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))


@posix
def test_what_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    save_photo(tmp_path / "locked.jpg").chmod(0o444)
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "cut.jpg").write_bytes(save_photo(tmp_path / "good.jpg", exif=camera_exif()).read_bytes()[:300])
    os.mkfifo(tmp_path / "pipe.jpg")
    # Who reads it all the same waits for a few seconds, and not for ever.
    timer = threading.Timer(5, end_of_pipe, [tmp_path / "pipe.jpg"])
    timer.daemon = True
    timer.start()
    before = sorted(os.listdir(tmp_path))
    for name, reason in [
        ("locked.jpg", "the photo is read-only"),
        ("missing.jpg", "no such file or directory"),
        ("good.jpg/a.jpg", "not a directory"),
        ("loop.jpg", "too many levels of symbolic links"),
        ("pipe.jpg", "it is not a regular file"),
        (".", "it is not a regular file"),
        ("empty.jpg", "files are left alone"),
        ("cut.jpg", "the photo or its metadata is damaged"),
    ]:
        with pytest.raises(OutputError) as caught:
            write_description(tmp_path / name, CAPTION)
        assert str(caught.value).startswith("its metadata cannot be written: ")
        assert reason in str(caught.value)
        assert "\n" not in str(caught.value)
    assert sorted(os.listdir(tmp_path)) == before


@posix
def test_a_folder_that_takes_no_files_is_told(tmp_path: Path) -> None:
    # Root may write anywhere, so root's tests give that up first, once all modules are loaded.
    folder = tmp_path / "locked"
    folder.mkdir()
    path = save_photo(folder / "a.jpg")
    before = path.read_bytes()
    code = (
        "import os, sys\n"
        "from capcli.errors import OutputError\n"
        "from capcli.outputs.metadata import PhotoMetadata, write_description\n"
        "PhotoMetadata()\n"
        "os.chdir(sys.argv[1])\n"
        "if os.geteuid() == 0: os.setgid(65534), os.setuid(65534)\n"
        "try: write_description('a.jpg', 'A dog.')\n"
        "except OutputError as error: print(error)"
    )
    path.chmod(0o666)
    modes = {above: above.stat().st_mode for above in (folder, *folder.parents[:3])}
    for above, mode in modes.items():
        above.chmod(mode | 0o011)
    folder.chmod(0o555)
    try:
        done = python(code, str(folder))
    finally:
        for above, mode in modes.items():
            above.chmod(mode)
    assert done.text == "its metadata cannot be written: permission denied\n", done.errors
    assert path.read_bytes() == before
    assert os.listdir(folder) == ["a.jpg"]


def test_a_full_disk_leaves_the_photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save_photo(tmp_path / "a.jpg")
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"^its metadata cannot be written: no space is left on the disk$"):
        write_description(path, CAPTION)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.jpg"]


@pytest.mark.parametrize("same_size", [False, True])
def test_a_photo_that_changes_meanwhile_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, same_size: bool
) -> None:
    path = save_photo(tmp_path / "a.jpg")
    real = metadata._edited

    def slow(content: bytes, change: Callable[[Metadata], Edit]) -> tuple[bytes | None, Edit]:
        if same_size:
            path.write_bytes(content[:-1] + b"x")
            os.utime(path, ns=(1, 1))
        else:
            photo("coffee").save(path)
        return real(content, change)

    monkeypatch.setattr(metadata, "_edited", slow)
    with pytest.raises(OutputError, match="another program changed the photo"):
        write_description(path, CAPTION)
    assert descriptions(path)["exif"] is None
    assert os.listdir(tmp_path) == ["a.jpg"]


def test_warnings_of_the_library_do_not_reach_standard_output(tmp_path: Path) -> None:
    # The library prints from C++, so that only another process's standard output shows it.
    path = save_photo(tmp_path / "a.jpg", exif=camera_exif())
    content = bytearray(path.read_bytes())
    # The camera's name is of a type that TIFF does not know.
    content[content.index(b"\x01\x0f\0\x02") + 3] = 99
    path.write_bytes(content)
    assert (
        "unknown Exif (TIFF) type 99"
        in python("import sys, pyexiv2; pyexiv2.ImageData(open(sys.argv[1], 'rb').read()).read_exif()", str(path)).text
    )
    done = python(
        "import sys; from capcli.outputs.metadata import write_description as write\n"
        "print(write(sys.argv[1], 'A dog.').written)",
        str(path),
    )
    assert done.text == "True\n"


@posix
def test_a_kill_leaves_every_photo_whole(tmp_path: Path) -> None:
    kinds = ["baseline.jpg", "full.png", "lossy.webp", "pages.tif"]
    before = {name: frames(KINDS[name](tmp_path / name)) for name in kinds}
    code = (
        "import os, sys; from capcli.outputs.metadata import write_description\n"
        "print('ready', flush=True)\n"
        "for number in range(100000):\n"
        "    for name in sys.argv[2:]:\n"
        "        write_description(f'{sys.argv[1]}/{name}', f'Caption {number}.', overwrite=True)\n"
    )
    written = set()
    for round_ in range(12):
        process = subprocess.Popen([sys.executable, "-c", code, tmp_path, *kinds], stdout=subprocess.PIPE)
        with process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(0.02 + 0.013 * round_)
            process.kill()
        for name in kinds:
            assert same(before[name], frames(tmp_path / name))
            written.add(descriptions(tmp_path / name)["exif"])
        rest = sorted(set(os.listdir(tmp_path)) - set(kinds))
        assert all(name.startswith(".capcli-") and name.endswith(".tmp") for name in rest)
        assert len(rest) <= round_ + 1
    assert any(written)


def test_without_the_library_one_line_says_what_to_do() -> None:
    code = (
        "import sys; sys.modules['pyexiv2'] = None\n"
        "from capcli.errors import DependencyError\n"
        "from capcli.outputs.metadata import PhotoMetadata, write_description\n"
        "for call in (PhotoMetadata, lambda: write_description('a.jpg', 'A dog.')):\n"
        "    try: call()\n"
        "    except DependencyError as error: print(error)\n"
    )
    line = "writing metadata needs pyexiv2: pip install 'capcli[metadata]'\n"
    assert python(code).text == line + line


def test_as_a_destination_it_gives_each_photo_the_best_caption_and_keeps_what_is_there(tmp_path: Path) -> None:
    path = str(save_photo(tmp_path / "a.jpg"))
    rows = [Row(path, "A dog.", -0.1, None, 1), Row(path, "A cat.", -0.2, None, 2)]
    assert PhotoMetadata().put(rows) == Outcome(True)
    assert descriptions(tmp_path / "a.jpg")["exif"] == "A dog."
    assert not PhotoMetadata().put(rows[1:]).written
    assert PhotoMetadata(overwrite=True).put(rows[1:]).written
    assert descriptions(tmp_path / "a.jpg")["exif"] == "A cat."


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_photo_that_has_a_description_wants_none(tmp_path: Path, form: str) -> None:
    path = tmp_path / "photo"
    photo().save(path, form)
    assert PhotoMetadata().wants(str(path))
    PhotoMetadata().put([Row(str(path), "A dog.", -1.0, None)])
    assert not PhotoMetadata().wants(str(path))
    assert PhotoMetadata(overwrite=True).wants(str(path))


def test_what_cannot_be_asked_is_wanted_so_that_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "text.jpg").write_text("no photo")
    (tmp_path / "cut.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    photo().save(tmp_path / "photo.bmp")
    asked = [*tmp_path.iterdir(), tmp_path, tmp_path / "missing.jpg", "a\0b"]
    if hasattr(os, "mkfifo"):
        # Opening one would wait for somebody who writes.
        os.mkfifo(tmp_path / "pipe.jpg")
        asked.append(tmp_path / "pipe.jpg")
    assert all(PhotoMetadata().wants(str(path)) for path in asked)
    photo().save(tmp_path / "large.jpg")
    write_description(tmp_path / "large.jpg", "A dog.")
    assert not PhotoMetadata().wants(str(tmp_path / "large.jpg"))
    monkeypatch.setattr(metadata, "MAX_BYTES", 100)
    assert PhotoMetadata().wants(str(tmp_path / "large.jpg"))
    with pytest.raises(OutputError, match="the photo is larger than 1 GB"):
        write_description(tmp_path / "large.jpg", "A cat.", overwrite=True)
