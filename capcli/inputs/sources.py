"""Images as Python callers give them: one or several, of which type, called what, and open files read.

Decodes nothing; knows nothing of models.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from types import NoneType
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from PIL import Image

from capcli.errors import ImageError
from capcli.inputs.photo_files import in_words
from capcli.messages import printable, shortened

ImageSource: TypeAlias = str | os.PathLike[str] | bytes | BinaryIO | Image.Image | np.ndarray

NOT_BINARY = "a file of an image must be opened in binary mode: open(path, 'rb')"


def check_type(source: object) -> None:
    """Whether it is something that `load_image` takes, however that turns out.

    Raises:
        TypeError: it is not, or a file that is open as text.
    """
    if isinstance(source, (np.ndarray, Image.Image, str, os.PathLike, bytes, bytearray, memoryview)):
        return
    if not callable(getattr(source, "read", None)):
        raise TypeError(
            "an image must be a path, bytes, an open binary file, a PIL image or an array of type uint8, "
            f"not {type(source).__name__}"
        )
    # What temporary files are wrapped in has a mode, and is no TextIOBase.
    mode = getattr(source, "mode", "b")
    if isinstance(source, io.TextIOBase) or (isinstance(mode, str) and "b" not in mode and hasattr(source, "encoding")):
        raise TypeError(NOT_BINARY)


def read_open_file(file: BinaryIO) -> bytes:
    """What an open file holds from where it stands.

    Raises:
        ImageError: it cannot be read.
        TypeError: it is text.
    """
    try:
        content = file.read()
    except Exception as error:  # members of archives, downloads: files of other libraries raise anything
        raise cannot_be_read(error) from error
    if not isinstance(content, (bytes, bytearray, memoryview, NoneType)):
        raise TypeError(NOT_BINARY)
    return bytes(content or b"")


def from_here(file: BinaryIO) -> BinaryIO:
    """An open file from where it stands, as one that begins there; it stays open."""
    try:
        if file.seekable() and file.tell() == 0:
            return file
    except (AttributeError, OSError, ValueError):
        pass
    return io.BytesIO(read_open_file(file))


def name_of(image: object) -> str | None:
    """What an image is called in messages, which can be printed: its path, if it has one."""
    if is_open_file(image):
        image = getattr(image, "name", None)
    return shortened(printable(os.fsdecode(image))) if isinstance(image, (str, os.PathLike)) else None


def is_open_file(image: object) -> bool:
    """Whether it is read by its own `read`; some paths have such a method too."""
    return hasattr(image, "read") and not isinstance(image, os.PathLike)


def several(images: Any, method: str) -> Iterator[Any]:
    """The images, one after the other.

    Args:
        images: a list or another iterable of images.
        method: what to call the function that takes them.
    Raises:
        TypeError: it is one image, or nothing like images.
    """
    if not is_one_image(images):
        try:
            return iter(images)
        except TypeError:
            check_type(images)
    raise TypeError(f"{method} takes several images, such as a list; this is one: {type(images).__name__}")


def is_one_image(images: object) -> bool:
    """Whether the argument is one image: a list, tuple or other iterable of images is not."""
    if isinstance(images, np.ndarray):
        return images.ndim < 4
    if isinstance(images, (str, bytes, bytearray, memoryview, os.PathLike)):
        return True
    # PIL images and open files; both can be iterated or not, but only they have these.
    return hasattr(images, "read") or hasattr(images, "getbands")


def cannot_be_read(error: Exception) -> ImageError:
    """What to say of a file whose `read` raised."""
    if isinstance(error, io.UnsupportedOperation):
        return ImageError("cannot be read (it is not open for reading)")
    return ImageError(f"cannot be read ({in_words(printable(str(error)) or type(error).__name__)})")
