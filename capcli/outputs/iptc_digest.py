"""The checksum by which Photoshop knows whether IPTC was changed by a program that knows no XMP.

It lies beside the IPTC among Photoshop's resources, and Exiv2 leaves it as it was when the IPTC becomes another. Where
it is not the IPTC's, readers take IPTC for newer and let it replace what XMP says, all other fields too (Metadata
Working Group, Guidelines for Handling Image Metadata, 2.0). For JPEG; Exiv2 arranges a TIFF's anew.
"""

from __future__ import annotations

import hashlib
import re

# A resource: its signature, its number, a name that is empty, and the length of what follows.
_IPTC = re.compile(rb"8BIM\x04\x04\0\0(.{4})", re.DOTALL)
_DIGEST = b"8BIM\x04\x25\0\0\0\0\0\x10"


def with_current_digest(old: bytes, new: bytes) -> bytes:
    """A JPEG whose IPTC is another, with the checksum that is right for it if the old one was right.

    Args:
        old: the whole file as it was.
        new: the whole file as it is to be.
    Returns:
        `new`, in which at most 16 bytes are others.
    """
    before, after = _iptc(old), _iptc(new)
    if before is None or after is None or before == after:
        return new
    was_right = _DIGEST + hashlib.md5(before, usedforsecurity=False).digest()
    if old.count(was_right) != 1 or new.count(was_right) != 1:
        return new
    return new.replace(was_right, _DIGEST + hashlib.md5(after, usedforsecurity=False).digest())


def _iptc(content: bytes) -> bytes | None:
    """The IPTC of a JPEG; None where there is none, or more than one."""
    found = list(_IPTC.finditer(content))
    if len(found) != 1:
        return None
    start = found[0].end()
    return content[start : start + int.from_bytes(found[0][1], "big")]
