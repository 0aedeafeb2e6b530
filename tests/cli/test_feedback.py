"""What a person at a terminal sees of a run, and what a program that reads stderr does not."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from capcli.cli.feedback import kinds_left_out, summary
from capcli.run_report import Report
from tests.conftest import RunCommand, command, environment
from tests.shapes import draw

pty = pytest.importorskip("pty", reason="no pseudo-terminals here")


@dataclass(frozen=True)
class Seen:
    """How a run on a terminal ended, what the terminal got (stderr, and stdout if it went there too), and stdout."""

    code: int
    terminal: str
    out: str


def on_terminal(
    *arguments: str | Path, stdout_too: bool = False, interrupt_after: Path | None = None, **env: str
) -> Seen:
    """Captions on a terminal, with a Ctrl-C once that file has a row."""
    code, shown, out = on_terminal_raw(
        "caption", *arguments, stdout_too=stdout_too, interrupt_after=interrupt_after, **env
    )
    return Seen(code, shown.decode().replace("\r\n", "\n"), out.decode())


def on_terminal_raw(
    *arguments: str | Path, stdout_too: bool = False, interrupt_after: Path | None = None, **env: str
) -> tuple[int, bytes, bytes]:
    """Runs a command on a terminal; how it ended, and every byte that the terminal and standard output got."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [command(), *arguments],
        stdin=subprocess.PIPE if interrupt_after else subprocess.DEVNULL,
        stdout=theirs if stdout_too else subprocess.PIPE,
        stderr=theirs,
        env=environment(TERM="xterm", COLUMNS="100", **env),
    )
    os.close(theirs)
    if interrupt_after:
        assert process.stdin is not None
        process.stdin.write(os.fsencode(arguments[-1]) + b"\n")
        process.stdin.flush()
        deadline = time.monotonic() + 60
        while not (interrupt_after.exists() and interrupt_after.read_bytes().count(b"\n") > 1):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
    shown = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:
            break
        if not piece:
            break
        shown += piece
    os.close(ours)
    out = process.stdout.read() if process.stdout else b""
    return process.wait(60), shown, out


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(40):
        draw("circle", "red", "white", number, 64).save(folder / f"{number}.png")
    (folder / "bad [red]one.png").write_text("no photo")
    return folder


def described(words: str) -> Image.Exif:
    exif = Image.Exif()
    exif[0x010E] = words
    return exif


SUMMARY = re.compile(r"capcli: 40 captioned, 1 failed in \d+\.\d s \(\d+\.\d images/s\)\n")


