"""Whole files -> damaged and hostile ones: the same for the same numbers, on every machine."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping

import numpy as np

# What fields that are added, multiplied and allocated by do not expect.
_EXTREMES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
# Headers, where most is believed, are hit more often than the rest.
_HEADER = 512
_LARGEST = 1 << 20


def hostile(files: Mapping[str, bytes], seed: int, number: int) -> tuple[str, bytes]:
    """One input.

    Args:
        files: by name, from `seeds`.
        seed: of the whole run.
        number: which of its inputs.
    Returns:
        What it was made of and how, and its bytes.
    """
    chance = np.random.default_rng([seed, number])
    if chance.random() < 0.05:
        bomb = _BOMBS[int(chance.integers(len(_BOMBS)))]
        return bomb.__name__, bomb(chance)
    names = list(files)
    name = names[int(chance.integers(len(names)))]
    content, done = files[name], [name]
    for _ in range(1 + int(chance.geometric(0.6)) % 4):
        how = _MUTATIONS[int(chance.integers(len(_MUTATIONS)))]
        content = how(content, chance, files[names[int(chance.integers(len(names)))]])[:_LARGEST]
        done.append(how.__name__)
    return " ".join(done), content


def _place(content: bytes, chance: np.random.Generator) -> int:
    most = min(len(content), _HEADER) if chance.random() < 0.6 else len(content)
    return int(chance.integers(most + 1))


def flipped(content: bytes, chance: np.random.Generator, other: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(int(chance.integers(1, 20))):
        place = _place(content, chance)
        if place < len(changed):
            changed[place] ^= 1 << int(chance.integers(8))
    return bytes(changed)


def overwritten(content: bytes, chance: np.random.Generator, other: bytes) -> bytes:
    place, length = _place(content, chance), int(chance.integers(1, 16))
    return content[:place] + chance.bytes(length) + content[place + length :]


def lying(content: bytes, chance: np.random.Generator, other: bytes) -> bytes:
    """A field of 2 or 4 bytes says something extreme: a width, a length, an offset, a count."""
    place, value = _place(content, chance), _EXTREMES[int(chance.integers(len(_EXTREMES)))]
    form = (">H", "<H", ">I", "<I")[int(chance.integers(4))]
    field = struct.pack(form, value & (0xFFFF if form[1] == "H" else 0xFFFFFFFF))
    return content[:place] + field + content[place + len(field) :]


def truncated(content: bytes, chance: np.random.Generator, other: bytes) -> bytes:
    return content[: int(chance.integers(len(content) + 1))]


def cut_out(content: bytes, chance: np.random.Generator, other: bytes) -> bytes:
    place = _place(content, chance)
    return content[:place] + content[place + int(chance.integers(1, 200)) :]


def repeated(content: bytes, chance: np.random.Generator, other: bytes) -> bytes:
    place = _place(content, chance)
    part = content[place : place + int(chance.integers(1, 200))]
    return content[:place] + part * int(2 ** chance.integers(1, 11)) + content[place:]


def emptied(content: bytes, chance: np.random.Generator, other: bytes) -> bytes:
    place, length = _place(content, chance), int(chance.integers(1, 100))
    return content[:place] + bytes([int(chance.choice([0, 255]))]) * length + content[place + length :]


def spliced(content: bytes, chance: np.random.Generator, other: bytes) -> bytes:
    return content[: _place(content, chance)] + other[_place(other, chance) :]


def followed(content: bytes, chance: np.random.Generator, other: bytes) -> bytes:
    return content + (other if chance.random() < 0.5 else chance.bytes(int(chance.integers(1, 2000))))


_MUTATIONS: tuple[Callable[[bytes, np.random.Generator, bytes], bytes], ...] = (
    flipped,
    overwritten,
    lying,
    lying,
    truncated,
    cut_out,
    repeated,
    emptied,
    spliced,
    followed,
)


def _sides(chance: np.random.Generator) -> tuple[int, int]:
    sides = (1, 2000, 40_000, 65_535, 1 << 20, (1 << 31) - 1)
    width, height = chance.choice(sides, 2)
    return int(width), int(height)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_bomb(chance: np.random.Generator) -> bytes:
    """Little that unpacks to much: pixels, a colour profile, a text."""
    width, height = _sides(chance)
    packed = zlib.compress(bytes(4 << 20), 9)
    header = struct.pack(">IIBBBBB", width, height, 8, int(chance.choice([0, 2, 3, 6])), 0, 0, int(chance.integers(2)))
    extra = [_chunk(b"iCCP", b"x\0\0" + packed), _chunk(b"zTXt", b"x\0\0" + packed), _chunk(b"PLTE", bytes(768)), b""]
    extra += [_chunk(b"tEXt", b"x\0y") * 5000, _chunk(b"acTL", struct.pack(">II", 0xFFFFFFFF, 0))]
    chosen = extra[int(chance.integers(len(extra)))]
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + chosen + _chunk(b"IDAT", packed) + _chunk(b"IEND", b"")


def gif_giant(chance: np.random.Generator) -> bytes:
    """A screen and frames as large as can be said, and many of them."""
    width, height = (side & 0xFFFF for side in _sides(chance))
    frame = b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x02\x4c\x01\x00"
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6) + frame * 500 + b";"


def bmp_giant(chance: np.random.Generator) -> bytes:
    width, height = _sides(chance)
    bits = int(chance.choice([1, 4, 8, 16, 24, 32]))
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, int(chance.integers(4)), 0, 0, 0, 1 << 31, 0)
    return b"BM" + struct.pack("<IHHI", 1 << 20, 0, 0, 54) + header + bytes(1000)


def tiff_deep(chance: np.random.Generator) -> bytes:
    """Directories that lead to themselves, and entries that claim to be endless."""
    width, height = _sides(chance)
    kinds = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, int(chance.choice([1, 5, 7, 8])))]
    kinds += [(262, 3, 1, 2), (273, 4, 1, 8), (277, 3, 1, 3), (278, 4, 1, height), (279, 4, 1, 1 << 30)]
    kinds += [(34665, 4, 1, 8), (34853, 4, 1, 8), (700, 1, 0xFFFFFFFF, 8), (34675, 7, 0x7FFFFFFF, 8), (330, 13, 1, 8)]
    keep = [entry for entry in kinds if chance.random() < 0.9]
    entries = b"".join(struct.pack("<HHII", *entry) for entry in keep)
    return b"II*\0" + struct.pack("<IH", 8, len(keep)) + entries + struct.pack("<I", 8) + bytes(500)


def jpeg_deep(chance: np.random.Generator) -> bytes:
    """EXIF whose directories lead in a circle, hundreds of segments, and a picture as large as can be said."""
    width, height = (side & 0xFFFF for side in _sides(chance))
    exif = b"Exif\0\0" + tiff_deep(chance)
    segment = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
    frame = b"\xff\xc0" + struct.pack(">HBHHB", 17, 8, height, width, 3) + b"\x01\x22\x00\x02\x11\x01\x03\x11\x01"
    return b"\xff\xd8" + segment * int(chance.integers(1, 300)) + frame + b"\xff\xda\x00\x0c\x03" + bytes(500)


def nothing(chance: np.random.Generator) -> bytes:
    """No bytes, or as many of one kind as one likes."""
    return bytes([int(chance.integers(256))]) * int(chance.choice([0, 1, 2, 64, 100_000]))


_BOMBS: tuple[Callable[[np.random.Generator], bytes], ...] = (
    png_bomb,
    gif_giant,
    bmp_giant,
    tiff_deep,
    jpeg_deep,
    nothing,
)
