"""Ctrl-C, whichever command it stops and wherever: one line, exit code 130, no traceback."""

from __future__ import annotations

import os

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
