"""A finished run, or the mean of several -> a bundle, and the proof that the bundle says what the network says."""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch

from capcli.bundle import (
    MANIFEST,
    BundleFile,
    GraphNames,
    Manifest,
    SearchDefaults,
    SpecialTokens,
    describe_file,
    write_manifest,
)
from capcli.captioner import Captioner
from capcli.decoding import SearchSettings
from capcli.errors import CapcliError, DataError, ImageError, OutputError, UsageError
from capcli.filters import caption_filters
from capcli.images import load_image
from capcli.training.config import TrainConfig
from capcli.training.generate import search_grid
from capcli.training.graphs import write_decoder, write_encoder
from capcli.training.network import CaptionNetwork
from capcli.training.preparation import read_data
from capcli.training.quantise import quantise
from capcli.training.run_folder import RunFolder
from capcli.training.starting_point import StartingPoint, load_run, mean_of, run_settings

FILES = {"encoder": "encoder.onnx", "decoder": "decoder.onnx", "tokenizer": "tokenizer.json", "card": "MODEL_CARD.md"}
DEFAULT_TERMS = "The terms of the images and captions it was trained on; see MODEL_CARD.md."
PROOF_IMAGES = 32
# Two hypotheses closer than this are a tie, which either side may break its own way.
_TIE = 1e-4


@dataclass(frozen=True)
class ExportOptions:
    """What a bundle says of itself beyond what the run knows.

    `beam`, `length_penalty`: its search settings; None for those the run validated with.
    """

    name: str
    description: str = ""
    weights_terms: str = DEFAULT_TERMS
    card: Path | None = None
    scores: tuple[dict[str, Any], ...] = ()
    proof_images: Path | None = None
    beam: int | None = None
    length_penalty: float | None = None


@dataclass(frozen=True)
class ExportResult:
    """The bundle that was written: its size in bytes, and how many images proved it, ties among them."""

    folder: Path
    size: int
    proved: int
    ties: int


def export_runs(
    runs: Sequence[Path], bundle: Path, options: ExportOptions, *, overwrite: bool, note: Callable[[str], None]
) -> ExportResult:
    """Writes the best checkpoint of a run, or the mean weights of several runs' best, as a bundle.

    Settings come from the first run.

    The bundle is made beside its final place and moved there only after it captioned real images word for word like
    the PyTorch network holding the same rounded weights.

    Raises:
        UsageError: the folder exists and `overwrite` is false, or holds something else; the runs are of two kinds; or
            the search settings are out of range.
        DataError: not a finished run, or no image to prove the bundle on.
        CapcliError: bundle and network disagree.
        OutputError: the bundle cannot be written.
    """
    if bundle.exists() and not overwrite:
        raise UsageError(f"{bundle}: exists; use --overwrite or choose another folder")
    # What is not a bundle is never deleted: somebody's folder may have been named by mistake.
    if bundle.exists() and not (bundle / MANIFEST).is_file() and not (bundle.is_dir() and not any(bundle.iterdir())):
        raise UsageError(f"{bundle}: not a bundle, so not replaced; choose another folder")
    configs = [run_settings(run) for run in runs]
    chosen: dict[str, Any] = {"beam": options.beam, "length_penalty": options.length_penalty}
    config = replace(configs[0], **{name: value for name, value in chosen.items() if value is not None})
    point = mean_of([(str(run), load_run(run)) for run in runs])
    images = _proof_pixels(config, options)
    rounded = quantise(point.network)
    try:
        bundle.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{bundle.name}-", dir=bundle.parent))
    except OSError as error:
        raise OutputError(f"{bundle}: cannot be written ({error.strerror})") from error
    try:
        note("writing the graphs")
        _write(partial, rounded, point, config, runs, configs, options)
        note(f"captioning {len(images)} images with the network and with the bundle")
        ties = _prove(partial, rounded, point, config, images)
        size = sum(file.stat().st_size for file in partial.iterdir())
        partial.chmod(0o755)
        if bundle.exists():
            shutil.rmtree(bundle)
        partial.rename(bundle)
    except OSError as error:
        raise OutputError(f"{bundle}: cannot be written ({error.strerror})") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return ExportResult(bundle, size, len(images), ties)


