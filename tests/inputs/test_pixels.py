"""Deep grey and transparent colours look as in a viewer: scaled by the file's own depth, laid over white."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from capcli.inputs.images import load_image

SIZE = (64, 48)
SLOPE = np.linspace(0, 1, 64)[None, :] * np.linspace(0.2, 1, 48)[:, None]


def grey(content: bytes) -> np.ndarray:
    """float [48, 64], 0 to 1."""
    array = load_image(content, size=SIZE)
    assert (array == array[..., :1]).all()
    return array[..., 0] / 255


def tiff(array: np.ndarray, **options: Any) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array, **options)
    return buffer.getvalue()


def png(bits: int, colour_type: int, rows: list[bytes], *, key: bytes | None = None, key_last: bool = False) -> bytes:
    """A PNG of 64 x 48 with a transparent colour, before or after its pixels."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 64, 48, bits, colour_type, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    clear = b"" if key is None else chunk(b"tRNS", key)
    return b"\x89PNG\r\n\x1a\n" + header + (pixels + clear if key_last else clear + pixels) + chunk(b"IEND", b"")


# Pillow does not read 32 bits of which zero is white.
@pytest.mark.parametrize(("bits", "white_is_zero"), [(8, False), (8, True), (16, False), (16, True), (32, False)])
def test_unsigned_grey_is_scaled_by_its_bits(bits: int, white_is_zero: bool) -> None:
    kind = np.dtype(f"uint{bits}")
    content = tiff(
        (SLOPE * np.iinfo(kind).max).astype(kind), photometric="miniswhite" if white_is_zero else "minisblack"
    )
    assert np.abs(grey(content) - (1 - SLOPE if white_is_zero else SLOPE)).max() < 0.005


def test_twelve_bits_are_not_taken_for_sixteen() -> None:
    values = (SLOPE * 4095).astype(np.uint16).reshape(-1, 2)
    packed = np.empty((len(values), 3), np.uint8)
    packed[:, 0], packed[:, 1] = values[:, 0] >> 4, (values[:, 0] & 15) << 4 | values[:, 1] >> 8
    packed[:, 2] = values[:, 1] & 255
    content = bytearray(tiff(packed.reshape(48, 96), photometric="minisblack", metadata=None))
    for tag, value in ((256, 64), (258, 12)):
        place = content.index(struct.pack("<HH", tag, 3 if tag == 258 else 4) + struct.pack("<I", 1))
        content[place + 8 : place + 12] = struct.pack("<I", value)
    assert np.abs(grey(bytes(content)) - SLOPE).max() < 0.01


@pytest.mark.parametrize("largest", [255, 300, 4000, 65535])
def test_sixteen_bit_grey_is_as_dark_as_it_is(largest: int) -> None:
    values = (SLOPE * largest).astype(np.uint16)
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    for content in (buffer.getvalue(), tiff(values)):
        assert np.abs(grey(content) - values / 65535).max() < 0.003


@pytest.mark.parametrize("kind", ["int8", "int16", "int32", "float32"])
def test_what_has_no_black_and_white_is_stretched_between_its_values(kind: str) -> None:
    assert np.abs(grey(tiff((SLOPE * 100 - 60).astype(kind))) - SLOPE).max() < 0.02
    assert (grey(tiff(np.full((48, 64), -7, kind))) == 128 / 255).all()


def test_floats_from_zero_to_one_are_taken_as_such() -> None:
    assert np.abs(grey(tiff((SLOPE / 2).astype(np.float32))) - SLOPE / 2).max() < 0.003


@pytest.mark.parametrize("nothing", [-9999.0, float("nan"), float("inf"), -3.4028234663852886e38])
def test_what_has_no_value_is_black(nothing: float) -> None:
    tags = [(42113, "s", 0, "-9999", True)] if nothing == -9999 else []
    heights = np.where(SLOPE < 0.3, nothing, 200 + 100 * SLOPE).astype(np.float32)
    shown = grey(tiff(heights, extratags=tags))
    assert (shown[SLOPE < 0.3] == 0).all()
    # The others have the whole range to themselves.
    seen = heights[SLOPE >= 0.3]
    assert np.abs(shown[SLOPE >= 0.3] - (seen - seen.min()) / (seen.max() - seen.min())).max() < 0.003
    assert (grey(tiff(np.full((48, 64), np.nan, np.float32))) == 0).all()


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_a_transparent_grey_of_few_bits_is_white(bits: int) -> None:
    top = 2**bits - 1
    values = np.tile(np.arange(64) // (64 >> bits), (48, 1)).astype(np.uint8)
    rows = [np.packbits(np.unpackbits(row[:, None], axis=1)[:, 8 - bits :].reshape(-1)).tobytes() for row in values]
    for key in range(top + 1):
        shown = grey(png(bits, 0, rows, key=struct.pack(">H", key)))
        assert np.abs(shown - np.where(values == key, 1, values / top)).max() < 0.003


def test_a_transparent_colour_is_white() -> None:
    levels = (SLOPE * 255).astype(np.uint8)
    colours = np.dstack([levels, 255 - levels, levels])
    clear = levels == levels[10, 20]
    eight = png(8, 2, [row.tobytes() for row in colours], key=struct.pack(">3H", *map(int, colours[10, 20])))
    # What is below eight bits is of no account.
    deep = ((colours.astype(np.uint16) << 8) + np.array([7, 130, 255], np.uint16)).astype(">u2")
    sixteen = png(16, 2, [row.tobytes() for row in deep], key=deep[10, 20].tobytes())
    for content in (eight, sixteen):
        shown = load_image(content, size=SIZE)
        assert (shown[clear] == 255).all()
        assert np.abs(shown[~clear].astype(int) - colours[~clear]).max() <= 1
    grey16 = (SLOPE * 65535).astype(">u2")
    shown = load_image(
        png(16, 0, [row.tobytes() for row in grey16], key=struct.pack(">H", int(grey16[10, 20]))), size=SIZE
    )
    assert (shown[10, 20] == 255).all() and (shown[11, 20] < 64).all()


def test_a_transparent_colour_after_the_pixels_counts_for_nothing() -> None:
    levels = (SLOPE * 255).astype(np.uint8)
    rows = [row.tobytes() for row in levels]
    assert (grey(png(8, 0, rows, key=b"\0\0", key_last=True)) == grey(png(8, 0, rows))).all()


@pytest.mark.parametrize("kind", ["uint16", "int16", "float32"])
def test_a_large_deep_picture_is_not_held_in_memory_as_floats(kind: str) -> None:
    content = tiff(np.zeros((3000, 3000), kind))
    tracemalloc.start()
    try:
        load_image(content, size=SIZE)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # Two copies of its values, two of the 8-bit picture; 64-bit floats would be 8 bytes a pixel each time.
    assert most < (2 * np.dtype(kind).itemsize + 2 + 6) * 3000 * 3000
