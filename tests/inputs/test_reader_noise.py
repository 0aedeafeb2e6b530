"""What readers print or log stays with them, in however many threads they read."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
import tifffile

from capcli.inputs.reader_noise import no_warnings
from tests.conftest import python


def test_the_first_thread_to_leave_does_not_let_the_warnings_of_others_out() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        before = warnings.filters[:]
        with no_warnings:
            no_warnings.__enter__()
            no_warnings.__exit__(None, None, None)
            warnings.warn("odd metadata", stacklevel=1)
        assert warnings.filters == before
        with pytest.raises(UserWarning):
            warnings.warn("somebody else's", stacklevel=1)


def test_what_pillow_logs_does_not_reach_the_user(tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    tifffile.imwrite(path, np.zeros((8, 8, 3), np.uint8), photometric="rgb", metadata=None)
    content = bytearray(path.read_bytes())
    place = content.index(struct.pack("<HHI", 277, 3, 1)) + 8
    content[place : place + 2] = struct.pack("<H", 255)
    path.write_bytes(content)
    code = """
import sys
from capcli.inputs.images import load_image
try:
    load_image(sys.argv[1], size=(8, 8))
except Exception as error:
    print(error)
"""
    done = python(code, str(path))
    assert done.err == b"" and b"TIFF" in done.out
