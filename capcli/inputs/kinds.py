"""What a file is, by its first bytes, and what to say of one that cannot be read. Decodes nothing."""

from __future__ import annotations

import os
import re
import stat
import struct
from typing import BinaryIO

# So many bytes of a file tell its kind.
HEAD_BYTES = 64

_MAGIC = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"II+\x00", "TIFF"),
    (b"MM\x00+", "TIFF"),
    (b"\x00\x00\x01\x00", "ICO"),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "JPEG2000"),
    (b"\xff\x4f\xff\x51", "JPEG2000"),
)
# Sizes of a BMP's second header; "BM" alone begins many a text.
_BMP_HEADERS = frozenset({12, 16, 40, 52, 56, 64, 108, 124})
_HEIC_BRANDS = frozenset(
    {b"heic", b"heix", b"hevc", b"heim", b"heis", b"hevm", b"hevs", b"mif1", b"msf1", b"heif", b"mif2"}
)
_CONVERT = "; convert it to JPEG or PNG first"
_RAW = f"is a raw photo of a camera ({{}}), which cannot be read here{_CONVERT}"
# What people take for photos and capcli does not read; named so that they know what to do. In lower case, since some
# of them are text.
_FOREIGN = tuple(
    (magic.lower(), reason)
    for magic, reason in (
        (b"%PDF", "is a PDF, not a photo capcli can read"),
        (b"%!PS", "is a PostScript file, not a photo capcli can read"),
        (b"\xc5\xd0\xd3\xc6", "is a PostScript file, not a photo capcli can read"),
        (b"<svg", "is an SVG drawing, not a photo capcli can read"),
        (b"<?xml", "is an XML or SVG file, not a photo capcli can read"),
        (b"<!doctype svg", "is an SVG drawing, not a photo capcli can read"),
        (b"<!doctype", "is a web page, not a photo capcli can read"),
        (b"<html", "is a web page, not a photo capcli can read"),
        (b"<head", "is a web page, not a photo capcli can read"),
        (b"PK\x03\x04", "is a ZIP archive, not a photo capcli can read"),
        (b"Rar!", "is an archive, not a photo capcli can read"),
        (b"7z\xbc\xaf", "is an archive, not a photo capcli can read"),
        (b"\x1f\x8b", "is a compressed file, not a photo capcli can read"),
        (b"8BPS", f"is a Photoshop file, which cannot be read here{_CONVERT}"),
        (b"gimp xcf", f"is a GIMP file, which cannot be read here{_CONVERT}"),
        (b"\x1aE\xdf\xa3", "is a video, not a photo capcli can read"),
        (b"FLV\x01", "is a video, not a photo capcli can read"),
        (b"\x00\x00\x01\xba", "is a video, not a photo capcli can read"),
        (b"0&\xb2u\x8ef\xcf\x11", "is a video, not a photo capcli can read"),
        (b"\x00\x00\x00\x0cJXL \r\n\x87\n", f"is a JPEG XL photo, which cannot be read here{_CONVERT}"),
        (b"\xff\x0a", f"is a JPEG XL photo, which cannot be read here{_CONVERT}"),
        (b"v/1\x01", f"is an OpenEXR image, which cannot be read here{_CONVERT}"),
        (b"#?RADIANCE", f"is a Radiance image, which cannot be read here{_CONVERT}"),
        (b"#?RGBE", f"is a Radiance image, which cannot be read here{_CONVERT}"),
        (b"SIMPLE  =", f"is a FITS image, which cannot be read here{_CONVERT}"),
        (b"qoif", f"is a QOI image, which cannot be read here{_CONVERT}"),
        (b"icns", f"is an icon of macOS, which cannot be read here{_CONVERT}"),
        (b"DDS |\x00\x00\x00", f"is a DDS texture, which cannot be read here{_CONVERT}"),
        (b"FUJIFILMCCD-RAW", _RAW.format("Fujifilm RAF")),
        (b"IIRO", _RAW.format("Olympus ORF")),
        (b"IIRS", _RAW.format("Olympus ORF")),
        (b"MMOR", _RAW.format("Olympus ORF")),
        (b"IIU\x00", _RAW.format("Panasonic RW2")),
        (b"FOVb", _RAW.format("Sigma X3F")),
        (b"\x00MRM", _RAW.format("Minolta MRW")),
        (b"II\x1a\x00\x00\x00HEAPCCDR", _RAW.format("Canon CRW")),
    )
)
# PBM, PGM, PPM, PAM and PFM; by the line end, which no list of paths has there but for a file that is called so.
_NETPBM = re.compile(rb"P[1-7Ff]\r?[\n#]\s*[#\dW]")
_VIDEO_BRANDS = frozenset(
    {
        b"isom",
        b"iso2",
        b"iso4",
        b"iso5",
        b"iso6",
        b"mp41",
        b"mp42",
        b"avc1",
        b"qt  ",
        b"M4V ",
        b"M4VH",
        b"M4VP",
        b"dash",
    }
)


