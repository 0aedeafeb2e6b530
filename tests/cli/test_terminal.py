"""What a terminal gets of names that speak to terminals, and what files and pipes get."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from pathlib import Path

import pytest
from hypothesis import given

from capcli.cli.terminal import answer, on_screen, one_line, write_stdout
from capcli.errors import OutputError
from capcli.messages import shortened
from tests.cli.test_feedback import on_terminal_raw
from tests.conftest import RunCommand
from tests.shapes import draw
from tests.texts import texts

pytestmark = pytest.mark.skipif(os.name == "nt", reason="names of POSIX")

# Clears the screen, sets the title, rings; C1 controls as UTF-8 and as bare bytes; line ends and tabs.
HOSTILE = b"a\x1b[2J\x1b]0;t\x07\x7f\xc2\x9b1m\x9b31m\r\n\tz.png"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    draw("circle", "red", "white", 1, 64).save(tmp_path / "x.png")
    (tmp_path / "x.png").rename(os.path.join(folder, os.fsdecode(HOSTILE)))
    (folder / os.fsdecode(b"bad" + HOSTILE)).write_text("no photo")
    return folder


def controls(shown: bytes) -> set[str]:
    """Control characters that a terminal would obey: line ends, and tabs between columns, are capcli's own."""
    text = shown.decode("utf-8", "surrogateescape").replace("\r\n", "\n")
    odd = {char for char in text if ord(char) < 32 or 127 <= ord(char) < 160 or 0xDC80 <= ord(char) <= 0xDCFF}
    return odd - {"\n", "\t"}


@pytest.mark.parametrize("form", ["text", "csv", "tsv", "jsonl"])
def test_a_terminal_gets_no_control_character_of_a_name(folder: Path, tiny: Path, form: str) -> None:
    code, shown, _ = on_terminal_raw("caption", folder, "--model", tiny, "--format", form, stdout_too=True)
    assert code == 1
    # The row, the error and the summary; with a header, a row of the error and a note on names that are not UTF-8 where
    # the format has them.
    lines = {"text": 3, "csv": 6, "tsv": 6, "jsonl": 4}[form]
    assert controls(shown) == set() and shown.count(b"\n") == lines, shown
    assert rb"\x1b[2J" in shown or rb"\u001b[2J" in shown


def test_errors_on_a_terminal_have_none_either(folder: Path, tiny: Path, tmp_path: Path) -> None:
    _, shown, _ = on_terminal_raw("caption", folder, "--model", tiny, "-o", tmp_path / "x.csv", "--no-progress")
    assert controls(shown) == set() and rb"\x9b31m" in shown
    code, shown, _ = on_terminal_raw("caption", folder / os.fsdecode(b"no" + HOSTILE), "--model", tiny)
    assert code == 1 and controls(shown) == set() and shown.count(b"\n") == 1
    code, shown, _ = on_terminal_raw("models", "info", os.fsdecode(HOSTILE), stdout_too=True)
    assert code == 3 and controls(shown) == set() and shown.count(b"\n") == 1


def test_pipes_get_the_exact_bytes(capcli: RunCommand, folder: Path, tiny: Path) -> None:
    done = capcli("caption", folder, "--model", tiny, "--format", "csv")
    assert os.fsencode(folder) + b"/" + HOSTILE in done.out
    done = capcli("caption", folder, "--model", tiny, "--json")
    rows = [json.loads(line) for line in done.text.splitlines()]
    assert os.fsencode(rows[0]["path"]) == os.fsencode(folder) + b"/" + HOSTILE


def test_a_message_is_one_line_without_control_characters() -> None:
    assert one_line("a\x1b[2Jb\n\t\x7f\x9bé🐶") == "a\\x1b[2Jb\\n\\t\\x7f\\x9bé🐶"


