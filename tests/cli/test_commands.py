"""How commands are loaded and their options read: as Typer does it, but for what costs time at every start."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pytest
import typer

from capcli.cli.app import app
from capcli.cli.commands import Command
from tests.conftest import RunCommand, python


def test_the_list_of_commands_says_of_each_what_its_own_help_says() -> None:
    group = typer.main.get_command(app)
    names = group.list_commands(None)  # type: ignore[attr-defined]
    assert names == [
        *("caption", "explain", "review", "apply", "train", "export", "evaluate", "ray", "models", "doctor", "bench")
    ]
    for name in names:
        command = group.get_command(None, name)  # type: ignore[attr-defined]
        assert group.places[name].does == command.help.split("\n\n")[0].replace("\n", " ").strip()  # type: ignore[attr-defined]


def test_help_shows_all_commands_and_loads_none() -> None:
    done = python(
        "import sys\n"
        "from capcli import cli\n"
        "cli.run(['--help'])\n"
        "print(sorted({f'capcli.cli.{name}' for name in sys.argv[1:]} & set(sys.modules)))",
        *("caption", "train", "export", "evaluate", "ray", "models", "doctor", "bench"),
        COLUMNS="200",
    )
    assert done.text.endswith("\n[]\n")
    assert "Measure how fast captioning is here" in done.text and "Say in a sentence what a photo shows." in done.text


def test_captioning_a_photo_loads_no_pydantic_and_no_other_command(tiny: Path) -> None:
    done = python(
        "import sys\n"
        "from capcli import cli\n"
        "options = ['--beam', '2', '--length-penalty', '0.5', '--include', '*.png', '--raw', '--provider', 'cpu']\n"
        "cli.run(['caption', 'missing.jpg', '--model', sys.argv[1], *options])\n"
        "print(sorted({'pydantic', 'capcli.cli.train', 'capcli.cli.bench'} & set(sys.modules)))",
        str(tiny),
    )
    assert done.text.endswith("[]\n") and done.errors == "capcli: missing.jpg: no such file\n"


def test_an_unknown_command_gets_a_suggestion(capcli: RunCommand) -> None:
    done = capcli("captoin", "x.jpg")
    assert done.code == 2 and "No such command 'captoin'. Did you mean 'caption'?" in done.errors


def read(*arguments: str) -> dict[str, object]:
    """What a command gets of its arguments."""
    got: dict[str, object] = {}

    def command(
        names: list[str],
        word: Annotated[str, typer.Option()] = "w",
        words: Annotated[list[str] | None, typer.Option()] = None,
        count: Annotated[int | None, typer.Option()] = None,
        counts: Annotated[list[int] | None, typer.Option()] = None,
        share: Annotated[float, typer.Option()] = 0.5,
        limit: Annotated[int, typer.Option(min=1)] = 3,
        folder: Annotated[Path | None, typer.Option()] = None,
        flag: Annotated[bool, typer.Option("--flag")] = False,
        other: Annotated[bool | None, typer.Option("--yes/--no")] = None,
    ) -> None:
        got.update(locals())
        del got["got"]

    made = typer.Typer(add_completion=False)
    made.command(cls=Command)(command)
    typer.main.get_command(made).main(list(arguments), standalone_mode=False)
    return got


def test_values_are_what_the_annotations_say() -> None:
    assert read("a") == {
        "names": ["a"],
        "word": "w",
        "words": None,
        "count": None,
        "counts": None,
        "share": 0.5,
        "limit": 3,
        "folder": None,
        "flag": False,
        "other": None,
    }
    given = (
        "a b --word 7 --words x --words y --count 4 --counts 1 --counts 2 --share 1 --limit 2 --folder f --flag --no"
    )
    got = read(*given.split())
    assert got == {
        "names": ["a", "b"],
        "word": "7",
        "words": ["x", "y"],
        "count": 4,
        "counts": [1, 2],
        "share": 1.0,
        "limit": 2,
        "folder": Path("f"),
        "flag": True,
        "other": False,
    }
    assert type(got["share"]) is float


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "a --count x",
        "a --count 1.5",
        "a --counts 1 --counts x",
        "a --share x",
        "a --limit 0",
        "a --limit x",
        "a --no=x",
    ],
)
def test_what_they_cannot_be_is_refused(wrong: str) -> None:
    with pytest.raises(Exception) as refused:
        read(*wrong.split())
    assert hasattr(refused.value, "format_message") and getattr(refused.value, "exit_code", None) == 2
