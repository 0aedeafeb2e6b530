"""Images of every kind become RGB arrays; what is no image gets a reason a person understands."""

from __future__ import annotations

import io
import os
import struct
import threading
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from capcli.errors import ImageError
from capcli.inputs.images import load_image
from capcli.inputs.kinds import sniff
from tests.conftest import python
from tests.photos import photo_array

SIZE = (64, 48)


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    return Image.fromarray(photo_array("astronaut"))


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def difference(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(int) - other.astype(int)).mean())


def test_the_whole_image_is_squashed_to_the_size(photo: Image.Image) -> None:
    array = load_image(photo, size=SIZE)
    assert array.shape == (48, 64, 3)
    assert array.dtype == np.uint8
    wanted = np.asarray(photo.resize(SIZE, Image.Resampling.BICUBIC))
    assert difference(array, wanted) < 1.0


def test_an_image_that_keeps_its_aspect_fits_into_the_size_and_never_grows() -> None:
    wide = encode(Image.new("RGB", (800, 200), "navy"), "JPEG")
    assert load_image(wide, size=SIZE, keep_aspect=True).shape == (16, 64, 3)
    assert load_image(encode(Image.new("L", (9, 7)), "PNG"), size=SIZE, keep_aspect=True).shape == (7, 9, 3)
    assert load_image(encode(Image.new("L", (900, 1)), "PNG"), size=SIZE, keep_aspect=True).shape == (1, 64, 3)
    turned = Image.Exif()
    turned[0x0112] = 6
    upright = load_image(encode(Image.new("RGB", (800, 200)), "JPEG", exif=turned), size=SIZE, keep_aspect=True)
    assert upright.shape == (48, 12, 3)


def test_an_image_of_the_right_size_is_left_as_it_is(photo: Image.Image) -> None:
    small = photo.resize(SIZE)
    np.testing.assert_array_equal(load_image(encode(small, "PNG"), size=SIZE), np.asarray(small))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000"])
def test_every_format_shows_the_same_picture(kind: str, photo: Image.Image) -> None:
    content = encode(photo, kind)
    assert sniff(content[:64]) == kind
    assert difference(load_image(content, size=SIZE), load_image(photo, size=SIZE)) < 12


@pytest.mark.parametrize("kind", ["WEBP", "TIFF", "AVIF", "ICO", "JPEG2000"])
def test_a_photo_loads_no_readers_of_other_kinds(kind: str, photo: Image.Image, tmp_path: Path) -> None:
    path = tmp_path / "photo"
    path.write_bytes(encode(photo.resize((64, 64)), kind))
    done = python(
        "import sys\nfrom capcli.inputs.images import load_image\nload_image(sys.argv[1], size=(8, 8))\n"
        "print('PIL.PdfImagePlugin' in sys.modules)\n",
        str(path),
    )
    assert done.text == "False\n"


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "I;16", "I", "F", "HSV", "YCbCr", "LAB"]
)
def test_every_mode_becomes_rgb(mode: str, photo: Image.Image) -> None:
    grey = photo.convert("L")
    if mode == "I;16":
        image = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
        assert image.mode == "I;16"
    elif mode == "I":
        image = Image.fromarray(np.asarray(grey).astype(np.int32) * 257)
    elif mode == "F":
        image = Image.fromarray((np.asarray(grey) / 255).astype(np.float32))
    elif mode == "PA":
        image = photo.convert("P").convert("PA")
    elif mode == "LAB":
        from PIL import ImageCms

        to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
        converted = ImageCms.applyTransform(photo, to_lab)
        assert converted is not None
        image = converted
    else:
        image = photo.convert(mode)
    wanted = photo if mode not in ("1", "L", "LA", "I;16", "I", "F") else grey.convert("RGB")
    assert difference(load_image(image, size=SIZE), load_image(wanted, size=SIZE)) < 16


