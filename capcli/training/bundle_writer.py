"""Writes a model as a bundle's folder, in float32 form and in int8 form. Knows nothing of runs or of what is proved."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from capcli.bundle.bundle import (
    MATCHING,
    GraphNames,
    Manifest,
    SearchDefaults,
    SpecialTokens,
    describe_file,
    write_manifest,
)
from capcli.bundle.confidence import Confidence
from capcli.bundle.matching import FILE
from capcli.bundle.precision import INT8, Precision
from capcli.decoding.search import SearchSettings
from capcli.training.model import CaptioningModel
from capcli.training.network.caption_network import CaptionNetwork
from capcli.training.onnx.quantise import quantise
from capcli.training.onnx.rounding import round_convolutions
from capcli.training.onnx.static_int8 import compute_in_int8
from capcli.training.onnx.write import write_decoder, write_encoder
from capcli.training.photos import Photos

FILES = {"encoder": "encoder.onnx", "decoder": "decoder.onnx", "tokenizer": "tokenizer.json", "card": "MODEL_CARD.md"}


@dataclass(frozen=True)
class BundleText:
    """What a bundle says of itself. `card`: its model card, which tells of its precision; `data_sets`: it was trained
    on; `settings`: it searches with; `scores`: as `capcli evaluate --json` printed them."""

    name: str
    description: str
    weights_terms: str
    data_sets: tuple[str, ...]
    scores: tuple[dict[str, Any], ...]
    settings: SearchSettings
    card: Callable[[Precision], bytes]


class BundleWriter:
    """Writes a model's forms, each in a folder of its own.

    `rounded`: the model as its float32 form computes, on the CPU.
    """

    def __init__(self, model: CaptioningModel, text: BundleText) -> None:
        self._model = model
        self._text = text
        self.rounded = replace(model, network=quantise(model.network))
        self._side = _grid_side(self.rounded.network, model.input_size)

    def write_float32(self, target: Path) -> None:
        """Writes a bundle whose weights are stored as int8 and whose encoder computes in float32."""
        model = self.rounded
        target.mkdir()
        write_encoder(model.network, target / FILES["encoder"], model.input_size)
        write_decoder(model.network, target / FILES["decoder"], self._side**2)
        model.tokenizer.save(target / FILES["tokenizer"])
        self.describe(target, Precision())

    def write_int8(self, target: Path, float32: Path, photos: Photos, note: Callable[[str], None]) -> None:
        """Writes a bundle whose encoder computes in int8, from the float32 form and photos to calibrate on.

        The weights are rounded anew, from those that the model has, so that int8 sums cannot overflow.
        """
        shutil.copytree(float32, target)
        encoder = self._model.network.encoder.cpu().float().eval()
        note(f"rounding the encoder's weights by {len(photos.paths)} photos")
        rounded = round_convolutions(encoder, torch.from_numpy(photos.pixels))
        note("finding the ranges of its activations")
        compute_in_int8(
            target / FILES["encoder"], {f"encoder.{name}": each for name, each in rounded.items()}, photos.pixels
        )
        self.describe(target, Precision(INT8))

    def describe(self, target: Path, precision: Precision, confidence: Confidence | None = None) -> None:
        """Writes card and manifest, over those that were there: the manifest holds the checksums of all other files."""
        text, model, tokenizer = self._text, self.rounded, self.rounded.tokenizer
        decoder, settings = model.network.decoder, text.settings
        (target / FILES["card"]).write_bytes(text.card(precision))
        files = FILES | ({MATCHING: FILE} if (target / FILE).exists() else {})
        write_manifest(
            target,
            Manifest(
                name=text.name,
                description=text.description,
                code_licence="Apache-2.0",
                weights_terms=text.weights_terms,
                files={role: describe_file(target, name) for role, name in files.items()},
                input_size=model.input_size,
                resize="squash",
                graph=GraphNames(
                    decoder.context_names, decoder.state_names, (self._side, self._side) if decoder.attends else None
                ),
                tokens=SpecialTokens(tokenizer.pad, tokenizer.start, tokenizer.end, tokenizer.unknown),
                search=SearchDefaults(settings.beam, settings.max_length, settings.length_penalty),
                habits=model.habits,
                trained_on=text.data_sets,
                scores=text.scores,
                network=model.network.describe(),
                precision=precision,
                confidence=confidence,
            ),
        )


def _grid_side(network: CaptionNetwork, input_size: int) -> int:
    with torch.inference_mode():
        grid = network.encoder(torch.zeros(1, input_size, input_size, 3, dtype=torch.uint8))
    return math.isqrt(grid.shape[1])
