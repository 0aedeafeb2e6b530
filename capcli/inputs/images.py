"""A file, bytes or an open image -> an RGB array: open, verify, orient, bound, resize.

The first bytes decide what a file is, never its suffix. Every mode becomes 8-bit RGB: transparency over white, the
first frame of an animation, EXIF orientation applied. Knows nothing of models or folders.
"""

from __future__ import annotations

import io
import os
import stat
import threading
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError, features

from capcli.errors import ImageError

if TYPE_CHECKING:
    from typing import TypeAlias

    ImageSource: TypeAlias = str | os.PathLike[str] | bytes | BinaryIO | Image.Image | np.ndarray

# The version of what `load_image` makes of a file. Whoever changes that raises it: pixels and features that were kept
# from before are then not taken for new ones.
PREPROCESSING = 1
# Larger pictures are refused before they are decoded: a few kilobytes can claim to be gigapixels.
MAX_PIXELS = 200_000_000
# Only readers that decode in this process: EPS, for one, would start another program.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM", "ICO", "JPEG2000")
# A JPEG is decoded at 1/2, 1/4 or 1/8 as long as this many times the wanted size is left to resize from.
_DRAFT_MARGIN = 2
_HEAD_BYTES = 64
_WHITE = (255, 255, 255, 255)
_OPENING = threading.Lock()


def load_image(
    source: ImageSource, *, size: tuple[int, int], keep_aspect: bool = False, max_pixels: int | None = MAX_PIXELS
) -> np.ndarray:
    """Reads one image and resizes the whole of it to `size`, by default without keeping its aspect ratio.

    Args:
        source: a path, the bytes of a file, an open binary file, a PIL image, or an array uint8 [H, W], [H, W, 1],
            [H, W, 3] (RGB) or [H, W, 4] (RGBA).
        size: width and height in pixels.
        keep_aspect: make it fit into `size` instead, the aspect ratio kept and never enlarged.
        max_pixels: larger images are refused; None for no limit.
    Returns:
        uint8 [height, width, 3], RGB; smaller than `size` where the aspect ratio is kept.
    Raises:
        ImageError: not an image, damaged, too large, or of a kind that cannot be read. The message does not name
            the file.
    """
    if isinstance(source, np.ndarray):
        return _to_rgb(_from_array(source), size, keep_aspect)
    if isinstance(source, Image.Image):
        _check_pixels(source, max_pixels)
        return _guarded(source, size, keep_aspect)
    if isinstance(source, (str, os.PathLike)):
        with _open_file(os.fspath(source)) as file:
            return _read(file, size, keep_aspect, max_pixels)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _read(io.BytesIO(source), size, keep_aspect, max_pixels)
    return _read(source, size, keep_aspect, max_pixels)


def sniff(head: bytes) -> str | None:
    """What a file is by its first bytes.

    Args:
        head: at least 16 bytes of it, if it has as many.
    Returns:
        A format's name, such as "JPEG" or "HEIC"; None if it looks like no kind of picture.
    """
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return name
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[4:8] == b"ftyp":
        brand = head[8:12]
        if brand in (b"avif", b"avis"):
            return "AVIF"
        if brand in (b"heic", b"heix", b"hevc", b"heim", b"heis", b"hevm", b"hevs", b"mif1", b"msf1"):
            # A general brand: the compatible brands tell AVIF from HEIC.
            return "AVIF" if b"avif" in head[16:] else "HEIC"
    return None


_MAGIC = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"II+\x00", "TIFF"),
    (b"MM\x00+", "TIFF"),
    (b"\x00\x00\x01\x00", "ICO"),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "JPEG2000"),
    (b"\xff\x4f\xff\x51", "JPEG2000"),
)
# What people take for photos and capcli does not read; named so that they know what to convert.
_FOREIGN = (
    (b"%PDF", "a PDF"),
    (b"%!PS", "a PostScript file"),
    (b"<svg", "an SVG drawing"),
    (b"<?xml", "an XML or SVG file"),
    (b"<!DOCTYPE", "a web page"),
    (b"<html", "a web page"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"8BPS", "a Photoshop file"),
    (b"\x1aE\xdf\xa3", "a video"),
)


def _open_file(path: str) -> BinaryIO:
    try:
        # A pipe or device that is named like a photo would block for ever when it is opened or read.
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise ImageError("is a folder, not an image")
        if not stat.S_ISREG(mode):
            raise ImageError("is not a regular file")
        return Path(path).open("rb")
    except OSError as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else _plain(error.strerror or str(error))
        raise ImageError(reason) from error
    except ValueError as error:
        raise ImageError(f"is no valid path ({error})") from error


