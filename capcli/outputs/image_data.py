"""What a file shows, without what it says about itself: the part that writing metadata must not change.

The compressed image data is taken as it lies in the file, byte for byte, with everything that tells a decoder how to
read it: tables, palettes, colour profile, other frames, whatever follows the picture. Where this is the same, the
pixels are the same, which decoding could show only for as much as the decoder looks at, and at many times the cost.
Knows nothing of what metadata says.

JPEG: ITU-T T.81 annex B, CIPA DC-007 (multi-picture). PNG: W3C PNG third edition. WebP: RFC 9649. TIFF: revision 6.0.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator

Part = tuple[object, ...]


def image_data(content: bytes, kind: str) -> list[Part]:
    """The parts of a file that are not metadata, to be compared with those of another.

    Args:
        content: the whole file.
        kind: one of `KINDS`.
    Returns:
        Its parts in order.
    Raises:
        ValueError: it is not built as such a file should be, or in a way that this module does not know.
    """
    try:
        return list(KINDS[kind](content))
    except (IndexError, struct.error, zlib.error) as error:
        raise ValueError(f"the {kind} file is not well formed") from error


def _jpeg(content: bytes) -> Iterator[Part]:
    profile = b""
    comments = []
    resources = b""
    at = 2
    while content[at + 1] != 0xDA:
        if content[at] != 0xFF:
            raise ValueError("its JPEG segments do not join")
        marker = content[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        length = 2 + int.from_bytes(content[at + 2 : at + 4], "big")
        segment = content[at : at + length]
        payload = segment[4:]
        if len(segment) < max(length, 4):
            raise ValueError("a JPEG segment ends too early")
        if marker == 0xE2 and payload.startswith(b"ICC_PROFILE\0"):
            # The profile may be cut into segments in another way.
            profile += payload[14:]
        elif marker == 0xFE:
            # Exiv2 ends them with NUL, as C does.
            comments.append(payload.rstrip(b"\0"))
        elif marker == 0xED and payload.startswith(b"Photoshop 3.0\0"):
            resources += payload[14:]
        elif marker != 0xE1 or not payload.startswith((b"Exif\0", b"http://ns.adobe.com/xap/1.0/\0")):
            yield (marker, payload)
            if marker == 0xE2 and payload.startswith(b"MPF\0"):
                # Further pictures are found by their distance from here.
                yield ("distance to the end", len(content) - at)
        at += length
    yield ("profile", profile)
    yield ("comments", *comments)
    yield ("resources", *_photoshop(resources))
    yield ("picture", content[at:])


def _photoshop(resources: bytes) -> Iterator[tuple[int, bytes]]:
    """Photoshop's image resources without the captions and keywords among them (IPTC and its checksum)."""
    at = 0
    while resources[at : at + 4] == b"8BIM":
        number = int.from_bytes(resources[at + 4 : at + 6], "big")
        start = at + 6 + (resources[at + 6] + 2) // 2 * 2
        size = int.from_bytes(resources[start : start + 4], "big")
        if number not in (0x0404, 0x0425):
            yield number, resources[start + 4 : start + 4 + size]
        at = start + 4 + (size + 1) // 2 * 2


def _png(content: bytes) -> Iterator[Part]:
    at = 8
    name = b""
    while name != b"IEND":
        (size,) = struct.unpack_from(">I", content, at)
        name, data = content[at + 4 : at + 8], content[at + 8 : at + 8 + size]
        if len(content) < at + 12 + size:
            raise ValueError("a PNG chunk ends too early")
        at += 12 + size
        keyword, _, rest = data.partition(b"\0")
        if name == b"iCCP":
            # It may be compressed anew, and its name is only for people.
            yield (name, zlib.decompress(rest[1:]))
        elif name in (b"tEXt", b"zTXt", b"iTXt"):
            # How Exif, IPTC, XMP and a description are kept in texts; other texts stay.
            if not keyword.startswith((b"Raw profile type ", b"XML:com.adobe.xmp", b"Description")):
                yield (name, data)
        elif name != b"eXIf":
            yield (name, data)
    yield ("after the end", content[at:])


