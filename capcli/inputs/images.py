"""A file, bytes or an open image -> an RGB array: open, verify, orient, bound, resize.

The first bytes decide what a file is, never its suffix. Every mode becomes 8-bit RGB: transparency over white, the
first frame of an animation, EXIF orientation applied. Knows nothing of models or folders.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import math
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError, features

from capcli.errors import ImageError
from capcli.inputs.kinds import HEAD_BYTES, name_foreign, name_unread, sniff
from capcli.inputs.photo_files import open_photo
from capcli.inputs.pixels import depth_of, flatten, reads_planes_wrongly, scale_transparency, upright
from capcli.inputs.reader_noise import no_warnings, silence_libtiff
from capcli.inputs.sources import NOT_BINARY, cannot_be_read, check_type, from_here
from capcli.inputs.whole_pictures import jpeg_with_end, png_picture

if TYPE_CHECKING:
    from capcli.inputs.sources import ImageSource

# The version of what `load_image` makes of a file. Whoever changes that raises it: pixels and features that were kept
# from before are then not taken for new ones.
PREPROCESSING = 2
# Larger pictures are refused before they are decoded: a few kilobytes can claim to be gigapixels.
MAX_PIXELS = 200_000_000
# Only readers that decode in this process: EPS, for one, would start another program.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM", "ICO", "JPEG2000")
# Where those are that Pillow does not load with the commonest.
_READERS = {
    "WEBP": "WebPImagePlugin",
    "TIFF": "TiffImagePlugin",
    "AVIF": "AvifImagePlugin",
    "ICO": "IcoImagePlugin",
    "JPEG2000": "Jpeg2KImagePlugin",
}
# A JPEG is decoded at 1/2, 1/4 or 1/8, and a JPEG 2000 at any such part that it holds, as long as this many times the
# wanted size is left to resize from.
_DRAFT_MARGIN = 2
_OPENING = threading.Lock()
# Pillow reads a caller's image when its pixels are first asked for, and two threads may be given the same one.
_LOADING = threading.Lock()


def load_readers() -> None:
    """Loads Pillow's readers of the commonest kinds, which the first image would wait for."""
    Image.preinit()


def load_image(
    source: ImageSource, *, size: tuple[int, int], keep_aspect: bool = False, max_pixels: int | None = MAX_PIXELS
) -> np.ndarray:
    """Reads one image and resizes the whole of it to `size`, by default without keeping its aspect ratio.

    Args:
        source: a path, the bytes of a file, an open binary file (read from where it stands to its end, and left
            open), a PIL image, or an array uint8 [H, W], [H, W, 1], [H, W, 3] (RGB) or [H, W, 4] (RGBA).
        size: width and height in pixels.
        keep_aspect: make it fit into `size` instead, the aspect ratio kept and never enlarged.
        max_pixels: larger images are refused; None for no limit.
    Returns:
        uint8 [height, width, 3], RGB; smaller than `size` where the aspect ratio is kept.
    Raises:
        ImageError: not an image, damaged, too large, or of a kind that cannot be read. The message does not name
            the file.
        TypeError: `source` is none of these, or a file that is open as text.
    """
    check_type(source)
    if isinstance(source, np.ndarray):
        return _to_rgb(_from_array(source), size, keep_aspect)
    if isinstance(source, Image.Image):
        _check_pixels(source, max_pixels)
        return _guarded(source, size, keep_aspect)
    if isinstance(source, (str, os.PathLike)):
        with open_photo(os.fsdecode(source)) as file:
            return _read(file, size, keep_aspect, max_pixels)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _read(io.BytesIO(source), size, keep_aspect, max_pixels)
    file = from_here(source)
    try:
        return _read(file, size, keep_aspect, max_pixels)
    finally:
        if file is source:
            with contextlib.suppress(OSError, ValueError):
                file.seek(0, os.SEEK_END)


def _read(file: BinaryIO, size: tuple[int, int], keep_aspect: bool, max_pixels: int | None) -> np.ndarray:
    """Reads an open file from its first byte."""
    try:
        head = file.read(HEAD_BYTES)
    except (OSError, ValueError) as error:
        raise cannot_be_read(error) from error
    if isinstance(head, str):
        raise TypeError(NOT_BINARY)
    if not head:
        raise ImageError("is empty")
    kind = sniff(head)
    if kind is None:
        raise ImageError(name_foreign(head))
    _prepare_reader(kind)

    def decode(content: BinaryIO, whole: bool = False) -> np.ndarray:
        return _decode(content, kind, size, keep_aspect, max_pixels, whole)

    try:
        return decode(file)
    except ImageError:
        raise
    except MemoryError as error:
        raise ImageError("does not fit into memory") from error
    except Exception as error:  # readers of hostile bytes raise anything
        with contextlib.suppress(Exception):
            whole = _decode_whole(file, kind, decode, error)
            if whole is not None:
                return whole
        unread = name_unread(kind, file, opened=not isinstance(error, UnidentifiedImageError))
        raise ImageError(unread or _damage(kind, error)) from error


def _decode(
    file: BinaryIO, kind: str, size: tuple[int, int], keep_aspect: bool, max_pixels: int | None, whole: bool = False
) -> np.ndarray:
    """Decodes a file; a large one at a part of its size, if it is not wanted `whole`."""
    file.seek(0)
    formats = ["HEIF", *FORMATS] if kind == "HEIC" else sorted(FORMATS, key=lambda each: each != kind)
    with no_warnings, _open(file, formats) as image:
        _check_pixels(image, max_pixels)
        if not whole and image.mode in ("L", "RGB"):
            _reduce(image, size)
        if reads_planes_wrongly(image):
            raise UnidentifiedImageError("planes of more than 8 bits")
        scale_transparency(image)
        return _to_rgb(image, size, keep_aspect)