def _read(file: BinaryIO, size: tuple[int, int], keep_aspect: bool, max_pixels: int | None) -> np.ndarray:
    try:
        head = file.read(_HEAD_BYTES)
        file.seek(0)
    except (OSError, ValueError) as error:
        raise ImageError(f"cannot be read ({error})") from error
    if not head:
        raise ImageError("is empty")
    kind = sniff(head)
    if kind == "HEIC":
        _register_heif()
    try:
        with warnings.catch_warnings():
            # Pillow warns of odd metadata and of many pixels; the first does not matter, the second is checked here.
            warnings.simplefilter("ignore")
            with _open(file, (*FORMATS, "HEIF") if kind == "HEIC" else FORMATS) as image:
                _check_pixels(image, max_pixels)
                if image.format == "JPEG" and image.mode in ("L", "RGB"):
                    image.draft(None, (size[0] * _DRAFT_MARGIN, size[1] * _DRAFT_MARGIN))
                return _guarded(image, size, keep_aspect)
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError(_what_else(head, kind)) from error
    except Exception as error:  # readers of hostile bytes raise anything
        raise ImageError(_damage(error)) from error


def _open(file: BinaryIO, formats: tuple[str, ...]) -> Image.Image:
    """Reads the header. The limit on pixels is this module's own, which can be raised; Pillow's is put back."""
    with _OPENING:
        limit = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None
        try:
            return Image.open(file, formats=formats)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _guarded(image: Image.Image, size: tuple[int, int], keep_aspect: bool) -> np.ndarray:
    try:
        return _to_rgb(image, size, keep_aspect)
    except ImageError:
        raise
    except MemoryError as error:
        raise ImageError("does not fit into memory") from error
    except Exception as error:  # readers of hostile bytes raise anything
        raise ImageError(_damage(error)) from error


def _check_pixels(image: Image.Image, max_pixels: int | None) -> None:
    width, height = image.size
    if width < 1 or height < 1:
        raise ImageError("has no pixels")
    if max_pixels is not None and width * height > max_pixels:
        raise ImageError(
            f"is too large: {width} x {height} pixels, more than {max_pixels}; --max-pixels raises the limit"
        )


def _to_rgb(image: Image.Image, size: tuple[int, int], keep_aspect: bool) -> np.ndarray:
    image.load()
    turned = ImageOps.exif_transpose(image)
    rgb = _flatten(turned if turned is not None else image)
    if keep_aspect:
        shrink = min(size[0] / rgb.width, size[1] / rgb.height, 1.0)
        size = (max(1, round(rgb.width * shrink)), max(1, round(rgb.height * shrink)))
    if rgb.size != size:
        rgb = rgb.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0)
    return np.array(rgb, dtype=np.uint8)


def _flatten(image: Image.Image) -> Image.Image:
    """Any mode to RGB."""
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        return _deep_grey(image).convert("RGB")
    if image.has_transparency_data:
        clear = image.convert("RGBA")
        ground = Image.new("RGBA", clear.size, _WHITE)
        return Image.alpha_composite(ground, clear).convert("RGB")
    return image.convert("RGB")


def _deep_grey(image: Image.Image) -> Image.Image:
    """16-bit, 32-bit and float grey to 8 bits. Pillow's own conversion clips everything above 255 to white."""
    values = np.asarray(image).astype(np.float64)
    values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    if image.mode == "F" and low >= 0 and high <= 1:
        scaled = values * 255
    elif low >= 0 and high <= 255:
        scaled = values
    elif low >= 0 and high <= 65535:
        scaled = values / 257
    else:
        scaled = (values - low) * (255 / (high - low))
    return Image.fromarray(np.round(scaled).astype(np.uint8))


def _from_array(array: np.ndarray) -> Image.Image:
    if array.dtype != np.uint8:
        raise ImageError(f"an array must be of type uint8, not {array.dtype}")
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))) or 0 in array.shape:
        raise ImageError(f"an array must have the shape [H, W], [H, W, 3] or [H, W, 4], not {list(array.shape)}")
    return Image.fromarray(np.ascontiguousarray(array))


def _register_heif() -> None:
    try:
        import pillow_heif
    except ImportError as error:
        raise ImageError("is a HEIC photo; to read them: pip install 'capcli[heic]'") from error
    pillow_heif.register_heif_opener()


def _what_else(head: bytes, kind: str | None) -> str:
    for magic, name in _FOREIGN:
        if head.lstrip().startswith(magic):
            return f"is {name}, not a photo capcli can read"
    if kind is not None and (kind != "AVIF" or features.check("avif")):
        return f"is a damaged {kind} image"
    if head[4:8] == b"ftyp":
        return f"is a video, or a photo of a kind that cannot be read here ({kind or 'unknown'})"
    text = all(byte >= 32 or byte in b"\t\r\n\f" for byte in head)
    return "is not an image (it looks like text)" if text else "is not an image"


def _damage(error: Exception) -> str:
    reason = " ".join(str(error).split())
    if "truncated" in reason.lower() or isinstance(error, EOFError):
        return "is damaged: the file ends too early"
    return f"is damaged ({reason or type(error).__name__})"


def _plain(reason: str) -> str:
    return reason[:1].lower() + reason[1:]
