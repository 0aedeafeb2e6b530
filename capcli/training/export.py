"""Export: a finished run, or the mean of several, becomes a bundle that is shown to caption as the network does."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from capcli.bundle.bundle import (
    MANIFEST,
    BundleFile,
    GraphNames,
    Manifest,
    SearchDefaults,
    SpecialTokens,
    describe_file,
    write_manifest,
)
from capcli.decoding.search import SearchSettings
from capcli.errors import OutputError, UsageError
from capcli.outputs.files import why
from capcli.training.bundle_swap import put_back, swap_in
from capcli.training.config import TrainConfig
from capcli.training.model import CaptioningModel, mean_of
from capcli.training.model_card import export_day, model_card, read_card, trained_on
from capcli.training.network.caption_network import CaptionNetwork
from capcli.training.onnx.quantise import quantise
from capcli.training.onnx.write import write_decoder, write_encoder
from capcli.training.proof import prove, read_proof_images
from capcli.training.run_folder import TrainedRun, load_trained_run

FILES = {"encoder": "encoder.onnx", "decoder": "decoder.onnx", "tokenizer": "tokenizer.json", "card": "MODEL_CARD.md"}
DEFAULT_TERMS = "The terms of the images and captions it was trained on; see MODEL_CARD.md."


@dataclass(frozen=True)
class ExportOptions:
    """What a bundle says of itself beyond what the run knows.

    `proof_images`: a folder of images to verify it on, None for the run's own. `beam`, `length_penalty`: its search
    settings; None for those the run validated with.
    """

    name: str
    description: str = ""
    weights_terms: str = DEFAULT_TERMS
    card: Path | None = None
    scores: tuple[dict[str, Any], ...] = ()
    proof_images: Path | None = None
    beam: int | None = None
    length_penalty: float | None = None

    def search_settings(self, config: TrainConfig) -> SearchSettings:
        """How a bundle of a run with these settings searches.

        Raises:
            UsageError: a value is out of range.
        """
        chosen: dict[str, Any] = {"beam": self.beam, "length_penalty": self.length_penalty}
        # TrainConfig names the option that is out of range.
        config = replace(config, **{name: value for name, value in chosen.items() if value is not None})
        return SearchSettings(config.beam, config.max_length, config.length_penalty)


@dataclass(frozen=True)
class ExportResult:
    """The bundle that was written: its size in bytes, how many images verified it, and how many of them tied."""

    folder: Path
    size: int
    verified: int
    ties: int


def export_runs(
    runs: Sequence[Path], bundle: Path, options: ExportOptions, *, overwrite: bool, note: Callable[[str], None]
) -> ExportResult:
    """Writes the best checkpoint of a run, or the mean weights of several runs' best, as a bundle.

    Settings come from the first run.

    The bundle is made beside its final place and moved there only after it captioned real images as the PyTorch network
    holding the same rounded weights does, word for word and score for score. A bundle that was there is removed last; a
    kill at the moment of the exchange leaves it in `.NAME.capcli-old` beside, from where the next export to that place
    puts it back.

    Raises:
        UsageError: the folder exists and `overwrite` is false, or holds something else; the runs are of two kinds; or
            an option is out of range or names a file that cannot be read.
        DataError: not a finished run, or no image to verify the bundle on.
        CapcliError: bundle and network disagree.
        OutputError: the bundle cannot be written.
    """
    # A link stays one: what it leads to is replaced.
    place = Path(os.path.realpath(bundle))
    if put_back(place):
        note(f"{bundle}: an export was killed as it replaced this bundle; put back")
    _check_place(bundle, overwrite)
    if options.proof_images is not None and not options.proof_images.exists():
        raise UsageError(f"{options.proof_images}: no such folder; --proof-images takes a folder of photos")
    card, day = None if options.card is None else read_card(options.card), export_day()
    trained = [load_trained_run(run) for run in runs]
    settings = options.search_settings(trained[0].config)
    model = mean_of([(str(run.path), run.model) for run in trained])
    for line in _differences(trained):
        note(line)
    folders = [Path(source.images) for run in trained for source in run.config.data]
    images = read_proof_images([options.proof_images] if options.proof_images else folders, model.input_size)
    model = replace(model, network=quantise(model.network))
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))
    except OSError as error:
        raise OutputError(f"{bundle}: cannot be written ({why(error)})") from error
    try:
        note("writing the graphs")
        if card is None:
            card = model_card(trained, options.name, options.description, options.weights_terms, day).encode("utf-8")
        (partial / FILES["card"]).write_bytes(card)
        _write(partial, model, trained_on([run.config for run in trained]), settings, options)
        note(f"captioning {len(images.paths)} images with the network and with the bundle")
        ties = prove(partial, model, settings, images)
        size = sum(file.stat().st_size for file in partial.iterdir())
        partial.chmod(0o755)
        left = swap_in(partial, place)
    except OSError as error:
        raise OutputError(f"{bundle}: cannot be written ({why(error)})") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    if left is not None:
        note(f"{left}: the old bundle cannot be removed; delete it")
    return ExportResult(bundle, size, len(images.paths), ties)


def _check_place(bundle: Path, overwrite: bool) -> None:
    if not bundle.exists():
        return
    if not overwrite:
        raise UsageError(f"{bundle}: exists; use --overwrite or choose another folder")
    # What is not a bundle is never deleted: somebody's folder may have been named by mistake.
    if not (bundle / MANIFEST).is_file() and not (bundle.is_dir() and not any(bundle.iterdir())):
        raise UsageError(f"{bundle}: not a bundle, so not replaced; choose another folder")


def _differences(trained: Sequence[TrainedRun]) -> list[str]:
    """What the runs do not agree on and a mean of weights cannot settle, a line each."""
    first = trained[0]
    lines = []
    if len({run.model.input_size for run in trained}) > 1:
        sizes = ", ".join(f"{run.path} {run.model.input_size}" for run in trained)
        lines.append(
            f"the runs' images are of different sizes in pixels ({sizes}); the bundle takes {first.model.input_size}"
        )
    if any(run.model.habits != first.model.habits for run in trained):
        lines.append(f"the runs' captions differ in which words return and keep capitals; {first.path} decides")
    return lines


def _write(
    target: Path,
    model: CaptioningModel,
    data_sets: tuple[str, ...],
    settings: SearchSettings,
    options: ExportOptions,
) -> None:
    """Writes all but the card, which must be there already: the manifest holds its checksum."""
    network, tokenizer, decoder = model.network, model.tokenizer, model.network.decoder
    side = _grid_side(network, model.input_size)
    write_encoder(network, target / FILES["encoder"], model.input_size)
    write_decoder(network, target / FILES["decoder"], side * side)
    tokenizer.save(target / FILES["tokenizer"])
    files: dict[str, BundleFile] = {role: describe_file(target, name) for role, name in FILES.items()}
    write_manifest(
        target,
        Manifest(
            name=options.name,
            description=options.description,
            code_licence="Apache-2.0",
            weights_terms=options.weights_terms,
            files=files,
            input_size=model.input_size,
            resize="squash",
            graph=GraphNames(decoder.context_names, decoder.state_names, (side, side) if decoder.attends else None),
            tokens=SpecialTokens(tokenizer.pad, tokenizer.start, tokenizer.end, tokenizer.unknown),
            search=SearchDefaults(settings.beam, settings.max_length, settings.length_penalty),
            habits=model.habits,
            trained_on=data_sets,
            scores=options.scores,
            network=network.describe(),
        ),
    )


def _grid_side(network: CaptionNetwork, input_size: int) -> int:
    with torch.inference_mode():
        grid = network.encoder(torch.zeros(1, input_size, input_size, 3, dtype=torch.uint8))
    return math.isqrt(grid.shape[1])
