"""`capcli bench` as a user runs it. What it measures is the machine's; here it must measure, and say so in order."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from capcli import __version__
from tests.conftest import Finished, RunCommand, command, environment, python
from tests.photos import write_photo

FAST = ("--rounds", "1", "--provider", "cpu", "--threads", "1")
CPU_LIMITS = ["whole_run", "beam", "cold_start", "memory"]
OF_LARGE_PHOTOS = ["large_photos", "loading"]
POSIX = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "ph\u00f6tos"
    folder.mkdir()
    for name in ("chelsea", "coffee"):
        write_photo(folder / f"{name}.jpg", name)
    return folder


# The command as it is, but for fewer starts of processes, of which each takes a second.
BENCH = """
import sys
from capcli import cli
from capcli.benchmark import measure
measure._STARTS = 1
sys.exit(cli.run(["bench", *sys.argv[1:]]))
"""


def bench(*arguments: str | Path, **env: str) -> Finished:
    return python(BENCH, *map(str, (*arguments, *FAST)), **env)


def test_json_has_every_figure_beside_its_target(tiny: Path, photos: Path) -> None:
    (photos / "broken.jpg").write_bytes((photos / "coffee.jpg").read_bytes()[:3000])
    done = bench(photos, "--model", tiny, "--json")
    assert done.code == 0, done.errors
    found = json.loads(done.text)
    assert list(found) == [
        "format",
        "machine",
        "versions",
        "model",
        "photos",
        "stages",
        "photos_per_second",
        "encoder_per_second",
        "limits",
        "left_out",
    ]
    assert found["photos"] | {"megabytes": 0} == {
        "generated": False,
        "measured": 2,
        "unreadable": 1,
        "megabytes": 0,
        "rounds": 1,
    }
    assert found["versions"]["capcli"] == __version__
    assert (found["model"]["provider"], found["model"]["threads"]) == ("cpu", 1)
    assert found["model"]["precision"] == "float32, from int8 weights"
    assert [stage["stage"] for stage in found["stages"]] == ["load", "encode", "search", "write"]
    assert all(stage["seconds"] > 0 for stage in found["stages"])
    assert sum(stage["share"] for stage in found["stages"]) == pytest.approx(1)
    assert [limit["key"] for limit in found["limits"]] == [
        key for key in CPU_LIMITS if key != "memory" or hasattr(os, "wait4")
    ]
    for limit in found["limits"]:
        assert 0 < limit["low"] <= limit["value"] <= limit["high"]
        held = limit["value"] <= limit["target"] if limit["at_most"] else limit["value"] >= limit["target"]
        assert limit["met"] is held
    assert list(found["left_out"])[:3] == [*OF_LARGE_PHOTOS, "int8"]
    # What the user must know of the photos, and of what takes its time, is on stderr.
    assert f"capcli: {photos / 'broken.jpg'}: " in done.errors


def test_without_photos_it_makes_its_own_says_what_is_met_and_leaves_nothing_behind(tiny: Path, tmp_path: Path) -> None:
    # One photo of each size.
    names = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(tmp_path))
    done = bench("--model", tiny, "-q", "--limit", "1", **names)
    assert (done.code, done.err) == (0, b"")
    lines = done.text.splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["machine", "versions", "model", "photos"]
    assert lines[3] == "photos     1 generated photos, 500 x 375; medians of 1 rounds"
    assert [line.split()[0] for line in lines if line.count(" %")] == ["load", "encode", "search", "write"]
    judged = [line for line in lines if line.endswith(("  met", "  missed"))]
    assert len(judged) == len(CPU_LIMITS) + len(OF_LARGE_PHOTOS) - (not hasattr(os, "wait4"))
    assert all("<= " in line or ">= " in line for line in judged)
    assert [line[:28] for line in judged].count("12-megapixel photos / 500 x ") == 1
    assert list(tmp_path.iterdir()) == []


MISTAKES = [
    (["empty"], "no image found in empty"),
    (["missing.jpg"], "none of the 1 photos can be read"),
    (["notes.jpg"], "none of the 1 photos can be read"),
    (["-"], "name files or folders"),
    (["--limit", "0"], "--limit is 0; it must be at least 1"),
    (["--rounds", "-1"], "--rounds is -1; it must be at least 1"),
    (["--threads", "0"], "--threads is 0; it must be at least 1"),
    (["--workers", "1000000"], "--workers is 1000000; it must be at most"),
    (["--provider", "tpu"], "no provider 'tpu'"),
]


def test_what_cannot_be_measured_is_one_line(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.jpg").write_text("no photo")
    # All in one process, which takes its time to start.
    done = python(
        "import ast, os, sys\n"
        "from capcli import cli\n"
        "os.chdir(sys.argv[1])\n"
        "for given in ast.literal_eval(sys.argv[2]):\n"
        "    print(cli.run(['bench', *given, '--model', sys.argv[3], '-q']))\n",
        str(tmp_path),
        repr([given for given, _ in MISTAKES]),
        str(tiny),
    )
    assert done.text == "2\n" * len(MISTAKES)
    for line, (_, reason) in zip(done.errors.splitlines(), MISTAKES, strict=True):
        assert line.startswith("capcli: ") and reason in line


def test_a_damaged_bundle_is_the_models_fault(capcli: RunCommand, tiny: Path, photos: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(tiny, bundle)
    (bundle / "encoder.onnx").write_bytes(b"x")
    done = capcli("bench", photos, "--model", bundle)
    assert (done.code, done.out) == (3, b"") and "damaged bundle" in done.errors


@POSIX
def test_ctrl_c_ends_it_at_once_and_cleans_up(tiny: Path, photos: Path, tmp_path: Path) -> None:
    place = tmp_path / "temporary"
    place.mkdir()
    process = subprocess.Popen(
        [command(), "bench", photos, "--model", tiny, "--rounds", "1000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(TMPDIR=str(place)),
        text=True,
    )
    assert process.stderr is not None
    assert "each stage alone" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert errors.splitlines()[-1] == "capcli: stopped"
    assert [file.name for file in place.iterdir() if file.name != ".ses"] == []


def test_help_loads_nothing_heavy() -> None:
    heavy = "{'numpy', 'PIL', 'onnxruntime'}"
    code = (
        f"import sys; from capcli.cli import run; run(['bench', '--help']); print(sorted(set(sys.modules) & {heavy}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=True)
    assert done.stdout.splitlines()[-1] == "[]"