def sniff(head: bytes) -> str | None:
    """The kind of picture that a file begins like.

    Args:
        head: the file's first `HEAD_BYTES` bytes, if it has as many.
    Returns:
        A format's name, such as "JPEG" or "HEIC"; None if it begins like no picture that can be read.
    """
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return name
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[4:8] == b"ftyp":
        brand = head[8:12]
        if brand in (b"avif", b"avis"):
            return "AVIF"
        if brand in _HEIC_BRANDS:
            # A general brand: the compatible brands tell AVIF from HEIC.
            return "AVIF" if b"avif" in head[16:] else "HEIC"
    return None


def head_of(path: str, count: int = HEAD_BYTES) -> bytes | None:
    """The first bytes of a regular file, at most `count`; None where there is none, or it cannot be read."""
    try:
        # A pipe or a device would block for ever when it is opened or read, and reading takes from others.
        if not stat.S_ISREG(os.stat(path).st_mode):
            return None
        with open(path, "rb") as file:
            return file.read(count)
    except (OSError, ValueError):
        return None


def is_foreign(head: bytes) -> bool:
    """Whether a file begins like a kind that is known and not read."""
    return _foreign(head) is not None


def is_netpbm(head: bytes) -> bool:
    """Whether a file begins like a PBM, PGM, PPM, PAM or PFM, some of which are text."""
    return _NETPBM.match(head) is not None


def name_foreign(head: bytes) -> str:
    """What to say of a file that begins like no picture that can be read."""
    if (reason := _foreign(head)) is not None:
        return reason
    return "is not an image (it looks like text)" if is_text(head) else "is not an image"


def is_text(head: bytes) -> bool:
    """Whether it holds no control characters but those of lines."""
    return all(byte >= 32 or byte in b"\t\r\n\f" for byte in head)


def _foreign(head: bytes) -> str | None:
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for magic, reason in _FOREIGN:
        # Binary ones begin with white space, too.
        if start.startswith(magic) or head.lower().startswith(magic):
            return reason
    if is_netpbm(head):
        return f"is a PNM image (PBM, PGM, PPM, PAM or PFM), which cannot be read here{_CONVERT}"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "is a video, not a photo capcli can read"
    if head[4:8] == b"ftyp":
        brand = head[8:12]
        if brand == b"crx ":
            return _RAW.format("Canon CR3")
        if brand in _VIDEO_BRANDS or brand[:3] in (b"3gp", b"3g2"):
            return "is a video, not a photo capcli can read"
        return "is a video, or a photo of a kind that cannot be read here"
    return None


def name_unread(kind: str, file: BinaryIO, *, opened: bool) -> str | None:
    """What a whole JPEG or TIFF is that its reader does not take.

    Args:
        kind: what `sniff` made of it.
        file: an open binary file, anywhere.
        opened: the reader took the header, and stumbled over the pixels.
    Returns:
        What to say of it; None if it must be damaged.
    """
    try:
        if kind == "JPEG":
            return _name_jpeg(file)
        if kind == "TIFF":
            # It takes Python's logging, which finding images does not.
            from capcli.inputs.reader_noise import no_warnings

            with no_warnings:
                return _name_tiff(file, opened)
    except Exception:  # whatever a damaged header raises
        return None
    return None