def test_transparency_is_laid_over_white() -> None:
    clear = Image.new("RGBA", (8, 8), (200, 0, 0, 0))
    half = Image.new("RGBA", (8, 8), (0, 0, 0, 128))
    assert (load_image(encode(clear, "PNG"), size=(4, 4)) == 255).all()
    assert np.abs(load_image(encode(half, "PNG"), size=(4, 4)).astype(int) - 127).max() <= 1
    palette = Image.new("P", (8, 8), 0)
    palette.putpalette([10, 20, 30, 200, 100, 50])
    assert (load_image(encode(palette, "PNG", transparency=0), size=(4, 4)) == 255).all()
    grey = Image.new("LA", (8, 8), (0, 0))
    assert (load_image(encode(grey, "PNG"), size=(4, 4)) == 255).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    upright = np.zeros((40, 60, 3), np.uint8)
    upright[:20, :30] = 255
    image = Image.fromarray(upright)
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = image.transpose(undo[orientation]) if orientation > 1 else image
    exif = Image.Exif()
    exif[0x0112] = orientation
    array = load_image(encode(stored, "JPEG", quality=95, exif=exif), size=(60, 40))
    assert difference(array, upright) < 3


def test_an_animation_shows_its_first_frame() -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ((255, 0, 0), (0, 255, 0))]
    for kind in ("GIF", "WEBP", "PNG"):
        content = encode(frames[0], kind, save_all=True, append_images=frames[1:])
        array = load_image(content, size=(4, 4)).astype(int)
        assert np.abs(array - np.array([255, 0, 0])).max() < 8


def test_a_large_jpeg_decoded_at_reduced_size_looks_the_same(photo: Image.Image) -> None:
    large = photo.resize((2400, 1800), Image.Resampling.LANCZOS)
    array = load_image(encode(large, "JPEG", quality=92), size=(224, 224))
    assert difference(array, load_image(large, size=(224, 224))) < 3


@pytest.mark.parametrize(("mode", "levels", "reduced"), [("RGB", 6, True), ("L", 6, True), ("RGB", 2, False)])
def test_a_large_jpeg_2000_is_decoded_at_a_reduced_size_that_it_holds(
    mode: str, levels: int, reduced: bool, photo: Image.Image
) -> None:
    """As a whole where it was not halved often enough."""
    large = photo.convert(mode).resize((2400, 1800), Image.Resampling.LANCZOS)
    content = encode(large, "JPEG2000", num_resolutions=levels)
    whole = load_image(Image.open(io.BytesIO(content)), size=(224, 224))
    apart = difference(load_image(content, size=(224, 224)), whole)
    assert 0 < apart < 3 if reduced else apart == 0


