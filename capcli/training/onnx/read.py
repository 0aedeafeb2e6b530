"""Reads a bundle's weights back from its graphs, by name, so that training can start from a bundle.

Int8 weights come back as the float32 numbers that the bundle computes with. Knows nothing of runs.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import Tensor, nn

from capcli.bundle.bundle import Bundle, read_bundle
from capcli.errors import BundleError
from capcli.extras import need
from capcli.training.model import CaptioningModel
from capcli.training.network.caption_network import CaptionNetwork
from capcli.training.network.decoder import DecoderConfig, Dropout, build_decoder
from capcli.training.network.resnet import EncoderConfig, ResNet50
from capcli.training.network.weights import MisfitError, dequantised, fill, with_present_names


def read_model(folder: Path, dropout: Dropout | None = None) -> CaptioningModel:
    """The model of a bundle that capcli exported, its rounded weights as float32.

    Args:
        folder: the bundle.
        dropout: for a network that is trained on.
    Raises:
        BundleError: it is damaged, or its manifest does not describe a network that this version builds.
    """
    bundle = read_bundle(folder)
    bundle.verify()
    encoder = _encoder(bundle)
    try:
        decoder = build_decoder(DecoderConfig.from_dict(dict(bundle.manifest.network["decoder"])), dropout)
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(f"{folder}: its manifest does not describe a decoder to train on") from error
    # The encoder's graph holds what the decoder computes once an image.
    _fill(decoder, "decoder.", _weights(bundle, "encoder") | _weights(bundle, "decoder"), folder)
    return CaptioningModel(
        CaptionNetwork(encoder, decoder), bundle.tokenizer(), bundle.manifest.habits, bundle.manifest.input_size
    )


def read_encoder(folder: Path) -> ResNet50:
    """The encoder of a bundle.

    Raises:
        BundleError: as `read_model`.
    """
    bundle = read_bundle(folder)
    bundle.verify()
    return _encoder(bundle)


def _encoder(bundle: Bundle) -> ResNet50:
    try:
        encoder = ResNet50(EncoderConfig.from_dict(dict(bundle.manifest.network["encoder"])))
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(f"{bundle.folder}: its manifest does not describe an encoder to train on") from error
    _fill(encoder, "encoder.", _weights(bundle, "encoder"), bundle.folder)
    return encoder


def _weights(bundle: Bundle, role: str) -> dict[str, Tensor]:
    """Every named weight of a graph, with its module's name before its own."""
    need("train", "reading a bundle's weights")
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(bundle.path(role), load_external_data=False).graph
    arrays: dict[str, np.ndarray] = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    return with_present_names(dequantised(arrays))


def _fill(module: nn.Module, prefix: str, weights: dict[str, Tensor], folder: Path) -> None:
    names = list(module.state_dict())
    missing = [name for name in names if prefix + name not in weights]
    if missing:
        raise BundleError(f"{folder}: its graphs have no {prefix}{missing[0]}; training cannot go on from it")
    try:
        fill(module, {name: weights[prefix + name] for name in names})
    except MisfitError as error:
        raise BundleError(f"{folder}: in its graphs {error}; training cannot go on from it") from error
