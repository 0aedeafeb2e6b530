"""`capcli export SOURCES... BUNDLE`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from capcli.errors import UsageError

if TYPE_CHECKING:
    from capcli.dataset.captions import CaptionedImage


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
    val_images: Annotated[
        Path | None,
        typer.Option(
            help="Folder of photos, 200 or more, none of them trained on, to fit the confidence on. Default: those the "
            "run held back; a bundle keeps its confidence only where it is written as it was."
        ),
    ] = None,
    val_captions: Annotated[
        Path | None, typer.Option(help="Captions people wrote of them. Default: NAME.txt beside each photo.")
    ] = None,
    val_split: Annotated[
        str | None, typer.Option(help="File naming those to take; or val or test where the captions have split fields.")
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
    from capcli.training.leftovers import none_left

    # PyTorch, after it.
    from capcli.training.export import ExportOptions, export_runs  # isort: skip

    if card is not None and not card.is_file():
        raise UsageError(f"{card}: no such file; --card takes a Markdown file")
    if val_images is None and (val_captions is not None or val_split is not None):
        raise UsageError("--val-captions and --val-split go with --val-images")
    options = ExportOptions(
        name=name or bundle.resolve().name,
        description=description,
        weights_terms=terms,
        card=card,
        scores=tuple(_read_scores(path) for path in scores or ()),
        precision=precision,
        calibration_images=calibration_images,
        proof_images=proof_images,
        validation=None if val_images is None else _read_validation(val_images, val_captions, val_split),
        beam=beam,
        length_penalty=length_penalty,
    )
    with none_left():
        result = export_runs(sources, bundle, options, overwrite=overwrite, note=say)
    ties = f" ({result.ties} {'tie' if result.ties == 1 else 'ties'})" if result.ties else ""
    same = f"the network's captions and scores on {result.verified} images{ties}"
    say(f"{bundle}: {result.size / 1e6:.1f} MB; {same}")
    if result.precision.agreement is not None:
        say(f"{bundle}: int8, {result.precision.agreement}")
    if result.confidence is not None:
        say(f"{bundle}: confidence fitted on {result.confidence.photos} photos")


def _read_validation(images: Path, captions: Path | None, split: str | None) -> tuple[CaptionedImage, ...]:
    from capcli.cli.terminal import say
    from capcli.dataset.evaluation_split import read_evaluation_images

    chosen = read_evaluation_images(images, captions, split)
    for line in chosen.notes:
        say(line)
    return tuple(chosen.images)


def _read_scores(path: Path) -> dict[str, object]:
    import json

    try:
        values = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: not readable as the output of capcli evaluate --json ({error})") from error
    if not isinstance(values, dict):
        raise UsageError(f"{path}: not the output of capcli evaluate --json")
    return values
