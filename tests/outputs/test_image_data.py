"""What writing metadata must not change: a file whose picture, or anything else than metadata, is another is told."""

from __future__ import annotations

import io
import random
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, PngImagePlugin

from capcli.outputs.image_data import image_data
from tests.photos import photo_array

PICTURE = Image.fromarray(photo_array("astronaut")).resize((48, 40))
OTHER = Image.fromarray(photo_array("chelsea")).resize((48, 40))
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
AFTER = b"what follows the picture"


def coded(kind: str, image: Image.Image = PICTURE, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def clear() -> Image.Image:
    image = PICTURE.convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


FILES = {
    "JPEG": coded("JPEG", icc_profile=PROFILE) + AFTER,
    "PNG": coded("PNG", icc_profile=PROFILE) + AFTER,
    "palette PNG": coded("PNG", PICTURE.quantize(8), transparency=3),
    "WEBP": coded("WEBP", icc_profile=PROFILE) + AFTER,
    "clear WEBP": coded("WEBP", clear(), lossless=True),
    "moving WEBP": coded("WEBP", save_all=True, append_images=[OTHER]),
    "TIFF": coded("TIFF", icc_profile=PROFILE),
    "two TIFF": coded("TIFF", save_all=True, append_images=[OTHER], compression="tiff_lzw"),
}


def shown(content: bytes) -> list[object] | None:
    """All that a viewer makes of a file; None where it makes nothing of it."""
    found: list[object] = []
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(content)) as image:
            for number in range(getattr(image, "n_frames", 1)):
                image.seek(number)
                found += [np.asarray(image.convert("RGBA")).tobytes(), image.size, image.info.get("icc_profile")]
    except Exception:
        return None
    return [*found, AFTER in content]


def parts(content: bytes, kind: str) -> list[object] | None:
    """None where the file is refused."""
    try:
        return list(image_data(content, kind))
    except ValueError:
        return None


@pytest.mark.parametrize("name", FILES)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_byte_that_changes_what_is_seen_changes_what_is_compared(name: str, seed: int) -> None:
    content, kind = FILES[name], name.split()[-1]
    chance = random.Random(seed)
    place = chance.randrange(12, len(content))
    changed = bytearray(content)
    changed[place] ^= 1 << chance.randrange(8)
    seen = shown(bytes(changed))
    if seen is not None and seen != shown(content):
        assert parts(bytes(changed), kind) != parts(content, kind)
    # And what is cut off is told, but for what nobody sees: Pillow fills a TIFF's last page up.
    cut = content[:place]
    assert parts(cut, kind) != parts(content, kind) or shown(cut) == shown(content)


def test_a_png_that_is_cut_within_its_end_is_refused() -> None:
    assert parts(coded("PNG"), "PNG") is not None and parts(coded("PNG")[:-1], "PNG") is None


def png_with_text(text: str) -> bytes:
    texts = PngImagePlugin.PngInfo()
    texts.add_text("parameters", text)
    return coded("PNG", pnginfo=texts)


# A resource of Photoshop's that is no metadata (paths), and one that is (IPTC).
def photoshop(number: int, data: bytes) -> bytes:
    resource = b"8BIM" + number.to_bytes(2, "big") + b"\0\0" + len(data).to_bytes(4, "big") + data
    payload = b"Photoshop 3.0\0" + resource
    content = coded("JPEG")
    return content[:2] + b"\xff\xed" + (len(payload) + 2).to_bytes(2, "big") + payload + content[2:]


def with_other_byte(content: bytes, after: bytes, distance: int) -> bytes:
    place = content.index(after) + distance
    return content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :]


WEBP_WITH_EXIF = coded("WEBP", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0")


@pytest.mark.parametrize(
    ("kind", "content", "after", "distance"),
    [
        ("JPEG", FILES["JPEG"], b"\xff\xdb", 10),
        ("JPEG", FILES["JPEG"], b"\xff\xda", 40),
        ("JPEG", FILES["JPEG"], AFTER, 1),
        ("JPEG", FILES["JPEG"], b"ICC_PROFILE", 100),
        ("PNG", FILES["PNG"], b"IDAT", 40),
        ("PNG", FILES["palette PNG"], b"PLTE", 5),
        ("PNG", FILES["palette PNG"], b"tRNS", 5),
        ("PNG", FILES["PNG"], AFTER, 1),
        ("WEBP", FILES["WEBP"], b"VP8 ", 40),
        ("WEBP", FILES["WEBP"], AFTER, 1),
        # Transparency, and the width.
        ("WEBP", WEBP_WITH_EXIF, b"VP8X", 8),
        ("WEBP", WEBP_WITH_EXIF, b"VP8X", 12),
        ("TIFF", coded("TIFF"), PICTURE.tobytes()[:64], 8),
        ("TIFF", coded("TIFF", save_all=True, append_images=[OTHER]), OTHER.tobytes()[:64], 8),
    ],
)
def test_every_part_of_a_picture_counts(kind: str, content: bytes, after: bytes, distance: int) -> None:
    assert parts(content, kind) is not None
    assert parts(with_other_byte(content, after, distance), kind) != parts(content, kind)


@pytest.mark.parametrize(
    ("kind", "one", "other"),
    [
        ("JPEG", photoshop(0x07D0, b"path"), photoshop(0x07D0, b"part")),
        ("JPEG", coded("JPEG", comment=b"one"), coded("JPEG", comment=b"two")),
        ("JPEG", coded("JPEG", icc_profile=PROFILE), coded("JPEG")),
        ("PNG", png_with_text("one"), png_with_text("two")),
        ("PNG", coded("PNG", dpi=(72, 72)), coded("PNG", dpi=(300, 300))),
        ("TIFF", coded("TIFF", software="one"), coded("TIFF", software="two")),
    ],
)
def test_what_is_not_seen_is_compared_too(kind: str, one: bytes, other: bytes) -> None:
    assert parts(one, kind) is not None and parts(one, kind) != parts(other, kind)


@pytest.mark.parametrize(
    ("kind", "one", "other"),
    [
        ("JPEG", photoshop(0x0404, b"old\0"), photoshop(0x0404, b"longer.\0")),
        ("JPEG", coded("JPEG", comment=b"one"), coded("JPEG", comment=b"one\0")),
        ("WEBP", coded("WEBP"), WEBP_WITH_EXIF),
        ("TIFF", coded("TIFF", description="one"), coded("TIFF", description="another one")),
    ],
)
def test_metadata_is_not_compared(kind: str, one: bytes, other: bytes) -> None:
    assert one != other and parts(one, kind) is not None and parts(one, kind) == parts(other, kind)


def test_files_that_are_built_otherwise_are_refused() -> None:
    jpeg, png, tiff = coded("JPEG"), coded("PNG"), coded("TIFF")
    first = int.from_bytes(tiff[4:8], "little")
    count = int.from_bytes(tiff[first : first + 2], "little")
    circle = tiff[: first + 2 + 12 * count] + tiff[4:8] + tiff[first + 6 + 12 * count :]
    for content, kind, reason in (
        (jpeg[:20] + b"x" + jpeg[20:], "JPEG", "do not join"),
        (png[:-3], "PNG", "ends too early"),
        (circle, "TIFF", "go in a circle"),
        (tiff[:-100], "TIFF", "end"),
    ):
        with pytest.raises(ValueError, match=reason):
            image_data(content, kind)
