"""Any mode of picture -> 8-bit RGB as a viewer shows it: transparency over white, deep grey by its own depth.

Knows nothing of files' names or of models.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import ExifTags, Image

_WHITE = (255, 255, 255, 255)
# TIFF tags (TIFF 6.0; 42113 is GDAL's).
_BITS, _PHOTOMETRIC, _PLANES, _SAMPLE_FORMAT, _NO_DATA = 258, 262, 284, 339, 42113
_UNSIGNED, _SIGNED = 1, 2
# Values that are scaled at once.
_BLOCK = 1 << 18
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Depth:
    """What a file says of its grey values.

    `bits` is None where they have no fixed range (signed integers, floats). `no_data` marks pixels without a value,
    `transparent` those that nothing is seen of.
    """

    bits: int | None = 16
    white_is_zero: bool = False
    unsigned: bool = True
    no_data: float | None = None
    transparent: int | None = None


def upright(image: Image.Image) -> Image.Image:
    """Turns a picture as its EXIF orientation says; other EXIF values may be as odd as they like."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # readers of odd metadata raise anything
        return image
    turn = _TURNS.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def depth_of(image: Image.Image) -> Depth:
    """The depth of a grey picture of more than 8 bits, read before it is decoded.

    TIFF says it in tags. PNG, PGM and JPEG 2000 come from Pillow scaled to 16 bits, and so is a picture in memory.
    """
    tags: Any = getattr(image, "tag_v2", None)
    transparent = image.info.get("transparency")
    key = transparent if isinstance(transparent, int) else None
    if tags is None:
        return Depth(bits=None if image.mode == "F" else 16, transparent=key)
    number = _first(tags.get(_SAMPLE_FORMAT), _UNSIGNED)
    return Depth(
        bits=int(_first(tags.get(_BITS), 16)) if number == _UNSIGNED else None,
        white_is_zero=tags.get(_PHOTOMETRIC) == 0,
        unsigned=number != _SIGNED,
        no_data=_number(tags.get(_NO_DATA)),
    )


def reads_planes_wrongly(image: Image.Image) -> bool:
    """Whether Pillow would read a colour TIFF's planes of 16 bits as planes of 8, which gives noise."""
    tags: Any = getattr(image, "tag_v2", None)
    return tags is not None and tags.get(_PLANES) == 2 and len(image.getbands()) > 1 and _first(tags.get(_BITS), 8) > 8


def scale_transparency(image: Image.Image) -> None:
    """Gives a PNG's transparent colour the range of the pixels that Pillow makes of it; before decoding.

    Pillow keeps the value of the file's own depth (1 to 16 bits) and scales the pixels to 8.
    """
    key = image.info.get("transparency")
    tile: Any = getattr(image, "tile", None)
    raw = str(tile[0][3]) if image.format == "PNG" and tile else ""
    if isinstance(key, tuple) and raw.startswith("RGB;16"):
        image.info["transparency"] = tuple(value >> 8 for value in key)
    elif isinstance(key, int) and raw in ("L;2", "L;4"):
        image.info["transparency"] = key * (255 // (2 ** int(raw[2:]) - 1))


def flatten(image: Image.Image, depth: Depth) -> Image.Image:
    """Any mode to RGB, transparent parts over white.

    Args:
        image: decoded.
        depth: from `depth_of`; used where a value has more than 8 bits.
    """
    signed = image.mode == "L" and not depth.unsigned
    if image.mode.startswith("I;16") or image.mode in ("I", "F") or signed:
        return _deep_grey(image, depth).convert("RGB")
    if image.has_transparency_data:
        clear = image.convert("RGBA")
        ground = Image.new("RGBA", clear.size, _WHITE)
        return Image.alpha_composite(ground, clear).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _deep_grey(image: Image.Image, depth: Depth) -> Image.Image:
    """Grey of more than 8 bits to 8; Pillow's own conversion clips everything above 255 to white.

    Unsigned integers are scaled by their number of bits. Signed integers and floats have no black and white of their
    own: floats from 0 to 1 are taken as such, all others are stretched from the smallest to the largest value, one
    value alone is mid-grey. What is no number, infinite or the file's no-data value is black.
    """
    values = np.asarray(image)
    if image.mode == "L":
        values = values.view(np.int8)
    elif values.dtype == np.int32 and depth.unsigned and (depth.bits or 0) > 16:
        # Pillow has no unsigned 32-bit mode; the bits are the file's.
        values = values.view(np.uint32)
    # A picture in memory may be of a mode that can hold more than it usually does.
    beyond = values.dtype == np.int32 and depth.bits == 16 and (values.min() < 0 or values.max() > 65535)
    by_bits = depth.bits is not None and not beyond
    span = None if by_bits else _span(values, depth)
    shown = np.empty(values.shape, np.uint8)
    for rows in _blocks(values.shape):
        whole = values[rows].astype(np.float64)
        if by_bits:
            scaled = whole / (2 ** (depth.bits or 16) - 1)
        else:
            scaled = _stretch(whole, _is_value(whole, depth), span, unit=image.mode == "F")
        if depth.white_is_zero:
            scaled = 1 - scaled
        if depth.transparent is not None:
            scaled = np.where(values[rows] == depth.transparent, 1.0, scaled)
        shown[rows] = np.round(np.clip(scaled, 0, 1) * 255).astype(np.uint8)
    return Image.fromarray(shown)


def _blocks(shape: tuple[int, ...]) -> Iterator[slice]:
    """Rows that are taken at once: floats are eight times as large as what they are made of."""
    step = max(1, _BLOCK // shape[1])
    return (slice(start, start + step) for start in range(0, shape[0], step))


def _is_value(whole: np.ndarray, depth: Depth) -> np.ndarray:
    # GDAL's usual mark for nothing is the largest negative float.
    valid: np.ndarray = np.isfinite(whole) & (whole > -3e38)
    return valid if depth.no_data is None else valid & (whole != depth.no_data)


def _span(values: np.ndarray, depth: Depth) -> tuple[float, float] | None:
    """The smallest and the largest valid value; None where there is none."""
    ends: list[float] = []
    for rows in _blocks(values.shape):
        whole = values[rows].astype(np.float64)
        whole = whole[_is_value(whole, depth)]
        if whole.size:
            ends += [float(whole.min()), float(whole.max())]
    return (min(ends), max(ends)) if ends else None


def _stretch(values: np.ndarray, valid: np.ndarray, span: tuple[float, float] | None, *, unit: bool) -> np.ndarray:
    """To 0 to 1, by the smallest and largest valid value unless `unit` and all lie there already."""
    if span is None:
        return np.zeros(values.shape)
    low, high = span
    if unit and low >= 0 and high <= 1:
        scaled = values
    elif high > low:
        # Halves, since the difference of two floats can be more than the largest one.
        scaled = (values / 2 - low / 2) / (high / 2 - low / 2)
    else:
        scaled = np.full(values.shape, 0.5)
    return np.where(valid, scaled, 0.0)


def _first(value: Any, default: int) -> Any:
    if isinstance(value, tuple):
        return value[0] if value else default
    return default if value is None else value


def _number(text: Any) -> float | None:
    try:
        return float(str(text).strip("\0 \n"))
    except ValueError:
        return None
