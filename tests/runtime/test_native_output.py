"""What native code prints, caught and read."""

from __future__ import annotations

import os

import pytest

from capcli.runtime.native_output import captured, one_reason
from tests.conftest import python


def test_everything_printed_inside_is_captured_and_nothing_else() -> None:
    done = python(
        "import ctypes, os, sys\n"
        "from capcli.runtime.native_output import captured\n"
        "library = ctypes.CDLL('ucrtbase' if os.name == 'nt' else None)\n"
        "library.printf(b'before\\n')\n"
        "sys.stdout.write('early\\n')\n"
        "try:\n"
        "    with captured() as native:\n"
        "        print('python'); print('errors', file=sys.stderr)\n"
        "        os.write(1, b'descriptor 1\\n'); os.write(2, b'descriptor 2\\n')\n"
        "        library.printf(b'buffered by C\\n')\n"
        "        raise KeyError\n"
        "except KeyError:\n"
        "    print(sorted(native.text.split('\\n')))\n"
        "os.write(2, b'after\\n')\n",
        PYTHONUNBUFFERED="",
    )
    inside = ["", "buffered by C", "descriptor 1", "descriptor 2", "errors", "python"]
    assert done.out.replace(b"\r", b"") == f"before\nearly\n{inside}\n".encode()
    assert (done.code, done.err) == (0, b"after\n")


def test_captures_nest() -> None:
    with captured() as outer:
        os.write(1, b"a")
        with captured() as inner:
            os.write(1, b"b")
        os.write(1, b"c")
    assert (outer.text, inner.text) == ("ac", "b")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "\x1b[0;93m2026-11-24 13:22:30.4 [W:onnxruntime:Default, device_discovery.cc:164 Discover] no GPU\x1b[m\n"
            "\x1b[1;31m2026-11-24 13:22:30.4 [E:onnxruntime:Default, bridge.cc:2458 operator()] /src/bridge.cc:2043 "
            "Get() [ONNXRuntimeError] : 1 : FAIL : Failed to load library cuda.so with error: libcublasLt.so.13\n"
            "\x1b[m",
            "Failed to load library cuda.so with error: libcublasLt.so.13",
        ),
        ("[ONNXRuntimeError] : 7 : INVALID_PROTOBUF : Protobuf parsing failed.", "Protobuf parsing failed."),
        ("\n  plain words  \nmore", "plain words"),
        ("", "no reason was given"),
        ("x" * 1000, "x" * 300),
    ],
)
def test_native_complaints_become_one_line(text: str, reason: str) -> None:
    assert one_reason(text) == reason
