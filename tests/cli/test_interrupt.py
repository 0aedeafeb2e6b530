"""Ctrl-C and SIGTERM, whichever command they stop and wherever: 130 with one line or 143 with none, no traceback."""

from __future__ import annotations

import os
import signal

import pytest

from tests.conftest import TINY_BUNDLE, python

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")

# Of each command, a module that its work begins with: the signal arrives as that is imported.
COMMANDS = {
    ("caption", "missing.jpg", "--model", str(TINY_BUNDLE)): "capcli.captioner",
    ("apply", "missing.csv", "--sidecar", ".txt"): "capcli.applying",
    ("train", "--images", "x", "--out", "x"): "capcli.extras",
    ("export", "x", "y"): "capcli.extras",
    ("explain", "missing.jpg"): "capcli.extras",
    ("review", "missing.csv", "-o", "x.html"): "capcli.extras",
    ("ray", "missing.jpg", "x"): "capcli.extras",
    ("evaluate", "--images", "x"): "capcli.evaluation",
    ("models", "list"): "capcli.bundle.catalogue",
    ("models",): "capcli.bundle.catalogue",
    ("models", "info"): "capcli.bundle.catalogue",
    ("models", "verify"): "capcli.captioner",
    ("doctor",): "capcli.diagnosis",
    ("bench",): "capcli.benchmark.measure",
}
INTERRUPTED = """
import ast, signal, sys
from capcli import cli

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == module:
            signal.raise_signal(signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
for arguments, module in ast.literal_eval(sys.argv[1]).items():
    print(cli.run(list(arguments)), *arguments)
"""


def interrupted(commands: dict[tuple[str, ...], str]) -> tuple[list[str], str]:
    """Runs commands one after the other, each with a Ctrl-C; what they ended with, and what they said."""
    done = python(INTERRUPTED, repr(commands))
    return done.text.splitlines(), done.errors


def test_every_command_says_that_it_was_stopped() -> None:
    codes, errors = interrupted(COMMANDS)
    assert codes == [" ".join(["130", *arguments]) for arguments in COMMANDS]
    assert errors == "capcli: stopped\n" * len(COMMANDS)


def test_no_command_is_left_out() -> None:
    done = python("from capcli.cli.app import app, typer; print(*typer.main.get_command(app).list_commands(None))")
    assert set(done.text.split()) == {arguments[0] for arguments in COMMANDS}


def test_so_does_one_that_is_still_loading() -> None:
    codes, errors = interrupted({("--help",): "typer"})
    assert (codes, errors) == (["130 --help"], "capcli: stopped\n")


# A library in C++ that calls Python as it loads makes an error of its own of what a signal's handler raises.
SWALLOWED = """
import signal, sys
from capcli import cli

class Swallowing:
    def find_spec(self, name, path=None, target=None):
        if name == library and signals:
            try:
                signal.raise_signal(signals.pop())
            except BaseException:
                raise ImportError("initialization failed")

sys.meta_path.insert(0, Swallowing())
for library in ("onnxruntime", "tokenizers"):
    for number in (signal.SIGTERM, signal.SIGINT):
        signals = [number]
        print(cli.run(["caption", "missing.jpg", "--model", sys.argv[1]]), len(signals))
        # Once it is loaded, it is asked for no more.
        sys.modules.pop(library, None)
"""


def test_a_signal_that_comes_while_a_library_loads_is_no_broken_library() -> None:
    done = python(SWALLOWED, str(TINY_BUNDLE))
    assert done.text.splitlines() == ["143 0", "130 0"] * 2
    assert done.errors == "capcli: stopped\n" * 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_that_comes_after_the_end_is_no_traceback(number: signal.Signals) -> None:
    code = (
        "import atexit, signal, sys; from capcli import cli\n"
        "atexit.register(signal.raise_signal, int(sys.argv.pop())); cli.main()"
    )
    done = python(code, "--version", str(int(number)))
    assert (done.code, done.errors) == (-number, "")
