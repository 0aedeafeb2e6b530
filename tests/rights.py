"""Commands that are held to permissions, as `docker -u` and `sudo -u` start them, also where tests run as root."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import environment

_DROP_FROM_BOUNDS, _WRITE_ANYTHING, _READ_ANYTHING = 24, 1, 2


def give_up_rights() -> None:
    """Root reads and writes whatever it likes; without these two rights it is held to permissions, here and in what it
    starts. As Linux does it; elsewhere, tests are not run as root."""
    if sys.platform == "linux" and os.geteuid() == 0:
        for right in (_WRITE_ANYTHING, _READ_ANYTHING):
            if ctypes.CDLL(None).prctl(_DROP_FROM_BOUNDS, right, 0, 0, 0) != 0:
                raise OSError("cannot be held back")


def like_anybody(code: str, text: str, *, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs a few lines of Python so, with a text on standard input."""
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        input=text,
        capture_output=True,
        text=True,
        env=environment(),
        preexec_fn=give_up_rights,
        check=False,
    )
