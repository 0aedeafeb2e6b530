"""The user's own folders, as the XDG specification has them, on whatever machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from capcli.user_folders import cache_folder, data_folder, state_folder
from tests.conftest import python

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


@pytest.mark.skipif(not hasattr(os, "setuid") or os.geteuid() != 0, reason="only root becomes somebody else")
def test_somebody_without_a_home_captions_with_the_shipped_model(tmp_path: Path) -> None:
    """As in `docker -u 1234`: no line in the user list, and a HOME of somebody else or none."""
    closed = tmp_path / "closed"
    (closed / ".local" / "share" / "capcli" / "models").mkdir(parents=True)
    code = (
        "import os, sys\n"
        "import capcli, capcli.cli, capcli.cli.models, capcli.bundle.catalogue, capcli.bundle.bundle as bundle\n"
        "import encodings.idna, tomllib\n"
        "closed = sys.argv[1]\n"
        "os.chmod(closed, 0o700)\n"
        "os.setgid(54321); os.setuid(54321)\n"
        "for home in (closed, None):\n"
        "    os.environ.pop('HOME', None)\n"
        "    if home: os.environ['HOME'] = home\n"
        "    os.environ.pop('XDG_DATA_HOME', None)\n"
        "    print(bundle.find_bundle('default').name)\n"
        "    try: bundle.find_bundle('nothing')\n"
        "    except capcli.BundleError as error: print(str(error).split(';')[0][:23])\n"
        "    print(len(capcli.bundle.catalogue.search_places()) > 1)\n"
    )
    done = python(code, str(closed), PYTHONDONTWRITEBYTECODE="1")
    if "Permission denied" in done.errors and "site-packages" in done.errors:
        pytest.skip("somebody else may not look into this environment")
    assert done.errors == ""
    assert done.text.split("\n") == [*["default", "no bundle named 'nothing'"[:23], "True"] * 2, ""]