def _webp(content: bytes) -> Iterator[Part]:
    end = 8 + int.from_bytes(content[4:8], "little")
    if len(content) < end:
        raise ValueError("the WebP file ends too early")
    chunks = {}
    at = 12
    while at < end:
        name = content[at : at + 4]
        size = int.from_bytes(content[at + 4 : at + 8], "little")
        data = chunks[name] = content[at + 8 : at + 8 + size]
        if name not in (b"EXIF", b"XMP ", b"VP8X"):
            yield (name, data)
        at += 8 + size + size % 2
    yield _webp_canvas(chunks)
    yield ("after the end", content[end:])


def _webp_canvas(chunks: dict[bytes, bytes]) -> Part:
    """Size, and whether it is transparent or animated: a simple file has this in its only frame.

    A file that is given metadata is no longer simple: a chunk VP8X says the same, and which metadata there is.
    """
    if b"VP8X" in chunks:
        head = chunks[b"VP8X"]
        width, height = (int.from_bytes(head[start : start + 3], "little") + 1 for start in (4, 7))
        return ("canvas", width, height, bool(head[0] & 0x10), bool(head[0] & 0x02))
    if b"VP8L" in chunks:
        (bits,) = struct.unpack_from("<I", chunks[b"VP8L"], 1)
        return ("canvas", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, bool(bits >> 28 & 1), False)
    width, height = struct.unpack_from("<HH", chunks.get(b"VP8 ", b""), 6)
    return ("canvas", width & 0x3FFF, height & 0x3FFF, False, False)


_TIFF_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
# Where other things lie, which may be moved; and the metadata: description, XMP, IPTC, Photoshop's, Exif, GPS.
_TIFF_MOVING = frozenset({273, 324, 34665, 34853, 270, 700, 33723, 34377})
# Sub-images, old JPEG tables, DNG: what these point to is not looked at here, so it could be lost unseen.
_TIFF_UNKNOWN = frozenset({330, 513, 514, 519, 520, 521, 50706})


def _tiff(content: bytes) -> Iterator[Part]:
    order = "<" if content[:2] == b"II" else ">"
    if struct.unpack_from(order + "H", content, 2) != (42,):
        raise ValueError("BigTIFF files are left alone")
    (at,) = struct.unpack_from(order + "I", content, 4)
    seen = set()
    while at:
        if at in seen:
            raise ValueError("its TIFF directories go in a circle")
        seen.add(at)
        (count,) = struct.unpack_from(order + "H", content, at)
        tags = dict(_tiff_tag(content, order, at + 2 + 12 * index) for index in range(count))
        if tags.keys() & _TIFF_UNKNOWN:
            raise ValueError("raw photos and TIFF files with sub-images are left alone")
        for offsets, sizes in ((273, 279), (324, 325)):
            starts = tags.get(offsets, ())
            for start, size in zip(starts, tags.get(sizes, ()) if starts else (), strict=True):
                if not isinstance(start, int) or not isinstance(size, int) or start + size > len(content):
                    raise ValueError("its TIFF strips end too early")
                yield ("strip", content[start : start + size])
        yield ("tags", *sorted((tag, value) for tag, value in tags.items() if tag not in _TIFF_MOVING))
        (at,) = struct.unpack_from(order + "I", content, at + 2 + 12 * count)


def _tiff_tag(content: bytes, order: str, at: int) -> tuple[int, tuple[object, ...]]:
    tag, kind, count = struct.unpack_from(order + "HHI", content, at)
    size = _TIFF_SIZES.get(kind, 0) * count
    if size == 0 and count:
        raise ValueError(f"its TIFF tag {tag} is of an unknown kind")
    start = at + 8 if size <= 4 else struct.unpack_from(order + "I", content, at + 8)[0]
    value = content[start : start + size]
    if len(value) < size:
        raise ValueError(f"its TIFF tag {tag} ends too early")
    # The same numbers may be kept as short or as long ones.
    numbers = {1: "B", 3: "H", 4: "I"}.get(kind)
    return tag, struct.unpack(f"{order}{count}{numbers}", value) if numbers else (value,)


KINDS: dict[str, Callable[[bytes], Iterator[Part]]] = {"JPEG": _jpeg, "PNG": _png, "WEBP": _webp, "TIFF": _tiff}
