"""`capcli export SOURCES... BUNDLE`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from capcli.errors import UsageError


def export(
    sources: Annotated[
        list[Path],
        typer.Argument(
            help="Folder of a finished run of capcli train. Several runs: the mean of their weights. Or one bundle, by "
            "name or folder."
        ),
    ],
    bundle: Annotated[Path, typer.Argument(help="Folder to write the bundle to.")],
    name: Annotated[str | None, typer.Option(help="The bundle's name. Default: its folder's.")] = None,
    precision: Annotated[
        str, typer.Option(help="How the encoder computes: int8, about twice as fast on a CPU, or float32.")
    ] = "int8",
    calibration_images: Annotated[
        Path | None,
        typer.Option(
            help="Folder of photos, 100 or more like those to be captioned, that int8 is made to fit. Default: the "
            "run's own training photos."
        ),
    ] = None,
    description: Annotated[str | None, typer.Option(help="One sentence on the model.")] = None,
    terms: Annotated[str | None, typer.Option(help="Licence or terms of the weights.")] = None,
    card: Annotated[Path | None, typer.Option(help="Model card to use instead of a generated one.")] = None,
    scores: Annotated[
        list[Path] | None, typer.Option(help="Output of capcli evaluate --json, to keep in the manifest. Repeatable.")
    ] = None,
    proof_images: Annotated[
        Path | None, typer.Option(help="Folder of images to verify the bundle on. Default: 32 of the run's own.")
    ] = None,
    beam: Annotated[
        int | None, typer.Option(help="Beam the bundle searches with. Default: the first run's validation beam.")
    ] = None,
    length_penalty: Annotated[
        float | None, typer.Option(help="Length penalty the bundle searches with. Default: as for --beam.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing bundle.")] = False,
) -> None:
    """Turn a training run, the mean of several, or a bundle into a bundle, and verify that it captions as they do."""
    from capcli.cli.terminal import say
    from capcli.extras import need

    need("train", "capcli export")
    from capcli.training.export import ExportOptions, export_runs

    if card is not None and not card.is_file():
        raise UsageError(f"{card}: no such file; --card takes a Markdown file")
    options = ExportOptions(
        name=name or bundle.resolve().name,
        description=description,
        weights_terms=terms,
        card=card,
        scores=tuple(_read_scores(path) for path in scores or ()),
        precision=precision,
        calibration_images=calibration_images,
        proof_images=proof_images,
        beam=beam,
        length_penalty=length_penalty,
    )
    result = export_runs(sources, bundle, options, overwrite=overwrite, note=say)
    ties = f" ({result.ties} {'tie' if result.ties == 1 else 'ties'})" if result.ties else ""
    same = f"the network's captions and scores on {result.verified} images{ties}"
    say(f"{bundle}: {result.size / 1e6:.1f} MB; {same}")
    if result.precision.agreement is not None:
        say(f"{bundle}: int8, {result.precision.agreement}")


def _read_scores(path: Path) -> dict[str, object]:
    import json

    try:
        values = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: not readable as the output of capcli evaluate --json ({error})") from error
    if not isinstance(values, dict):
        raise UsageError(f"{path}: not the output of capcli evaluate --json")
    return values