def _write(
    target: Path,
    network: CaptionNetwork,
    point: StartingPoint,
    config: TrainConfig,
    runs: Sequence[Path],
    configs: Sequence[TrainConfig],
    options: ExportOptions,
) -> None:
    side = _grid_side(network, config.input_size)
    write_encoder(network, target / FILES["encoder"], config.input_size)
    write_decoder(network, target / FILES["decoder"], side * side)
    point.tokenizer.save(target / FILES["tokenizer"])
    if options.card is not None:
        shutil.copyfile(options.card, target / FILES["card"])
    else:
        (target / FILES["card"]).write_text(_card(runs, configs, options), "utf-8")
    files: dict[str, BundleFile] = {role: describe_file(target, name) for role, name in FILES.items()}
    tokenizer, decoder = point.tokenizer, network.decoder
    encoder = network.encoder_config.as_dict()
    write_manifest(
        target,
        Manifest(
            name=options.name,
            description=options.description,
            code_licence="Apache-2.0",
            weights_terms=options.weights_terms,
            files=files,
            input_size=config.input_size,
            resize="squash",
            graph=GraphNames(decoder.context_names, decoder.state_names, (side, side) if decoder.attends else None),
            tokens=SpecialTokens(tokenizer.pad, tokenizer.start, tokenizer.end, tokenizer.unknown),
            search=SearchDefaults(config.beam, config.max_length, config.length_penalty),
            habits=point.habits,
            trained_on=_trained_on(configs),
            scores=options.scores,
            network={
                "encoder": {**encoder, "blocks": list(encoder["blocks"])},
                "decoder": decoder.config.as_dict(),
            },
        ),
    )


def _prove(bundle: Path, network: CaptionNetwork, point: StartingPoint, config: TrainConfig, pixels: np.ndarray) -> int:
    """Captions real images both ways.

    Returns:
        How many images tied: another sentence, but a score no further away than rounding.
    """
    settings = SearchSettings(config.beam, config.max_length, config.length_penalty)
    with torch.inference_mode():
        grid = network.encoder(torch.from_numpy(pixels))
    filters = caption_filters(point.tokenizer, point.habits)
    wanted = search_grid(network.decoder, grid, point.tokenizer, settings, filters)
    given = Captioner(bundle, provider="cpu").caption_pixels(pixels, settings)
    ties = 0
    for network_says, bundle_says in zip(wanted, given, strict=True):
        tokens = point.tokenizer.tokens(network_says[0].tokens)
        if tokens == bundle_says[0].tokens:
            continue
        if abs(network_says[0].mean_log_prob - bundle_says[0].score) > _TIE:
            raise CapcliError(
                f"the exported bundle does not say what the network says: {bundle_says[0].raw!r} "
                f"instead of {' '.join(tokens)!r}; nothing was written"
            )
        ties += 1
    return ties


def _proof_pixels(config: TrainConfig, options: ExportOptions) -> np.ndarray:
    """Real images, uint8 [N, S, S, 3]: from --proof-images, else the run's own."""
    paths: Sequence[Path]
    if options.proof_images is not None:
        paths = sorted(path for path in options.proof_images.rglob("*") if path.is_file())
    else:
        data = read_data(config)
        held = [image.path for each in data.validation for image in each.images]
        paths = held or [image.path for image in data.train]
    pixels = []
    # Evenly spaced, so that several data sets are all there.
    for path in paths[:: max(1, len(paths) // PROOF_IMAGES)]:
        try:
            pixels.append(load_image(path, size=(config.input_size, config.input_size)))
        except ImageError:
            continue
        if len(pixels) == PROOF_IMAGES:
            break
    if not pixels:
        raise DataError("no readable image to prove the bundle on; give a folder with --proof-images DIR")
    return np.stack(pixels)


def _grid_side(network: CaptionNetwork, input_size: int) -> int:
    with torch.inference_mode():
        grid = network.encoder(torch.zeros(1, input_size, input_size, 3, dtype=torch.uint8))
    return math.isqrt(grid.shape[1])


def _set_name(images: str) -> str:
    path = Path(images)
    return path.parent.name if path.name.lower() == "images" and path.parent.name else path.name


def _trained_on(configs: Sequence[TrainConfig]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_set_name(source.images) for config in configs for source in config.data))


def _card(runs: Sequence[Path], configs: Sequence[TrainConfig], options: ExportOptions) -> str:
    """A first model card from what the runs know; its maker completes it."""
    results = [RunFolder(run).load("best")["result"] for run in runs]
    epochs = [f"epoch {best['epoch']} of {config.epochs}" for best, config in zip(results, configs, strict=True)]
    parts = list(zip(runs, configs, results, strict=True))
    rows = "\n".join(
        f"| {_set_name(source.images)}{f', {run.name} alone' if len(runs) > 1 else ''} | {score} |"
        for run, config, best in parts
        for source, score in zip(config.data, best["cider"], strict=False)
    )
    origin = epochs[0] if len(runs) == 1 else f"the mean weights of {len(runs)} runs: {', '.join(epochs)}"
    sets = "\n".join(f"- {name}" for name in _trained_on(configs))
    return f"""# {options.name}

{options.description or "An image-captioning model made with capcli: a ResNet-50 encoder and an LSTM decoder."}

Exported {date.today().isoformat()} from {origin}.

## Trained on
{sets}

## Terms
{options.weights_terms}

## Validation
CIDEr x 100 on the held-back images over a plain tokeniser, as training measures it. It chooses checkpoints and is not
comparable with published figures; `capcli evaluate` gives those.

| data | CIDEr |
| --- | --- |
{rows}
"""