@given(texts("\udc80\udc9b\udcff\u202e\x1b\x9b\n"))
def test_whatever_a_name_holds_a_terminal_gets_one_line_that_it_obeys_in_nothing(name: str) -> None:
    shown = on_screen(name)
    shown.encode("utf-8", "surrogatepass")
    # C0, DEL and C1; bytes that are no text; characters that turn text round, and ends of lines and paragraphs.
    odd = {
        *map(chr, range(32)),
        *map(chr, range(127, 160)),
        *map(chr, range(0xDC80, 0xDD00)),
        *"\u2028\u2029\u202e\u2066",
    }
    assert not odd & set(shown) and len(shown.splitlines()) <= 1
    assert on_screen(shown) == shown
    assert len(shortened(name)) <= 203 and (shortened(name) == name or len(name) > 200)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_what_cannot_be_written_to_standard_output_is_an_error_of_output(monkeypatch: pytest.MonkeyPatch) -> None:
    for write in (answer, lambda text: write_stdout(text.encode())):
        # Unbuffered: what stays in a buffer would be tried again when it is closed.
        with contextlib.closing(io.TextIOWrapper(open("/dev/full", "wb", buffering=0))) as full:
            monkeypatch.setattr(sys, "stdout", full)
            with pytest.raises(OutputError, match=r"standard output cannot be written \(No space"):
                write("a caption")


def test_names_are_cut_where_they_are_too_long_and_only_there() -> None:
    assert shortened("a" * 200) == "a" * 200
    assert shortened("a" * 100 + "x" + "b" * 100) == "a" * 100 + "..." + "b" * 100


def test_a_long_name_shows_its_beginning_and_its_end(capcli: RunCommand, tiny: Path, tmp_path: Path) -> None:
    name = "first/" + "x" * 3000 + "/last.jpg"
    done = capcli("caption", name, "--model", tiny)
    assert done.code == 1 and len(done.errors) < 300
    assert done.errors.startswith("capcli: first/xxx") and "xxx/last.jpg: " in done.errors
    usual = "y" * 190 + ".jpg"
    assert f"capcli: {usual}: no such file\n" == capcli("caption", usual, "--model", tiny).errors
    # As one that was found in a folder.
    folder = tmp_path / ("f" * 200) / ("g" * 200)
    folder.mkdir(parents=True)
    (folder / "last.jpg").write_text("no photo")
    found = capcli("caption", tmp_path, "--model", tiny, "--sidecar", ".txt")
    assert found.code == 1 and len(found.errors) < 350 and "ggg/last.jpg: is " in found.errors
    # Rows have it whole.
    row = json.loads(capcli("caption", name, "--model", tiny, "--json").text)
    assert row["path"] == name


@pytest.mark.parametrize(
    "options",
    [
        ("-o", "LONG.csv"),
        ("--output=LONG.csv",),
        ("-o", "LONG"),
        ("--model", "LONG"),
        ("--model=deep//LONG",),
        ("--provider", "LONG"),
        ("--LONG",),
        ("--sidecar", "LONG"),
        ("--format", "LONG"),
    ],
)
def test_so_does_a_long_name_in_any_option(
    options: tuple[str, ...], capcli: RunCommand, tiny: Path, tmp_path: Path
) -> None:
    draw("circle", "red", "white", 1, 64).save(tmp_path / "x.png")
    given = [option.replace("LONG", "y" * 3000) for option in options]
    model = [] if "--model" in options[0] else ["--model", tiny]
    done = capcli("caption", "x.png", *model, *given, cwd=tmp_path)
    assert done.code in (2, 3, 4) and len(done.errors) < 700 and "y" * 95 + "..." in done.errors
    assert done.errors.count("\n") == 1


def test_a_name_cannot_turn_the_text_of_a_terminal_round() -> None:
    # Shown raw, this is "holiday-exe.jpg", or part of the line before it.
    assert on_screen("holiday-\u202egpj.exe") == "holiday-\\u202egpj.exe"
    assert on_screen("a\u2066b\u2028c") == "a\\u2066b\\u2028c"
    family = "\U0001f468\u200d\U0001f469\u200d\U0001f467 \u05d0"
    assert on_screen(family) == family
