"""Folders that may not be looked into, as with `docker -u` and `sudo -u`, are folders without models."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import TINY_BUNDLE, command, environment
from tests.rights import give_up_rights

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="root is held back as Linux does it")


@pytest.fixture
def closed(tmp_path: Path) -> Iterator[Path]:
    """A folder with a bundle that nobody may look into."""
    folder = tmp_path / "closed"
    shutil.copytree(TINY_BUNDLE, folder / "capcli" / "models" / "mine")
    folder.chmod(0)
    yield folder
    folder.chmod(0o700)


def run(*arguments: str | Path, closed: Path, places: Path | None = None) -> subprocess.CompletedProcess[str]:
    hidden = str(places or closed / "capcli" / "models")
    names = ("XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "HOME")
    own = environment(CAPCLI_MODELS=hidden, **dict.fromkeys(names, str(closed)))
    done = subprocess.run(
        [command(), *arguments], capture_output=True, text=True, env=own, preexec_fn=give_up_rights, check=False
    )
    assert "internal error" not in done.stderr
    return done


def test_every_command_goes_on_without_it(closed: Path) -> None:
    for arguments in (["models"], ["models", "list", "--json"], ["models", "info"], ["models", "verify"]):
        done = run(*arguments, closed=closed)
        assert (done.returncode, done.stderr) == (0, "")
        assert "default" in done.stdout and "mine" not in done.stdout
    done = run("doctor", closed=closed)
    models = closed / "capcli" / "models"
    assert done.returncode == 0
    assert f"{models}: permission denied; mend CAPCLI_MODELS, which names it" in done.stdout
    assert done.stdout.endswith("A caption can be made here.\n")


def test_a_bundle_in_it_is_not_found_or_told(closed: Path, tmp_path: Path) -> None:
    for arguments in (["models", "info"], ["models", "verify"], ["caption", "photo.jpg", "--model"]):
        done = run(*arguments, "mine", closed=closed)
        assert (done.returncode, done.stderr.count("\n")) == (3, 1)
        assert "no bundle named 'mine'" in done.stderr
        bundle = closed / "capcli" / "models" / "mine"
        done = run(*arguments, bundle, closed=closed)
        assert (done.returncode, done.stderr) == (3, f"capcli: {bundle}: may not be looked into (permission denied)\n")
    done = run("doctor", "--model", closed / "capcli" / "models" / "mine", closed=closed)
    assert done.returncode == 3 and "may not be looked into" in done.stdout


def test_one_closed_bundle_hides_no_other(tmp_path: Path, closed: Path) -> None:
    places = tmp_path / "models"
    for name in ("good", "shut", "unread"):
        shutil.copytree(TINY_BUNDLE, places / name)
    (places / "shut").chmod(0)
    (places / "unread" / "manifest.json").chmod(0)
    try:
        done = run("models", closed=closed, places=places)
        assert done.returncode == 0
        assert [line.split()[0] for line in done.stdout.splitlines()] == ["NAME", "good", "unread", "default"]
        assert done.stderr.startswith(f"capcli: {places / 'unread' / 'manifest.json'}: not readable")
        done = run("models", "info", places / "shut", closed=closed)
        assert (done.returncode, done.stderr.count("may not be looked into")) == (3, 1)
    finally:
        (places / "shut").chmod(0o700)