def test_a_damaged_jpeg_2000_is_refused_at_either_size(photo: Image.Image) -> None:
    content = encode(photo.resize((2400, 1800)), "JPEG2000")
    with pytest.raises(ImageError):
        load_image(content[: len(content) // 8], size=(224, 224))


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it is this large."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_a_picture_that_does_not_fit_into_memory_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(image: Image.Image) -> Image.Image:
        raise MemoryError

    monkeypatch.setattr("capcli.inputs.images.upright", full)
    image = Image.new("RGB", (30, 20))
    for source in (image, encode(image, "PNG"), encode(image, "JPEG")):
        with pytest.raises(ImageError, match=r"^does not fit into memory$"):
            load_image(source, size=SIZE)


def test_a_grey_array_may_have_an_axis_for_its_only_channel() -> None:
    grey = np.arange(48 * 64, dtype=np.uint8).reshape(48, 64)
    wanted = load_image(grey, size=SIZE)
    assert np.array_equal(wanted[..., 0], grey) and np.array_equal(load_image(grey[..., None], size=SIZE), wanted)


def test_the_limit_is_of_the_caller_and_pillow_keeps_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    content = encode(Image.new("RGB", (30, 20)), "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert load_image(content, size=SIZE, max_pixels=600).shape == (48, 64, 3)
    assert load_image(content, size=SIZE, max_pixels=None).shape == (48, 64, 3)
    with pytest.raises(ImageError, match=r"^is too large: 30 x 20 pixels, more than 599;"):
        load_image(content, size=SIZE, max_pixels=599)
    # Who uses Pillow for something else has the limit that they had.
    assert Image.MAX_IMAGE_PIXELS == 100
    with pytest.raises(Image.DecompressionBombError):
        Image.open(io.BytesIO(content))


def test_a_decompression_bomb_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(ImageError, match=r"too large: 60000 x 60000 pixels.*--max-pixels"):
        load_image(bomb(60000, 60000), size=SIZE)
    with pytest.raises(ImageError, match="too large"):
        load_image(
            encode(Image.new("L", (11, 10)), "PNG"),
            size=SIZE,
            max_pixels=100,
        )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"hello, I am text\n", "looks like text"),
        (bytes(range(1, 65)), "is not an image"),
        (b"%PDF-1.7 ...", "a PDF"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG drawing"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "PostScript"),
        (b"\x00\x00\x00\x18ftypmp42" + bytes(50), "video"),
        (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(50), r"capcli\[heic\]|damaged"),
        (b"\x89PNG\r\n\x1a\n" + b"garbage" * 5, "damaged|PNG"),
        (bomb(0, 5), "damaged|no pixels"),
    ],
)
def test_what_is_no_image_is_told(content: bytes, reason: str) -> None:
    with pytest.raises(ImageError, match=reason) as caught:
        load_image(content, size=SIZE)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_a_truncated_file_is_never_half_a_picture(kind: str, photo: Image.Image) -> None:
    content = encode(photo, kind)
    for part in (0.3, 0.6, 0.9):
        with pytest.raises(ImageError, match="damaged"):
            load_image(content[: int(len(content) * part)], size=SIZE)


def test_a_heic_photo_shows_the_same_picture_or_is_told_to_be_damaged(photo: Image.Image) -> None:
    pytest.importorskip("pillow_heif", reason="needs the heic extra").register_heif_opener()
    content = encode(photo, "HEIF")
    assert sniff(content[:64]) == "HEIC"
    assert difference(load_image(content, size=SIZE), load_image(photo, size=SIZE)) < 12
    for part in (0.3, 0.6, 0.9):
        with pytest.raises(ImageError, match="damaged"):
            load_image(content[: int(len(content) * part)], size=SIZE)


@given(st.integers(0, 2**32), st.sampled_from(["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"]))
@settings(max_examples=60, deadline=None)
def test_damaged_bytes_give_an_image_or_an_image_error(seed: int, kind: str) -> None:
    random = np.random.default_rng(seed)
    content = bytearray(encode(Image.fromarray(random.integers(0, 256, (24, 24, 3), np.uint8)), kind))
    for place in random.integers(0, len(content), 6):
        content[place] = random.integers(0, 256)
    try:
        assert load_image(bytes(content), size=(8, 8)).shape == (8, 8, 3)
    except ImageError as error:
        assert "\n" not in str(error)


def test_files_that_are_no_regular_files_are_told(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no such file"):
        load_image(tmp_path / "x.jpg", size=SIZE)
    with pytest.raises(ImageError, match="is a folder"):
        load_image(tmp_path, size=SIZE)
    with pytest.raises(ImageError, match="no valid path"):
        load_image("a\0b.jpg", size=SIZE)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_named_pipe_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    caught: list[str] = []

    def load() -> None:
        try:
            load_image(tmp_path / "pipe.jpg", size=SIZE)
        except ImageError as error:
            caught.append(str(error))

    thread = threading.Thread(target=load, daemon=True)
    thread.start()
    thread.join(20)
    assert caught == ["is not a regular file"]


@pytest.mark.parametrize(
    "array",
    [np.zeros((4, 4, 3)), np.zeros((4, 4, 2), np.uint8), np.zeros(4, np.uint8), np.zeros((0, 4, 3), np.uint8)],
)
def test_arrays_of_other_kinds_are_refused(array: np.ndarray) -> None:
    with pytest.raises(ImageError, match="an array must"):
        load_image(array, size=SIZE)
