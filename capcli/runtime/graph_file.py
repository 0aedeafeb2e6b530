"""Whether an ONNX file is the whole graph: one that names other files would have them read, wherever they lie.

Reads the file's own frame (protocol buffers' wire format, and onnx.proto for the fields), not what it computes.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from pathlib import Path

from capcli.errors import BundleError

# The key of the name of another file. A file without this word names none, and most are without it.
_LOCATION = b"location"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_LONGEST_VARINT = 10
# Of a tensor: what lies elsewhere (external_data), and whether it does (data_location).
_ELSEWHERE, _WHERE = 13, 14


@dataclass(frozen=True)
class _Message:
    """A kind of message: those that it holds, by the numbers of their fields."""

    fields: dict[int, _Message]


_TENSOR = _Message({})
_SPARSE = _Message({1: _TENSOR, 2: _TENSOR})
_GRAPH = _Message({5: _TENSOR, 15: _SPARSE})
_ATTRIBUTE = _Message({5: _TENSOR, 6: _GRAPH, 10: _TENSOR, 11: _GRAPH, 22: _SPARSE, 23: _SPARSE})
_NODE = _Message({5: _ATTRIBUTE})
_GRAPH.fields[1] = _NODE
_FUNCTION = _Message({7: _NODE, 11: _ATTRIBUTE})
_TRAINING = _Message({1: _GRAPH, 2: _GRAPH})
_MODEL = _Message({7: _GRAPH, 20: _TRAINING, 25: _FUNCTION})


def check_whole(graph: Path | bytes, name: str) -> None:
    """Refuses a graph with data in other files, as none that capcli writes has.

    Args:
        graph: the file, or its bytes.
        name: what to call it in messages.
    Raises:
        BundleError: it has such data, or cannot be read as a graph.
        OSError: the file cannot be read.
    """
    if isinstance(graph, bytes):
        _check(graph, name)
        return
    with graph.open("rb") as file:
        if not file.read(1):
            raise BundleError(f"{name}: not a usable ONNX graph (it is empty); export the bundle again")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            _check(content, name)


def _check(content: bytes | mmap.mmap, name: str) -> None:
    if content.find(_LOCATION) < 0:
        return
    try:
        elsewhere = _names_other_files(content)
    except (IndexError, ValueError) as error:
        raise BundleError(f"{name}: not a usable ONNX graph (it is damaged); export the bundle again") from error
    if elsewhere:
        raise BundleError(f"{name}: holds data in other files, which are not read; export the bundle again")


def _names_other_files(content: bytes | mmap.mmap) -> bool:
    waiting = [(0, len(content), _MODEL)]
    while waiting:
        place, end, message = waiting.pop()
        while place < end:
            key, place = _varint(content, place)
            number, wire = key >> 3, key & 7
            if wire == _BYTES:
                length, place = _varint(content, place)
                inner, place = place, place + length
                if message is _TENSOR and number == _ELSEWHERE:
                    return True
                if number in message.fields:
                    waiting.append((inner, place, message.fields[number]))
            elif wire == _VARINT:
                value, place = _varint(content, place)
                if message is _TENSOR and number == _WHERE and value:
                    return True
            elif wire in (_FIXED64, _FIXED32):
                place += 8 if wire == _FIXED64 else 4
            else:
                raise ValueError("a field of a kind that ONNX does not use")
        if place != end:
            raise ValueError("a field goes on after its message")
    return False


def _varint(content: bytes | mmap.mmap, place: int) -> tuple[int, int]:
    """A number and the place after it."""
    value = 0
    for count in range(_LONGEST_VARINT):
        byte = content[place + count]
        value |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            return value, place + count + 1
    raise ValueError("a number without end")
