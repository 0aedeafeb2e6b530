"""Photos whose decoder crashes, in runs of the command: one error each, and nothing else is lost."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from capcli.outputs import read_rows
from tests.conftest import RunCommand, command, environment
from tests.harmful import harmful_decoder, photo_saying

NAMES = ("a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at signals and processes as Linux shows them")


@pytest.fixture
def harm(tmp_path: Path) -> dict[str, str]:
    """The environment in which a photo may crash its decoder."""
    return {"PYTHONPATH": str(harmful_decoder(tmp_path / "harmful"))}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """The third of five photos crashes its decoder."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in NAMES:
        photo_saying("crash" if name == "c.jpg" else name, folder / name)
    return folder


def outcomes(out: Path) -> dict[str, str | None]:
    rows = [*read_rows(out, "csv")]
    assert len(rows) == len({row.path for row in rows})
    return {Path(row.path).name: row.error if row.caption is None else "captioned" for row in rows}


CRASHED = "is damaged, or made to do harm: its decoder crashed (SIGSEGV)"


@pytest.mark.parametrize("given", ["folder", "arguments", "stdin", "tar"])
def test_a_photo_that_crashes_its_decoder_has_an_error_and_the_others_their_captions(
    capcli: RunCommand, tiny: Path, photos: Path, harm: dict[str, str], tmp_path: Path, given: str
) -> None:
    with tarfile.open(tmp_path / "photos.tar", "w") as tar:
        tar.add(photos, ".")
    kinds: dict[str, tuple[list[Path | str], bytes | None]] = {
        "folder": ([photos], None),
        "arguments": ([photos / name for name in NAMES], None),
        "stdin": (["-"], b"".join(os.fsencode(photos / name) + b"\n" for name in NAMES)),
        "tar": ([tmp_path / "photos.tar"], None),
    }
    arguments, stdin = kinds[given]
    out = tmp_path / "out.csv"
    done = capcli("caption", *arguments, "-o", out, "--model", tiny, stdin=stdin, env=harm)
    assert (done.code, done.out) == (1, b"")
    assert outcomes(out) == {name: CRASHED if name == "c.jpg" else "captioned" for name in NAMES}
    (line, *summary) = done.errors.splitlines()
    assert line.endswith(f"c.jpg: {CRASHED}") and not any("c.jpg" in each for each in summary)


def test_it_is_tried_again_only_when_asked_for(
    capcli: RunCommand, tiny: Path, photos: Path, harm: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "out.csv"
    run = ("caption", photos, "-q", "-o", out, "--model", tiny)
    assert capcli(*run, env=harm).code == 1
    # Where it would be captioned now.
    assert capcli(*run, "--resume").code == 1
    assert outcomes(out)["c.jpg"] == CRASHED
    assert capcli(*run, "--resume", "--retry-failed").code == 0
    assert set(outcomes(out).values()) == {"captioned"}


def test_a_photo_named_alone_waits_for_no_process(
    capcli: RunCommand, tiny: Path, photos: Path, harm: dict[str, str]
) -> None:
    assert capcli("caption", photos / "a.jpg", "--model", tiny, env=harm).code == 0
    assert capcli("caption", photos / "c.jpg", "--model", tiny, env=harm).code == -signal.SIGSEGV


def children(process: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{process}/task").iterdir():
        # A thread may end in the meantime.
        with contextlib.suppress(OSError):
            found += [int(child) for child in (task / "children").read_text().split()]
    return found


def start(tiny: Path, harm: dict[str, str]) -> subprocess.Popen[bytes]:
    """A run of its own group, as a terminal has it, over the paths that are written to it."""
    return subprocess.Popen(
        [command(), "caption", "-", "--model", tiny],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(**harm),
        start_new_session=True,
    )


@pytest.mark.parametrize(
    ("signals", "code", "errors"), [([signal.SIGTERM], 143, b""), ([signal.SIGINT] * 2, 130, b"capcli: stopped\n")]
)
def test_whoever_ends_a_run_waits_for_no_photo_and_leaves_no_process(
    tiny: Path, photos: Path, harm: dict[str, str], signals: list[signal.Signals], code: int, errors: bytes
) -> None:
    run = start(tiny, harm)
    assert run.stdin is not None and run.stdout is not None
    run.stdin.write(os.fsencode(photos / "a.jpg") + b"\n")
    run.stdin.flush()
    assert run.stdout.readline()
    run.stdin.write(os.fsencode(photo_saying("hang", photos / "hang.jpg")) + b"\n")
    run.stdin.flush()
    time.sleep(0.3)
    started = children(run.pid)
    assert started
    begin = time.monotonic()
    for number in signals:
        os.killpg(run.pid, number)
        time.sleep(0.1)
    _, said = run.communicate(timeout=20)
    assert (run.returncode, said) == (code, errors)
    assert time.monotonic() - begin < 10
    assert not any(Path(f"/proc/{process}").exists() for process in started)


def test_ctrl_c_finishes_the_photos_that_are_on_their_way(tiny: Path, photos: Path, harm: dict[str, str]) -> None:
    run = start(tiny, harm)
    assert run.stdin is not None and run.stdout is not None
    run.stdin.write(os.fsencode(photos / "a.jpg") + b"\n")
    run.stdin.flush()
    first = run.stdout.readline()
    run.stdin.write(os.fsencode(photo_saying("slow", photos / "slow.jpg")) + b"\n")
    run.stdin.flush()
    time.sleep(0.3)
    os.killpg(run.pid, signal.SIGINT)
    rest, _ = run.communicate(timeout=20)
    assert run.returncode == 130
    assert [line.split(b"\t")[0] for line in (first + rest).splitlines()] == [
        os.fsencode(photos / name) for name in ("a.jpg", "slow.jpg")
    ]
