"""What commands leave behind: what the README lists, nothing else; and that they open no network socket."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

from capcli.outputs.records import read_rows
from tests.conftest import TESTS, TINY_BUNDLE, environment, python
from tests.no_network import NETWORK
from tests.shapes import draw


@dataclass(frozen=True)
class Ran:
    """Commands that have run, one after the other, where they found nothing of others and had no network."""

    errors: str
    home: Path
    temporary: Path
    work: Path


def run_alone(folder: Path, commands: Sequence[Sequence[str]]) -> Ran:
    home, temporary, work = (folder / name for name in ("home", "tmp", "work"))
    for place in (home, temporary):
        place.mkdir()
    kept = {name: value for name, value in environment().items() if not name.startswith("XDG_")}
    # ONNX Runtime reports nothing where it takes the machine for one that runs tests.
    kept = {name: value for name, value in kept.items() if name not in ("CI", "ORT_DISABLE_TELEMETRY")}
    places = dict.fromkeys(("HOME", "USERPROFILE", "LOCALAPPDATA", "APPDATA"), str(home))
    done = subprocess.run(
        [sys.executable, "-m", "tests.no_network", json.dumps(commands)],
        cwd=work,
        env=kept | places | {"TMPDIR": str(temporary), "TEMP": str(temporary), "PYTHONPATH": str(TESTS.parent)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return Ran(done.stderr, home, temporary, work)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("alone")
    (folder / "work" / "photos").mkdir(parents=True)
    for name in ("a", "b"):
        draw("circle", "red", "white", ord(name), 64).save(folder / "work" / "photos" / f"{name}.png")
    model = ["--model", str(TINY_BUNDLE)]
    commands = [
        ["caption", "photos", "-o", "captions.csv", "--sidecar", ".txt", *model],
        ["caption", "photos/a.png", *model],
        ["explain", "photos/a.png", *model],
        ["apply", "captions.csv", "--sidecar", ".caption"],
        # Pages need an optional part.
        *([["review", "captions.csv", "-o", "review.html"]] if find_spec("jinja2") else []),
        ["models"],
        ["doctor", *model],
        ["--help"],
    ]
    done = run_alone(folder, commands)
    assert json.loads(done.errors.splitlines()[-1]) == [0] * len(commands), done.errors
    return done


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)).replace(os.sep, "/") for path in folder.rglob("*") if not path.is_dir()}


def test_commands_open_no_network_socket(ran: Ran) -> None:
    # Whatever process of theirs had tried would not have ended with 0, or have captioned nothing.
    rows = list(read_rows(ran.work / "captions.csv", "csv"))
    assert len(rows) == 2 and all(row.caption and row.error is None for row in rows)


@pytest.mark.parametrize(
    ("code", "ended"),
    [
        ("import socket; socket.socket(socket.AF_INET6)", NETWORK),
        ("import socket; socket.getaddrinfo('localhost', 80)", NETWORK),
        ("import ctypes; ctypes.CDLL(None).socket(2, 1, 0)", -getattr(signal, "SIGSYS", 0)),
        (
            "import subprocess; import sys\n"
            "sys.exit(subprocess.run([sys.executable, '-c', 'import socket; socket.socket()']).returncode != 0)",
            1,
        ),
        ("import ctypes; ctypes.CDLL(None).socket(1, 1, 0)", 0),
    ],
)
def test_a_network_socket_would_be_seen(code: str, ended: int) -> None:
    if ("ctypes" in code or "subprocess" in code) and sys.platform != "linux":
        pytest.skip("only Linux forbids it in all code")
    done = python(
        f"from tests.no_network import forbid_network; forbid_network()\n{code}", PYTHONPATH=str(TESTS.parent)
    )
    assert done.code == ended, done.errors


def test_nothing_stays_behind_but_which_model_wrote_a_file(ran: Ran) -> None:
    assert files(ran.temporary) == set() == set(ran.temporary.iterdir())
    (kept,) = files(ran.home)
    assert kept.endswith(".json") and "capcli/outputs/" in kept
    told = json.loads((ran.home / kept).read_text("utf-8"))
    assert told["model"] == "tiny" and not any(
        "photos" in str(value) or "captions.csv" in str(value) for value in told.values()
    )
    review = {"review.html"} if find_spec("jinja2") else set()
    beside = {f"photos/{name}{end}" for name in ("a", "b") for end in (".png", ".txt", ".caption")}
    assert files(ran.work) == beside | {"captions.csv"} | review
