"""The user's own folders, as the XDG specification has them, on whatever machine."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from capcli.user_folders import cache_folder, data_folder, state_folder

pytestmark = pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="as on Linux")
FOLDERS = {"XDG_DATA_HOME": data_folder, "XDG_STATE_HOME": state_folder, "XDG_CACHE_HOME": cache_folder}


@pytest.mark.parametrize("variable", FOLDERS)
def test_an_absolute_path_counts_and_a_relative_one_does_not(
    variable: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv(variable, raising=False)
    usual = FOLDERS[variable]()
    assert usual.is_relative_to(tmp_path)
    for value in ("", "relative/folder"):
        monkeypatch.setenv(variable, value)
        assert FOLDERS[variable]() == usual
    monkeypatch.setenv(variable, str(tmp_path / "x"))
    assert FOLDERS[variable]() == tmp_path / "x"
