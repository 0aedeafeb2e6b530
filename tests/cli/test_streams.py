"""Standard streams that are closed or full: what can be done is done, and what cannot is told."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.conftest import TINY_BUNDLE, RunCommand, command, environment, python
from tests.photos import write_photo

pytestmark = pytest.mark.skipif(os.name == "nt", reason="a shell's >&- is meant")
CLOSED = b"capcli: standard output cannot be written (it is closed)\n"


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    return write_photo(tmp_path / "a.jpg", "chelsea")


def shell(arguments: list[str], redirections: str, folder: Path) -> subprocess.CompletedProcess[bytes]:
    line = f"{shlex.join([str(command()), *arguments])} {redirections}"
    return subprocess.run(["sh", "-c", line], cwd=folder, capture_output=True, env=environment(), check=False)


@pytest.mark.parametrize("closed", ["2>&-", "<&-", "<&- 2>&-"])
def test_a_caption_comes_with_closed_errors_and_input(closed: str, photo: Path) -> None:
    done = shell(["caption", "a.jpg", "--model", str(TINY_BUNDLE)], closed, photo.parent)
    assert (done.returncode, done.stdout.count(b"\n"), done.stderr) == (0, 1, b"")


@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_a_file_is_written_whatever_is_closed_and_holds_rows_alone(closed: str, photo: Path) -> None:
    arguments = ["caption", "a.jpg", "missing.jpg", "--model", str(TINY_BUNDLE), "-o", "x.csv"]
    done = shell(arguments, closed, photo.parent)
    lines = (photo.parent / "x.csv").read_text().splitlines()
    assert done.returncode == 1
    assert [line.split(",")[0] for line in lines] == ["path", "a.jpg", "missing.jpg"]


@pytest.mark.parametrize("arguments", [["caption", "a.jpg"], ["--version"], ["models", "list"], ["--help"]])
def test_a_closed_standard_output_is_told_and_no_internal_error(arguments: list[str], photo: Path) -> None:
    if arguments[0] == "caption":
        arguments = [*arguments, "--model", str(TINY_BUNDLE)]
    done = shell(arguments, ">&-", photo.parent)
    assert (done.returncode, done.stdout, done.stderr) == (4, b"", CLOSED)
    assert shell(arguments, ">&- 2>&-", photo.parent).returncode == 4


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
@pytest.mark.parametrize("arguments", [["--version"], ["models", "list"], ["--help"]])
def test_a_full_standard_output_is_told(arguments: list[str], tmp_path: Path) -> None:
    done = shell(arguments, ">/dev/full", tmp_path)
    assert (done.returncode, done.stderr.count(b"\n")) == (4, 1)
    assert done.stderr.startswith(b"capcli: standard output cannot be written (")


@pytest.mark.parametrize("arguments", [["--version"], ["models", "list"], ["--help"], ["caption", "a.jpg"]])
def test_a_standard_output_of_a_limited_size_is_told(arguments: list[str], photo: Path) -> None:
    if arguments[0] == "caption":
        arguments = [*arguments, "--model", str(TINY_BUNDLE)]
    line = f"ulimit -f 0; {shlex.join([str(command()), *arguments])} >said; echo $?"
    done = subprocess.run(["sh", "-c", line], cwd=photo.parent, capture_output=True, env=environment(), check=False)
    assert (done.stdout, (photo.parent / "said").read_bytes()) == (b"4\n", b"")
    assert done.stderr == b"capcli: standard output cannot be written (File too large)\n"


UNFORESEEN = """
from capcli import cli
from capcli.cli import app as module

def fails(*arguments, **how):
    raise error

module.app = fails
for error in (MemoryError(), RuntimeError("odd\\nend")):
    print(cli.run(["--version"]))
"""


@pytest.mark.parametrize("debug", ["", "1"])
def test_what_nobody_foresaw_is_one_line_and_no_success(debug: str) -> None:
    done = python(UNFORESEEN, CAPCLI_DEBUG=debug)
    assert done.text == "1\n1\n"
    first, *traceback, last = done.errors.splitlines()
    assert first == "capcli: out of memory; use a smaller --batch-size or smaller images"
    assert last == "capcli: internal error: RuntimeError: odd\\nend (set CAPCLI_DEBUG=1 to see where)"
    assert bool(traceback) == bool(debug)


# No system has as much room for a thread's stack.
NO_THREAD = """
import threading
from capcli import cli
from capcli.cli import app as module

def starts(*arguments, **how):
    threading.stack_size(1 << 47)
    threading.Thread(target=print).start()

module.app = starts
print(cli.run(["--version"]))
"""


def test_a_thread_that_the_system_does_not_give_is_one_line() -> None:
    done = python(NO_THREAD)
    assert done.text == "1\n"
    assert done.errors == (
        "capcli: no thread can be started: out of memory, or too many processes run; end some of them\n"
    )


def test_a_file_that_looks_like_an_option_gets_a_hint(capcli: RunCommand, tmp_path: Path) -> None:
    write_photo(tmp_path / "-cat.jpg", "chelsea")
    done = capcli("caption", "-cat.jpg", cwd=tmp_path)
    assert done.code == 2
    assert done.errors.endswith("a file whose name begins with - is given as ./-cat.jpg, or after --\n")
    assert capcli("caption", "--model", TINY_BUNDLE, "--", "-cat.jpg", cwd=tmp_path).code == 0
