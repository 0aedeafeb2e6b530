"""How a run shows itself: lines, a bar, and a terminal that is as it was before, however the run ends."""

from __future__ import annotations

import io
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from tests.conftest import TINY_BUNDLE, command, environment, python
from tests.shapes import write_data_set

pytest.importorskip("torch", reason="needs the train extra")
pytest.importorskip("pycocoevalcap", reason="needs the train extra")

from capcli.cli.training_progress import BarListener, epoch_line
from capcli.training.progress import EpochResult, TrainingProgress

HIDE, SHOW = b"\x1b[?25l", b"\x1b[?25h"


def on_a_terminal(
    arguments: list[str | Path], until: Callable[[bytes], bool], then: Callable[[int], None]
) -> tuple[int, bytes]:
    """Runs `capcli` with stderr on a terminal, in a process group of its own, and does something to that group.

    Args:
        until: told all output so far; `then` is called, once, with the group when it says so.
    Returns:
        The exit code and all that the terminal got.
    """
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [command(), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        start_new_session=True,
        env=environment(TERM="xterm", OMP_NUM_THREADS="1"),
    )
    os.close(theirs)
    shown, waiting = b"", True
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if not select.select([ours], [], [], 0.2)[0]:
            continue
        try:
            read = os.read(ours, 65536)
        except OSError:  # everybody has closed the other end
            break
        if not read:
            break
        shown += read
        if waiting and until(shown):
            waiting = False
            then(process.pid)
    os.close(ours)
    code = process.wait(timeout=60)
    with pytest.raises(ProcessLookupError):
        # No process of the run is left, none that prepares batches either.
        for _ in range(50):
            os.killpg(process.pid, 0)
            time.sleep(0.1)
    return code, shown


@pytest.fixture(scope="module")
def arguments(tmp_path_factory: pytest.TempPathFactory) -> list[str | Path]:
    folder = tmp_path_factory.mktemp("shapes")
    captions = write_data_set(folder, copies=1, size=64)
    return [
        *("train", "--images", folder / "images", "--captions", captions, "--encoder", TINY_BUNDLE),
        *("--input-size", "64", "--hidden", "16", "--embedding", "8", "--attention", "8", "--min-count", "1"),
        *("--batch-size", "8", "--threads", "1", "--workers", "2", "--cache", folder / "cache", "--max-length", "5"),
    ]


@pytest.mark.parametrize(
    ("end", "code"),
    [("Ctrl-C", 130), ("SIGTERM", 143), ("an error", 2)],
)
@pytest.mark.skipif(sys.platform == "win32", reason="has no pseudo-terminals")
def test_the_cursor_comes_back_and_nothing_else_stays(
    end: str, code: int, arguments: list[str | Path], tmp_path: Path
) -> None:
    def stop(group: int) -> None:
        if end == "Ctrl-C":  # a terminal sends it to all of them
            os.killpg(group, signal.SIGINT)
        elif end == "SIGTERM":  # as a service manager does
            os.killpg(group, signal.SIGTERM)

    given = list(arguments)
    if end == "an error":
        given[given.index("--captions") + 1] = tmp_path / "missing.csv"
    found, shown = on_a_terminal(
        [*given, "--out", tmp_path / "run", "--epochs", "5000"], lambda shown: b"epoch 1" in shown, stop
    )
    assert found == code, shown.decode()
    assert shown.count(HIDE) >= 1
    assert shown.rfind(SHOW) > shown.rfind(HIDE)
    assert b"Traceback" not in shown and b"Error" not in shown
    assert (b"capcli: " in shown) == (end != "SIGTERM")
    assert (b"capcli: stopped" in shown) == (end == "Ctrl-C")


def test_a_forked_process_ends_without_a_word() -> None:
    """A worker has the command's signal handlers until it sets its own."""
    code = """
import multiprocessing, os, signal, time
from capcli import cli
cli.run(["--version"])
for number in (signal.SIGTERM, signal.SIGINT):
    process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    process.start()
    time.sleep(0.3)
    os.kill(process.pid, number)
    process.join()
    print(process.exitcode)
"""
    done = python(code)
    assert (done.text.split()[-2:], done.errors) == (["143", "130"], "")


def progress(update: int) -> TrainingProgress:
    return TrainingProgress(1, 1, update, 3, 2.0, None, 1e-3, 1.0)


def result(**values: object) -> EpochResult:
    fields: dict[str, object] = {"loss": 2.5, "reward": None, "cider": (12.34,), "mean_cider": 12.34, "val_loss": 3.21}
    fields |= {"epoch": 1, "update": 3, "rate": 1e-3, "best": True, "seconds": 3.0, **values}
    return EpochResult(**fields)  # type: ignore[arg-type]


def test_the_last_validation_has_a_bar_too() -> None:
    screen = io.StringIO()
    with BarListener(Console(file=screen, force_terminal=True, width=100)) as listener:
        for update in (1, 2, 3):
            listener.progress(progress(update))
        listener.validating(1, 2)
        deadline = time.monotonic() + 10
        while "captioning validation images" not in screen.getvalue() and time.monotonic() < deadline:
            time.sleep(0.05)
        listener.epoch(result())
    assert "captioning validation images" in screen.getvalue()
    assert "epoch 1: loss 2.500" in screen.getvalue()
    assert screen.getvalue().rfind(SHOW.decode()) > screen.getvalue().rfind(HIDE.decode()) >= 0


def test_a_name_in_a_note_does_not_speak_to_the_terminal() -> None:
    screen = io.StringIO()
    BarListener(Console(file=screen, width=100)).note("left out: a\x1b[2J\x9b\udc9b.jpg")
    assert screen.getvalue() == "left out: a\\x1b[2J\\x9b\\x9b.jpg\n"


def test_an_epochs_line_has_both_validation_scores() -> None:
    assert epoch_line(result()) == (
        "epoch 1: loss 2.500, validation CIDEr (plain tokeniser) 12.3, loss 3.210, best so far; 3 s so far"
    )
    assert epoch_line(result(cider=(), mean_cider=None, val_loss=None)) == "epoch 1: loss 2.500; 3 s so far"
