"""A picture is refused for what is wrong with the picture, and for nothing else in its file."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from capcli.errors import ImageError
from capcli.inputs.images import load_image
from tests.photos import photo_array

SIZE = (64, 48)
PHOTO = Image.fromarray(photo_array("astronaut")).resize(SIZE)
BIG = bytes(5 << 20)


def encode(kind: str, image: Image.Image = PHOTO, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(name: bytes, body: bytes, wrong: int = 0) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body) ^ wrong)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize(
    "odd",
    [
        chunk(b"tEXt", b"Comment\0x", wrong=1),
        chunk(b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(BIG)),
        chunk(b"zTXt", b"Comment\0\0" + zlib.compress(BIG)),
        b"".join(chunk(b"zTXt", b"k%d\0\0" % number + zlib.compress(BIG[:900_000])) for number in range(80)),
        chunk(b"iCCP", b"profile\0\0" + zlib.compress(BIG)),
        chunk(b"iCCP", b"profile\0\0no profile", wrong=1),
        chunk(b"eXIf", b"no EXIF"),
        chunk(b"gAMA", b""),
        chunk(b"pHYs", b"\0"),
        chunk(b"tRNS", b""),
        chunk(b"tRNS", bytes(6), wrong=1),
        chunk(b"acTL", b"\0", wrong=1),
        chunk(b"quIx", b"of somebody's own", wrong=7),
    ],
    ids=lambda odd: f"{odd[4:8].decode()}-{len(odd)}",
)
def test_a_png_is_read_around_what_is_not_its_picture(odd: bytes, last: bool) -> None:
    content = encode("PNG")
    place = content.index(b"IEND" if last else b"IDAT") - 4
    np.testing.assert_array_equal(
        load_image(content[:place] + odd + content[place:], size=SIZE), load_image(content, size=SIZE)
    )


def test_a_wrong_checksum_of_the_picture_itself_is_damage() -> None:
    content = bytearray(encode("PNG"))
    content[content.index(b"IDAT") + 10] ^= 1
    with pytest.raises(ImageError, match="damaged"):
        load_image(bytes(content), size=SIZE)


@pytest.mark.parametrize(
    "options",
    [
        {"quality": 80},
        {"quality": 80, "progressive": True},
        {"quality": 80, "subsampling": 0, "restart_marker_blocks": 2},
        {"quality": 60, "optimize": True},
    ],
    ids=["baseline", "progressive", "intervals", "optimised"],
)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_jpeg_without_its_end_is_whole_or_damaged_and_never_half(options: dict[str, Any], mode: str) -> None:
    content = encode("JPEG", PHOTO.convert(mode), **options)
    whole = load_image(content, size=SIZE)
    read = []
    for missing in range(1, len(content) - 20):
        try:
            picture = load_image(content[:-missing], size=SIZE)
        except ImageError as error:
            assert "damaged" in str(error)
            continue
        np.testing.assert_array_equal(picture, whole)
        read.append(missing)
    assert read == [1, 2]


def orientation_and(odd: bytes) -> bytes:
    """EXIF with orientation 6 and one more entry, which comes after it."""
    return b"Exif\0\0II*\0\x08\0\0\0\x02\0" + struct.pack("<HHII", 0x0112, 3, 1, 6) + odd + bytes(4)


@pytest.mark.parametrize(
    "odd",
    [
        # An exposure of a type that it cannot be of; a negative number where there is none; a place far outside.
        struct.pack("<HHIi", 0x9204, 10, 1, -1),
        struct.pack("<HHIi", 0x011A, 5, 1, -5),
        struct.pack("<HHII", 0x8769, 4, 1, 0xFFFFFF00),
        struct.pack("<HHII", 0x8825, 13, 1, 3),
        struct.pack("<HHII", 0x013B, 99, 1, 0),
    ],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_orientation_is_read_whatever_else_exif_holds(kind: str, odd: bytes) -> None:
    content = encode(kind, exif=orientation_and(odd))
    turned = load_image(PHOTO.transpose(Image.Transpose.ROTATE_270), size=(48, 64))
    assert np.abs(load_image(content, size=(48, 64)).astype(int) - turned).mean() < 8