def test_a_terminal_gets_a_bar_and_a_summary(photos: Path, tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.csv"
    seen = on_terminal(photos, "-o", out, "--model", tiny)
    assert (seen.code, seen.out) == (1, "")
    assert SUMMARY.search(seen.terminal)
    assert "41/41" in seen.terminal and "1 failed" in seen.terminal
    assert "bad [red]one.png: is not an image" in seen.terminal
    again = on_terminal(photos, "-o", out, "--model", tiny, "--resume")
    assert re.search(r"capcli: 0 captioned, 41 skipped in ", again.terminal)


def test_photos_that_have_a_description_are_counted_as_left(photos: Path, tiny: Path) -> None:
    pytest.importorskip("pyexiv2")
    arguments = (photos / "1.png", photos / "2.png", "--write-metadata", "--model", tiny)
    seen = on_terminal(*arguments)
    assert "capcli: 2 captioned in " in seen.terminal
    seen = on_terminal(*arguments)
    assert (seen.code, seen.out) == (0, "") and "capcli: 0 captioned, 2 left as they were in " in seen.terminal


def test_without_a_bar_the_summary_stays(photos: Path, tiny: Path, tmp_path: Path) -> None:
    seen = on_terminal(photos, "-o", tmp_path / "x.csv", "--model", tiny, "--no-progress")
    assert SUMMARY.search(seen.terminal)
    assert "41/41" not in seen.terminal and "\x1b" not in seen.terminal
    assert seen.terminal.count("\n") == 2


@pytest.mark.parametrize("rows", [False, True])
def test_photos_left_as_they_were_are_counted(photos: Path, tiny: Path, tmp_path: Path, rows: bool) -> None:
    pytest.importorskip("pyexiv2")
    for number in (1, 2):
        draw("circle", "red", "white", number, 64).save(photos / f"described {number}.jpg", exif=described("my words"))
    out = ("-o", tmp_path / "x.csv") if rows else ()
    seen = on_terminal(photos, "--write-metadata", *out, "--model", tiny)
    assert seen.code == 1
    assert seen.terminal.count("its metadata has a description already: 'my words'") == 2
    captioned = 42 if rows else 40
    assert f"capcli: {captioned} captioned, 2 left as they were, 1 failed in " in seen.terminal
    quiet = on_terminal(photos, "--write-metadata", *out, *(["--overwrite"] if rows else []), "--model", tiny, "-q")
    assert quiet.terminal == ""


def test_quiet_is_quiet(photos: Path, tiny: Path, tmp_path: Path) -> None:
    seen = on_terminal(photos, "-o", tmp_path / "x.csv", "--model", tiny, "--quiet")
    assert (seen.code, seen.terminal, seen.out) == (1, "", "")


def test_no_color_means_no_colour(photos: Path, tiny: Path, tmp_path: Path) -> None:
    colour = re.compile(r"\x1b\[[0-9;]*[3-4][0-9]*m")
    coloured = on_terminal(photos, "-o", tmp_path / "x.csv", "--model", tiny)
    plain = on_terminal(photos, "-o", tmp_path / "y.csv", "--model", tiny, NO_COLOR="1")
    assert colour.search(coloured.terminal)
    assert not colour.search(plain.terminal) and SUMMARY.search(plain.terminal)


def test_results_on_a_terminal_are_not_mixed_with_a_bar(photos: Path, tiny: Path) -> None:
    seen = on_terminal(photos, "--model", tiny, stdout_too=True)
    assert seen.terminal.count("\tA ") == 40 and "41/41" not in seen.terminal
    assert SUMMARY.search(seen.terminal)


def test_one_photo_needs_no_summary(photos: Path, tiny: Path) -> None:
    seen = on_terminal(photos / "1.png", "--model", tiny)
    assert (seen.code, seen.terminal) == (0, "")
    assert seen.out.count("\n") == 1


def test_ctrl_c_says_how_to_go_on(photos: Path, tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.csv"
    seen = on_terminal("-o", out, "--model", tiny, "-", photos / "1.png", interrupt_after=out)
    assert seen.code == 130
    assert seen.terminal.splitlines()[-1] == (
        f"capcli: stopped; {out} holds what was done so far; the same command with --resume goes on"
    )


def test_ctrl_c_advises_what_can_be_done(photos: Path, tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.csv"
    seen = on_terminal("-o", out, "--overwrite", "--model", tiny, "-", photos / "1.png", interrupt_after=out)
    assert seen.code == 130
    assert seen.terminal.endswith("the same command with --resume instead of --overwrite goes on\n")


def test_a_program_gets_errors_and_nothing_else(capcli: RunCommand, photos: Path, tiny: Path, tmp_path: Path) -> None:
    done = capcli("caption", photos, "-o", tmp_path / "x.csv", "--model", tiny)
    bad = photos / "bad [red]one.png"
    assert (done.code, done.out, done.errors) == (1, b"", f"capcli: {bad}: is not an image (it looks like text)\n")


@pytest.fixture
def raws(tmp_path: Path) -> Path:
    folder = tmp_path / "raws"
    (folder / "more").mkdir(parents=True)
    for name in ("1.ARW", "2.arw", "more/3.arw", "4.cr2", "5.psd", "more/6.jxl", "notes.txt", ".7.arw"):
        (folder / name).write_bytes(b"x")
    return folder


def test_where_nothing_can_be_read_the_kinds_are_named(capcli: RunCommand, raws: Path, tiny: Path) -> None:
    done = capcli("caption", raws, "--model", tiny)
    kinds = "6 files of kinds that are not read: .arw, .cr2, .jxl, .psd"
    assert (done.code, done.out, done.errors) == (2, b"", f"capcli: no image found in {raws} ({kinds})\n")
    done = capcli("caption", raws, "--no-recursive", "--exclude", "*.psd", "--exclude", "*.cr2", "--model", tiny)
    kinds = "2 files of a kind that is not read: .arw"
    assert (done.code, done.errors) == (2, f"capcli: no image found in {raws} ({kinds})\n")
    for name in ("a.dng", "b.nef"):
        (raws / name).write_bytes(b"x")
    kinds = "8 files of kinds that are not read: .arw, .cr2, .dng, .jxl, .nef ..."
    assert capcli("caption", raws, "--model", tiny).errors == f"capcli: no image found in {raws} ({kinds})\n"
    done = capcli("caption", raws / "more", "--include", "*.png", "--model", tiny)
    assert done.errors == f"capcli: no image found in {raws / 'more'}\n"


def test_the_summary_counts_what_was_left_out_once(raws: Path, tiny: Path, tmp_path: Path) -> None:
    draw("circle", "red", "white", 1, 64).save(raws / "a.png")
    tail = re.compile(
        r"capcli: 1 captioned in \S+ s \(\S+ images/s\); "
        r"left out 6 files of kinds that are not read: \.arw, \.cr2, \.jxl, \.psd\n$"
    )
    # With a bar the folder is walked a second time, to count what is to be captioned.
    seen = on_terminal(raws, "-o", tmp_path / "x.csv", "--model", tiny)
    assert seen.code == 0 and tail.search(seen.terminal), seen.terminal
    seen = on_terminal(raws, "-o", tmp_path / "y.csv", "--model", tiny, "--no-progress")
    assert tail.fullmatch(seen.terminal), seen.terminal
    assert on_terminal(raws, "-o", tmp_path / "z.csv", "--model", tiny, "--quiet").terminal == ""


def test_a_summary_counts_all_that_was_looked_at() -> None:
    report = Report(captioned=3, skipped=4, failed=2, unsure=1, found_any=True)
    told = "3 captioned, 5 left as they were, 1 unsure, 4 skipped, 2 failed in 2.0 s (3.0 images/s)"
    assert summary(report, 5, 2.0) == told
    assert summary(Report(captioned=1), 1, 0.0, "written") == "1 written, 1 left as it was in 0.0 s (1000.0 images/s)"
    # The most frequent ones first.
    assert kinds_left_out({".arw": 1, ".psd": 2}) == "3 files of kinds that are not read: .psd, .arw"
    assert kinds_left_out({".arw": 1}) == "1 file of a kind that is not read: .arw"


def test_shells_can_complete(capcli: RunCommand) -> None:
    done = capcli("--show-completion", "bash", env={"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"})
    assert done.code == 0 and "capcli" in done.text