_START_OF_FRAME = {
    0xC3: "lossless",
    0xC5: "hierarchical",
    0xC6: "hierarchical",
    0xC7: "lossless hierarchical",
    0xC9: "arithmetic-coded",
    0xCA: "arithmetic-coded",
    0xCB: "lossless",
    0xCD: "hierarchical",
    0xCE: "hierarchical",
    0xCF: "lossless hierarchical",
}


def _name_jpeg(file: BinaryIO) -> str | None:
    """Reads segments until the frame header, which says how the picture is coded (ITU T.81, B.2)."""
    file.seek(2)
    while True:
        marker = file.read(2)
        if len(marker) < 2 or marker[0] != 0xFF:
            return None
        if marker[1] == 0xFF:
            file.seek(-1, 1)
            continue
        (length,) = struct.unpack(">H", file.read(2))
        if marker[1] in (0xC0, 0xC1, 0xC2, *_START_OF_FRAME):
            bits = file.read(1)[0]
            what = _START_OF_FRAME.get(marker[1])
            if bits != 8:
                what = f"{bits}-bit" if what is None else f"{bits}-bit, {what}"
            return None if what is None else f"is a JPEG of a kind that cannot be read here ({what}){_CONVERT}"
        file.seek(length - 2, 1)


# TIFF tags (TIFF 6.0 and its supplements).
_BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES, _PLANES, _SAMPLE_FORMAT, _DNG = 258, 259, 262, 277, 284, 339, 50706
# Where the picture's bytes lie, and how many: strips and tiles.
_PLACES_AND_SIZES = ((273, 279), (324, 325))
_COLOUR_FILTER_ARRAY = 32803
# A damaged directory may list thousands.
_MOST_DEPTHS = 4
# Those that a reader may have been built without.
_COMPRESSIONS = {
    34712: "JPEG 2000",
    34887: "LERC",
    34925: "LZMA",
    50000: "Zstandard",
    50001: "WebP",
    50002: "JPEG XL",
    52546: "JPEG XL",
}


def _name_tiff(file: BinaryIO, opened: bool) -> str | None:
    """Reads the first directory; the picture's bytes must be there for the file to be whole."""
    from PIL import TiffImagePlugin

    file.seek(0)
    tags = TiffImagePlugin.ImageFileDirectory_v2(file.read(8))
    size = file.seek(0, 2)
    file.seek(tags.next)
    (entries,) = struct.unpack(tags._endian + "H", file.read(2))
    if tags.next + 2 + 12 * entries > size:
        return None
    file.seek(tags.next)
    tags.load(file)
    packed = tags.get(_COMPRESSION, 1)
    if opened and packed not in _COMPRESSIONS:
        return None
    if _DNG in tags:
        return _RAW.format("DNG")
    if tags.get(_PHOTOMETRIC) == _COLOUR_FILTER_ARRAY:
        return _RAW.format("TIFF with a colour filter array")
    for offsets, sizes in _PLACES_AND_SIZES:
        places, lengths = tags.get(offsets, ()), tags.get(sizes, ())
        if places and len(places) == len(lengths):
            if any(place + length > size for place, length in zip(places, lengths, strict=True)):
                return None
            break
    else:
        return None
    bits = tags.get(_BITS, (1,))
    samples = tags.get(_SAMPLES, 1)
    if not all(isinstance(value, int) for value in (samples, *bits)):
        return None
    number = {2: "signed ", 3: "floating-point "}.get(next(iter(tags.get(_SAMPLE_FORMAT, (1,)))), "")
    several = "/".join(map(str, sorted(set(bits)))) if len(set(bits)) <= _MOST_DEPTHS else "many different numbers of"
    what = [f"{samples} {number}sample{'' if samples == 1 else 's'} of {several} bits"]
    if tags.get(_PLANES) == 2 and samples > 1:
        what.append("in planes")
    if packed in _COMPRESSIONS:
        what.append(f"{_COMPRESSIONS[packed]} compression")
    return f"is a TIFF of a kind that cannot be read here ({', '.join(what)}){_CONVERT}"