def _reduce(image: Image.Image, size: tuple[int, int]) -> None:
    """Has a large image decoded at a part of its size, if its kind can be, and if more than enough is left of it."""
    least = (size[0] * _DRAFT_MARGIN, size[1] * _DRAFT_MARGIN)
    if image.format == "JPEG":
        image.draft(None, least)
    elif image.format == "JPEG2000":
        halvings = int(math.log2(max(1.0, min(image.width / least[0], image.height / least[1]))))
        # Pillow's name for it, which hides the method of all images. A file that was not halved so often is refused.
        image.reduce = halvings  # type: ignore[assignment, method-assign]


def _decode_whole(file: BinaryIO, kind: str, decode: Callable[..., np.ndarray], error: Exception) -> np.ndarray | None:
    """The picture of a file whose reader stumbled over something else; None where it is the picture."""
    if kind == "JPEG2000":
        return decode(file, whole=True)
    if kind == "PNG":
        picture = png_picture(file)
        return None if picture is None else decode(io.BytesIO(picture))
    if kind == "JPEG" and _is_cut(error):
        ends = jpeg_with_end(file)
        if ends is not None:
            one, other = (decode(io.BytesIO(content)) for content in ends)
            return one if np.array_equal(one, other) else None
    return None


def _prepare_reader(kind: str) -> None:
    """What a kind's reader needs before it opens a file.

    Raises:
        ImageError: it is not installed.
    """
    if kind == "HEIC":
        try:
            import pillow_heif
        except ImportError as error:
            raise ImageError("is a HEIC photo; to read them: pip install 'capcli[heic]'") from error
        pillow_heif.register_heif_opener()
    elif kind == "AVIF" and not features.check("avif"):
        raise ImageError("is an AVIF photo, which the installed Pillow cannot read; install a newer Pillow")
    elif kind == "TIFF":
        silence_libtiff()
    # Else Pillow loads the readers of all kinds that it knows of, at the first kind whose reader is not loaded.
    if kind in _READERS:
        importlib.import_module(f"PIL.{_READERS[kind]}")


def _open(file: BinaryIO, formats: list[str]) -> Image.Image:
    """Reads the header. The limit on pixels is this module's own, which can be raised; Pillow's is put back."""
    with _OPENING:
        limit = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None
        try:
            return Image.open(file, formats=formats)
        except (MemoryError, UnidentifiedImageError):
            raise
        except Exception as error:
            # Of an odd header, not of odd pixels: which tells a kind that cannot be read from a damaged file.
            raise UnidentifiedImageError(str(error)) from error
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _guarded(image: Image.Image, size: tuple[int, int], keep_aspect: bool) -> np.ndarray:
    try:
        with _LOADING:
            _load_pixels(image)
        return _to_rgb(image, size, keep_aspect)
    except ImageError:
        raise
    except MemoryError as error:
        raise ImageError("does not fit into memory") from error
    except Exception as error:  # readers of hostile bytes raise anything
        raise ImageError(_damage(image.format, error)) from error


def _check_pixels(image: Image.Image, max_pixels: int | None) -> None:
    width, height = image.size
    if width < 1 or height < 1:
        raise ImageError("has no pixels")
    if max_pixels is not None and width * height > max_pixels:
        raise ImageError(
            f"is too large: {width} x {height} pixels, more than {max_pixels}; --max-pixels raises the limit"
        )


def _load_pixels(image: Image.Image) -> None:
    key = image.info.get("transparency")
    image.load()
    if image.format == "PNG" and key is None:
        # One that stands after the pixels counts for nothing (PNG, 5.6).
        image.info.pop("transparency", None)


def _to_rgb(image: Image.Image, size: tuple[int, int], keep_aspect: bool) -> np.ndarray:
    _load_pixels(image)
    depth = depth_of(image)
    rgb = flatten(upright(image), depth)
    if keep_aspect:
        shrink = min(size[0] / rgb.width, size[1] / rgb.height, 1.0)
        size = (max(1, round(rgb.width * shrink)), max(1, round(rgb.height * shrink)))
    if rgb.size != size:
        rgb = rgb.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0)
    return np.array(rgb, dtype=np.uint8)


def _from_array(array: np.ndarray) -> Image.Image:
    if array.dtype != np.uint8:
        raise ImageError(f"an array must be of type uint8, not {array.dtype}")
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))) or 0 in array.shape:
        raise ImageError(f"an array must have the shape [H, W], [H, W, 3] or [H, W, 4], not {list(array.shape)}")
    return Image.fromarray(np.ascontiguousarray(array))


def _is_cut(error: Exception) -> bool:
    return isinstance(error, EOFError) or "truncated" in str(error).lower()


def _damage(kind: str | None, error: Exception) -> str:
    """Readers' own words ("decoder error -2", "division by zero") tell nobody anything."""
    if isinstance(error, UnidentifiedImageError):
        return f"is a damaged {kind} image"
    if _is_cut(error):
        return "is damaged: the file ends too early"
    return f"is a damaged {kind or 'or unusual'} image: its pixels cannot be decoded"
