"""Small whole files of every format that is read, in the variants that readers have code of their own for."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from contextlib import suppress

import numpy as np
from PIL import Image

from tests.shapes import draw

_XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF>'
    + b"<rdf:Seq>" * 50
    + b"</rdf:Seq>" * 50
    + b"</rdf:RDF></x:xmpmeta>"
)


def seeds() -> dict[str, bytes]:
    """Files by name; those of formats that are not installed are left out."""
    picture = draw("circle", "red", "white", seed=0, size=40)
    grey = np.asarray(picture.convert("L"), np.uint16) * 257
    alpha = picture.convert("RGBA")
    alpha.putalpha(Image.fromarray((grey >> 9).astype(np.uint8)))
    frames = [picture.rotate(turn) for turn in range(0, 360, 60)]
    many = [Image.new("P", (8, 8), number % 256) for number in range(300)]
    icc = zlib.compress(bytes(200))
    made: dict[str, tuple[Image.Image, str, dict[str, object]]] = {
        "jpeg": (picture, "JPEG", {"exif": _exif(), "xmp": _XMP, "comment": b"comment"}),
        "jpeg-progressive": (picture, "JPEG", {"progressive": True, "icc_profile": icc}),
        "jpeg-cmyk": (picture.convert("CMYK"), "JPEG", {"subsampling": 0}),
        "jpeg-grey": (picture.convert("L"), "JPEG", {"restart_marker_rows": 1}),
        "mpo": (picture, "MPO", {"save_all": True, "append_images": frames[:1]}),
        "png": (picture, "PNG", {"exif": _exif(), "icc_profile": icc}),
        "png-alpha": (alpha, "PNG", {}),
        "png-palette": (picture.quantize(16), "PNG", {"transparency": bytes(range(0, 256, 16))}),
        "png-16": (Image.fromarray(grey), "PNG", {}),
        "png-1": (picture.convert("1"), "PNG", {}),
        "apng": (picture, "PNG", {"save_all": True, "append_images": frames}),
        "webp": (picture, "WEBP", {"exif": _exif(), "xmp": _XMP}),
        "webp-lossless": (alpha, "WEBP", {"lossless": True}),
        "webp-animated": (picture, "WEBP", {"save_all": True, "append_images": frames}),
        "gif": (picture.quantize(16), "GIF", {"save_all": True, "append_images": frames, "comment": b"comment"}),
        "gif-many": (many[0], "GIF", {"save_all": True, "append_images": many[1:]}),
        "bmp": (picture.resize((12, 12)), "BMP", {}),
        "bmp-palette": (picture.resize((24, 24)).quantize(16), "BMP", {}),
        "tiff": (picture.resize((20, 20)), "TIFF", {"exif": _exif()}),
        "tiff-lzw": (picture, "TIFF", {"compression": "tiff_lzw"}),
        "tiff-deflate": (alpha, "TIFF", {"compression": "tiff_adobe_deflate"}),
        "tiff-jpeg": (picture, "TIFF", {"compression": "jpeg"}),
        "tiff-group4": (picture.convert("1"), "TIFF", {"compression": "group4"}),
        "tiff-packbits": (Image.fromarray(grey), "TIFF", {"compression": "packbits"}),
        "tiff-float": (picture.resize((16, 16)).convert("F"), "TIFF", {}),
        "avif": (alpha, "AVIF", {"exif": _exif(), "speed": 10}),
        "avif-animated": (picture, "AVIF", {"save_all": True, "append_images": frames[:2], "speed": 10}),
        "ico": (alpha, "ICO", {"sizes": [(16, 16), (40, 40)]}),
        "ico-bmp": (alpha, "ICO", {"sizes": [(16, 16)], "bitmap_format": "bmp"}),
        "jpeg2000": (picture, "JPEG2000", {}),
        "jpeg2000-stream": (picture.convert("L"), "JPEG2000", {"no_jp2": True, "irreversible": True}),
        "heic": (picture, "HEIF", {}),
    }
    if _registers_heif():
        del made["heic"]
    return {name: _saved(image, form, options) for name, (image, form, options) in made.items()}


def _saved(image: Image.Image, form: str, options: dict[str, object]) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def _registers_heif() -> bool:
    """Whether HEIC can not be written here."""
    register: Callable[[], None]
    with suppress(ImportError):
        from pillow_heif import register_heif_opener as register

        register()
        return False
    return True


def _exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112], exif[0x010E], exif[0x9286] = 6, "a picture", b"UNICODE\0x"
    exif.get_ifd(0x8825)[1] = "N"
    return exif
