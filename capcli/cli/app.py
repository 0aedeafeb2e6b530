"""The Typer application and its commands, which import what they need when they run."""

from __future__ import annotations

from typing import Annotated

import typer

from capcli.cli.caption import caption
from capcli.cli.doctor import doctor
from capcli.cli.evaluate import evaluate
from capcli.cli.export import export
from capcli.cli.models import models
from capcli.cli.ray import ray
from capcli.cli.terminal import answer
from capcli.cli.train import train

app = typer.Typer(
    name="capcli",
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
app.command("ray")(ray)
app.add_typer(models, name="models")
app.command("doctor")(doctor)
