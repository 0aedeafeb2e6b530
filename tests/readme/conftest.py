"""A shell for the command lines of README.md."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.readme.shell import Shell


@pytest.fixture
def shell(tiny: Path, tmp_path: Path) -> Shell:
    """With the tiny bundle as the default model, in an empty folder."""
    if os.name == "nt":
        pytest.skip("a shell of POSIX is meant")
    folder = tmp_path / "home"
    folder.mkdir()
    return Shell(folder, tiny)
