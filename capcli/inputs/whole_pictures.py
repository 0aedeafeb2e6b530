"""Files whose picture is whole although their reader refuses them for something else.

A PNG may hold a text, a profile or a wrong checksum that nobody looks at, and a JPEG may lack its last two bytes. Tried
only where reading has failed. Knows nothing of pixels' meaning.
"""

from __future__ import annotations

import random
import re
import zlib
from typing import BinaryIO

# The chunks that make a PNG's picture; orientation is in eXIf.
_PNG_PICTURE = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"eXIf")
# The bit of a chunk's first letter that says that a picture can be shown without it.
_ANCILLARY = 0x20
# How long tRNS may be, by the colour type: a grey value, a colour, or a byte for each of a palette's colours.
_TRANSPARENT = {0: range(2, 3), 2: range(6, 7), 3: range(1, 257)}
# A file larger than this is not read into memory once more.
_MOST_BYTES = 1 << 30
_END_OF_IMAGE = b"\xff\xd9"
_PROBE_BYTES = 4096


def png_picture(file: BinaryIO) -> bytes | None:
    """A PNG's picture alone: its critical chunks and those that say how it is shown.

    A chunk that is not needed for the picture goes, and with a wrong checksum also one that is shown if it is there, as
    browsers do it. Checksums of critical chunks are left to the reader.

    Returns:
        The bytes of a PNG; None if there is nothing to leave out, or no end to what is there.
    """
    file.seek(0)
    kept = [file.read(8)]
    total, dropped = 0, False
    while len(header := file.read(8)) == 8:
        length, name = int.from_bytes(header[:4], "big"), header[4:]
        total += length
        if name not in _PNG_PICTURE:
            if not name[0] & _ANCILLARY:
                return None
            file.seek(length + 4, 1)
            dropped = True
            continue
        if total > _MOST_BYTES:
            return None
        body = file.read(length + 4)
        if name[0] & _ANCILLARY and zlib.crc32(name + body[:-4]) != int.from_bytes(body[-4:], "big"):
            dropped = True
            continue
        if name == b"tRNS" and length not in _TRANSPARENT.get(kept[2][9], range(0)):
            dropped = True
            continue
        kept += [header, body]
        if name == b"IEND":
            break
    return b"".join(kept) if dropped else None


def jpeg_with_end(file: BinaryIO) -> tuple[bytes, bytes] | None:
    """A JPEG that ends too early, with the end it lacks, in two ways.

    Where the last scan is whole, what stands between it and the end is never looked at. Where it is not, the decoder
    takes that for the rest of the scan. So the two look alike if and only if the scan is whole.

    Returns:
        The two; None if whole scans are missing, or the file is too large.
    """
    file.seek(0)
    content = file.read(_MOST_BYTES + 1).removesuffix(b"\xff")
    if len(content) > _MOST_BYTES or not _has_all_scans(content):
        return None
    # Never 0xFF, which begins a marker. A scan in intervals goes on after the next of its eight markers.
    noise = bytes(random.Random(0).choices(range(1, 255), k=_PROBE_BYTES))
    markers = re.findall(rb"\xff([\xd0-\xd7])", content)
    expected = (markers[-1][0] + 1) % 8 if markers else 0
    intervals = b"".join(bytes((0xFF, 0xD0 + (expected + number) % 8)) + noise for number in range(8))
    return content + _END_OF_IMAGE, content + noise + intervals + _END_OF_IMAGE


# A marker within a scan's data: not a stuffed zero, not a filling 0xFF, not the start of the next interval.
_NEXT_SEGMENT = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_START_OF_SCAN = 0xDA
_FRAMES = frozenset({0xC0, 0xC1, 0xC2})
_COEFFICIENTS = 64


def _has_all_scans(content: bytes) -> bool:
    """Whether every coefficient of every component has been sent to its last bit (ITU T.81, B.2 and G.1.1)."""
    # What is still to come: component -> coefficient -> bits that are not sent yet; all of them at first.
    missing: dict[int, dict[int, int]] = {}
    place = 2
    while (found := _NEXT_SEGMENT.search(content, place)) is not None:
        marker, body = content[found.start() + 1], found.end() + 2
        length = int.from_bytes(content[found.end() : body], "big") - 2
        segment = content[body : body + length]
        place = body + length
        if marker in _FRAMES and len(segment) >= 6:
            missing = {
                component: dict.fromkeys(range(_COEFFICIENTS), 16) for component in segment[6 : 6 + 3 * segment[5] : 3]
            }
        elif marker == _START_OF_SCAN and segment and len(segment) >= 4 + 2 * segment[0]:
            count = segment[0]
            first, last, bits = segment[1 + 2 * count : 4 + 2 * count]
            for component in segment[1 : 1 + 2 * count : 2]:
                coefficients = missing.get(component, {})
                coefficients.update((number, bits & 15) for number in range(first, last + 1) if number in coefficients)
    return bool(missing) and not any(bits for coefficients in missing.values() for bits in coefficients.values())
