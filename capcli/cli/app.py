"""The Typer application and its commands, which import what they need when they run."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from capcli.cli.bench import bench
from capcli.cli.caption import caption
from capcli.cli.doctor import doctor
from capcli.cli.evaluate import evaluate
from capcli.cli.export import export
from capcli.cli.models import models
from capcli.cli.terminal import Interrupted, answer
from capcli.cli.train import train


class _Commands(TyperGroup):
    """All commands, which Ctrl-C ends alike whatever the installed Typer makes of it."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise Interrupted from error


app = typer.Typer(
    name="capcli",
    cls=_Commands,
    help="Photos to sentences, offline.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from capcli import __version__

        answer(f"capcli {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


app.command("caption")(caption)
app.command("train")(train)
app.command("export")(export)
app.command("evaluate")(evaluate)
app.add_typer(models, name="models")
app.command("doctor")(doctor)
app.command("bench")(bench)
