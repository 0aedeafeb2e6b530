"""The Typer application and its commands, which import what they need when they run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

import typer

from capcli.cli.commands import Commands, Place
from capcli.cli.terminal import answer


class _Capcli(Commands):
    # What a command does is told here once more, so that the list of them needs no command.
    places: ClassVar[Mapping[str, Place]] = {
        "caption": Place("capcli.cli.caption", "Say in a sentence what a photo shows."),
        "explain": Place("capcli.cli.explain", "Show how sure a caption is, word by word, and where the model looked."),
        "review": Place(
            "capcli.cli.review",
            "Make pages on which captions are looked at, corrected, accepted and rejected, in a browser and without a "
            "server.",
        ),
        "apply": Place(
            "capcli.cli.apply", "Write captions from a file to their photos, once somebody has looked at them."
        ),
        "train": Place("capcli.cli.train", "Train a model of your own on photos with captions."),
        "export": Place(
            "capcli.cli.export",
            "Turn a training run, the mean of several, or a bundle into a bundle, "
            "and verify that it captions as they do.",
        ),
        "evaluate": Place(
            "capcli.cli.evaluate",
            "Score captions with BLEU, METEOR, ROUGE-L and CIDEr, as papers do (needs the eval extra and Java).",
        ),
        "ray": Place(
            "capcli.cli.ray", "Caption millions of photos on a Ray cluster, or with several processes and GPUs here."
        ),
        "models": Place("capcli.cli.models", "List, describe and verify models."),
        "doctor": Place("capcli.cli.doctor", "Check the installation, and make a caption to prove it works."),
        "bench": Place(
            "capcli.cli.bench",
            "Measure how fast captioning is here, stage by stage and against its targets. Takes a minute or two.",
        ),
    }


app = typer.Typer(
    name="capcli",
    cls=_Capcli,
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
