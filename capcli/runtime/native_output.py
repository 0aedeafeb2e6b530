"""Catches what native libraries print, so that stdout and stderr carry only what capcli says.

ONNX Runtime and the loader write to the file descriptors behind Python's back. Knows nothing of either.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

# What is kept of it; a library that prints more says nothing new.
_MOST_BYTES = 64 * 1024
_LONGEST_REASON = 300

_TERMINAL_CODES = re.compile(r"\x1b\[[0-9;]*m")
_LOG_PREFIX = re.compile(r"^\d{4}-\d\d-\d\d \S+ \[[A-Z]:[^\]]*\] ")
_LOG_ERROR = re.compile(r" \[[EF]:onnxruntime")
_STATUS_PREFIX = re.compile(r"^.*\[ONNXRuntimeError\] : \d+ : [A-Z_]+ : ")
_LOCK = threading.RLock()


@dataclass
class NativeOutput:
    """What was printed; `text` is filled when the `with` block ends, whatever ended it."""

    text: str = ""


@contextlib.contextmanager
def captured() -> Iterator[NativeOutput]:
    """Collects what is printed to stdout and stderr meanwhile, by native code and by Python.

    File descriptors belong to the whole process: what other threads print meanwhile is collected too.
    """
    output = NativeOutput()
    printed = io.StringIO()
    with _LOCK, _scratch_file() as scratch:
        _flush_native()
        saved = {number: copy for number in (1, 2) if (copy := _duplicate(number)) is not None}
        try:
            for number in saved:
                os.dup2(scratch.fileno(), number)
            with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
                yield output
        finally:
            # C buffers its stdout where that is no terminal; unflushed, it would appear after all at exit.
            _flush_native()
            for number, copy in saved.items():
                os.dup2(copy, number)
                os.close(copy)
            scratch.seek(0)
            output.text = printed.getvalue() + scratch.read(_MOST_BYTES).decode("utf-8", "replace")


def one_reason(text: str) -> str:
    """The first thing native output or an ONNX Runtime error complains of, on one line.

    Terminal colours, time stamps, source locations and status codes are taken off.
    """
    lines = [line for each in _TERMINAL_CODES.sub("", text).splitlines() if (line := each.strip())]
    # Warnings may come before the error and have nothing to do with it.
    line = next((line for line in lines if _LOG_ERROR.search(line)), lines[0] if lines else "no reason was given")
    return _STATUS_PREFIX.sub("", _LOG_PREFIX.sub("", line))[:_LONGEST_REASON]


def _scratch_file() -> IO[bytes]:
    try:
        return tempfile.TemporaryFile()
    except OSError:
        # No writable temporary folder: then the text is lost, but still not on stdout.
        return open(os.devnull, "r+b")


def _duplicate(number: int) -> int | None:
    try:
        return os.dup(number)
    except OSError:
        # Closed by the caller (`>&-`): nothing can leak there.
        return None


def _flush_native() -> None:
    # The C library's streams; Python's own buffers are not touched.
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("ucrtbase" if sys.platform == "win32" else None).fflush(None)
