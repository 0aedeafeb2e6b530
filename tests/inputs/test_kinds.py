"""What a file is, told by its bytes: only what is damaged is called damaged."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from capcli.errors import ImageError
from capcli.inputs.images import load_image
from capcli.inputs.kinds import HEAD_BYTES, sniff
from tests.conftest import python

SLOPE = np.linspace(0, 1, 64)[None, :] * np.linspace(0.2, 1, 48)[:, None]


def reason(content: bytes) -> str:
    with pytest.raises(ImageError) as caught:
        load_image(content, size=(64, 48))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def tiff(array: np.ndarray, **options: Any) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array, **options)
    return buffer.getvalue()


def jpeg(**options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray((SLOPE * 255).astype(np.uint8)).save(buffer, "JPEG", **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (b"<!doctype html><title>x</title>", "is a web page"),
        (b"\xef\xbb\xbf\r\n  <!DOCTYPE HTML>", "is a web page"),
        (b"<HTML><body>", "is a web page"),
        (b"\x00\x00\x00\x0cJXL \r\n\x87\n" + bytes(40), "JPEG XL photo, which cannot be read here; convert it"),
        (b"\xff\x0a\xfa\x1f" + bytes(40), "JPEG XL photo"),
        (b"FUJIFILMCCD-RAW 0201FF129502X-T2", r"raw photo of a camera \(Fujifilm RAF\)"),
        (b"\x00\x00\x00\x18ftypcrx \x00\x00\x00\x01crx isom", r"\(Canon CR3\)"),
        (b"IIRO\x08\x00\x00\x00" + bytes(40), r"\(Olympus ORF\)"),
        (b"IIU\x00\x18\x00\x00\x00" + bytes(40), r"\(Panasonic RW2\)"),
        (b"8BPS\x00\x01" + bytes(40), "a Photoshop file.*convert it"),
        (b"gimp xcf v011\x00" + bytes(40), "a GIMP file"),
        (b"\x00\x00\x00\x14ftypqt  \x00\x00\x00\x00qt  ", "is a video"),
        (b"RIFF\x24\x00\x00\x00AVI LIST", "is a video"),
        (b"P6\n64 48\n255\n" + bytes(40), "is a PNM image.*convert it"),
        (b"P2\n# by hand\n4 3\n15\n0 3 3 3\n", "is a PNM image"),
        (b"qoif\0\0\0\x40", "a QOI image"),
        (b"P6\tA dog on a lawn.\n", "looks like text"),
        (b"BMI and other measures, a list\n", "looks like text"),
        (b"BM" + bytes(60), "is not an image"),
    ],
)
def test_files_of_other_kinds_are_called_what_they_are(head: bytes, said: str) -> None:
    with pytest.raises(ImageError, match=said):
        load_image(head, size=(64, 48))
    assert sniff(head[:HEAD_BYTES]) is None


@pytest.mark.parametrize("bits", [1, 8, 24])
def test_a_bitmap_is_told_by_more_than_two_bytes(bits: int) -> None:
    buffer = io.BytesIO()
    Image.new({1: "1", 8: "P", 24: "RGB"}[bits], (9, 7)).save(buffer, "BMP")
    assert sniff(buffer.getvalue()[:HEAD_BYTES]) == "BMP"
    assert sniff(b"BMW/a.jpg\nBMW/b.jpg\nBMW/c.jpg\n") is None


@pytest.mark.parametrize(
    ("array", "options", "said"),
    [
        (np.dstack([SLOPE] * 3).astype(np.float32), {"photometric": "rgb"}, "3 floating-point samples of 32 bits"),
        (np.dstack([SLOPE] * 3).astype(np.float64), {"photometric": "rgb"}, "3 floating-point samples of 64 bits"),
        (np.dstack([SLOPE * 1e9] * 3).astype(np.uint32), {"photometric": "rgb"}, "3 samples of 32 bits"),
        (SLOPE.astype(np.float16), {}, "1 floating-point sample of 16 bits"),
        ((SLOPE * 1e9).astype(np.uint64), {}, "1 sample of 64 bits"),
        # Pillow reads these, as planes of 8 bits, which gives noise.
        (np.stack([SLOPE * 65535] * 3).astype(np.uint16), {"photometric": "rgb", "planarconfig": "separate"}, "planes"),
    ],
)
def test_a_healthy_tiff_of_an_unread_kind_is_not_called_damaged(
    array: np.ndarray, options: dict[str, Any], said: str
) -> None:
    content = tiff(array, **options)
    assert said in reason(content)
    assert reason(content).startswith("is a TIFF of a kind that cannot be read here (")
    # Cut, it is damaged whatever it is.
    assert reason(content[: len(content) // 2]) == "is a damaged TIFF image"


def test_a_tiff_that_is_packed_in_an_unread_way_is_not_called_damaged() -> None:
    for number, name in ((34887, "LERC"), (50001, "WebP")):
        content = bytearray(tiff((SLOPE * 255).astype(np.uint8)))
        tag = content.index(struct.pack("<HHI", 259, 3, 1))
        content[tag + 8 : tag + 10] = struct.pack("<H", number)
        assert f"{name} compression" in reason(bytes(content))


def test_a_raw_photo_in_a_tiff_is_called_one() -> None:
    version = (50706, "B", 4, (1, 4, 0, 0), True)
    raw = tiff((SLOPE * 4095).astype(np.uint16), photometric=32803, extratags=[version])
    assert reason(raw).startswith("is a raw photo of a camera (DNG)")


def test_jpegs_of_unread_kinds_are_not_called_damaged() -> None:
    content = jpeg()
    frame = content.index(b"\xff\xc0")
    twelve = bytearray(content)
    twelve[frame + 4] = 12
    assert "is a JPEG of a kind that cannot be read here (12-bit)" in reason(bytes(twelve))
    lossless = bytearray(content)
    lossless[frame + 1] = 0xC3
    assert "is a JPEG of a kind that cannot be read here (lossless)" in reason(bytes(lossless))


def test_a_cut_heic_is_damaged_and_no_video() -> None:
    pytest.importorskip("pillow_heif", reason="needs the heic extra").register_heif_opener()
    buffer = io.BytesIO()
    Image.fromarray((SLOPE * 255).astype(np.uint8)).convert("RGB").save(buffer, "HEIF")
    for part in (60, len(buffer.getvalue()) // 2):
        assert reason(buffer.getvalue()[:part]).startswith(("is a damaged HEIC image", "is damaged"))


@pytest.mark.parametrize("packing", ["tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"])
def test_native_libraries_say_nothing_and_reasons_are_in_words(packing: str, tmp_path: Any) -> None:
    path = tmp_path / "a.tif"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8)).save(path, compression=packing)
    content = bytearray(path.read_bytes())
    content[60 : len(content) - 400] = b"\xa5" * (len(content) - 460)
    path.write_bytes(content)
    done = python(
        "import sys\nfrom capcli.errors import ImageError\nfrom capcli.inputs.images import load_image\n"
        "try: load_image(sys.argv[1], size=(8, 8))\nexcept ImageError as error: print(error)",
        str(path),
    )
    assert done.code == 0 and done.errors == ""
    assert done.text in ("", "is a damaged TIFF image: its pixels cannot be decoded\n", "is a damaged TIFF image\n")
    assert packing in ("packbits", "jpeg") or done.text


def test_a_damaged_directory_does_not_fill_the_screen() -> None:
    content = bytearray(tiff(np.zeros((8, 300, 300), np.float16), metadata=None))
    place = content.index(struct.pack("<HHI", 258, 3, 1))
    # Its bits per sample are a thousand of the pixels' numbers.
    content[place : place + 12] = struct.pack("<HHII", 258, 3, 1000, len(content))
    said = reason(bytes(content) + struct.pack("<1000H", *range(1000)))
    assert "many different numbers of bits" in said and len(said) < 160


@pytest.mark.parametrize(("tag", "kind"), [(277, 2), (277, 7), (258, 2)])
def test_a_tiff_whose_numbers_are_text_is_called_damaged(tag: int, kind: int) -> None:
    content = bytearray(tiff(SLOPE.astype(np.float16)))
    place = content.index(struct.pack("<HHI", tag, 3, 1))
    content[place + 2 : place + 4] = struct.pack("<H", kind)
    assert reason(bytes(content)) == "is a damaged TIFF image"
