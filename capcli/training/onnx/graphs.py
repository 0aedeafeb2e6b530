"""The network as two ONNX graphs: images to everything that depends on them, and one step of the decoder.

Writes single files without external data, with the weights in int8 (see `quantise`), and reads the weights back from
them by name, so that a bundle is also a starting point for training.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from capcli.bundle.bundle import Bundle, read_bundle
from capcli.bundle.tokens import Tokenizer
from capcli.errors import BundleError, DependencyError
from capcli.training.network.decoder import (
    CaptionNetwork,
    Decoder,
    DecoderConfig,
    Dropout,
    build_decoder,
    with_present_names,
)
from capcli.training.network.resnet import EncoderConfig, ResNet50

OPSET = 18


class EncoderGraph(nn.Module):
    """Images uint8 [N, S, S, 3] -> the decoder's context, then its first state."""

    def __init__(self, network: CaptionNetwork) -> None:
        super().__init__()
        self.encoder = network.encoder
        self.decoder = network.decoder

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        context, state = self.decoder.prepare(self.encoder(images))
        return (*context, *state)


class DecoderGraph(nn.Module):
    """Last tokens int64 [B], image of each row int64 [B], context [N, ...], state [B, H] -> scores, state, attention.

    The context comes once an image and is gathered here for each live hypothesis.
    """

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        names = self.decoder.context_names
        tokens, rest = inputs[0], inputs[1:]
        context: tuple[Tensor, ...] = ()
        if names:
            rows, rest = rest[0], rest[1:]
            # index_select becomes one Gather; indexing becomes GatherND between transposes, a tenth of a step.
            context = tuple(part.index_select(0, rows) for part in rest[: len(names)])
        scores, state, attention = self.decoder.step(tokens, rest[len(names) :], context)
        return (scores, *state) if attention is None else (scores, *state, attention)


def write_encoder(network: CaptionNetwork, path: Path, input_size: int) -> None:
    """Exports a quantised network's encoder graph."""
    decoder = network.decoder
    _export(
        EncoderGraph(network),
        (torch.zeros(2, input_size, input_size, 3, dtype=torch.uint8),),
        path,
        input_names=["images"],
        output_names=[*decoder.context_names, *decoder.state_names],
        dynamic_shapes=({0: torch.export.Dim("images_n")},),
    )


def write_decoder(network: CaptionNetwork, path: Path, positions: int) -> None:
    """Exports a quantised network's step graph; `positions` is the number of grid cells."""
    decoder = network.decoder
    rows, images = torch.export.Dim("rows"), torch.export.Dim("images_n")
    names, inputs, shapes = ["tokens"], [torch.ones(3, dtype=torch.int64)], [{0: rows}]
    if decoder.context_names:
        names += ["image_index", *decoder.context_names]
        inputs.append(torch.tensor([0, 1, 1]))
        inputs += [
            torch.zeros(2, *(positions if size == -1 else size for size in shape))
            for shape in decoder.context_shapes.values()
        ]
        shapes += [{0: rows}, *({0: images} for _ in decoder.context_names)]
    names += decoder.state_names
    inputs += [torch.zeros(3, *shape) for shape in decoder.state_shapes.values()]
    shapes += [{0: rows} for _ in decoder.state_names]
    _export(
        DecoderGraph(decoder),
        tuple(inputs),
        path,
        input_names=names,
        output_names=[
            "log_probs",
            *(f"{name}.next" for name in decoder.state_names),
            *(["attention"] if decoder.attends else []),
        ],
        dynamic_shapes=(tuple(shapes),),
    )


def _export(graph: nn.Module, inputs: tuple[Tensor, ...], path: Path, **names: Any) -> None:
    try:
        import onnx
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise DependencyError("exporting needs the train extra: pip install 'capcli[train]'") from error
    # The exporter reports its own progress on stdout, where results belong, and warns about its own internals.
    quiet = io.StringIO()
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with (
        torch.no_grad(),
        warnings.catch_warnings(),
        contextlib.redirect_stdout(quiet),
        contextlib.redirect_stderr(quiet),
    ):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            graph.eval(),
            inputs,
            dynamo=True,
            # Optimising would fold int8 weights into float32 constants, four times the size.
            optimize=False,
            external_data=False,
            opset_version=OPSET,
            **names,
        )
    assert program is not None
    model = program.model_proto
    _strip(model)
    onnx.checker.check_model(model)
    onnx.save_model(model, path)


def _strip(model: Any) -> None:
    """Drops what names the exporting machine's source lines: half of a small graph's size, and different each time."""
    del model.metadata_props[:]
    for part in (*model.graph.node, *model.graph.input, *model.graph.output, *model.graph.initializer):
        del part.metadata_props[:]
    for value in model.graph.value_info:
        del value.metadata_props[:]
    for node in model.graph.node:
        node.doc_string = ""
    del model.graph.metadata_props[:]


def read_bundle_network(folder: Path, dropout: Dropout | None = None) -> tuple[CaptionNetwork, Bundle]:
    """The network of a bundle that capcli exported, with its rounded weights as float32.

    Raises:
        BundleError: damaged, or its manifest does not describe a network that this version builds.
    """
    bundle = read_bundle(folder)
    bundle.verify()
    encoder = _read_encoder(bundle)
    try:
        config = DecoderConfig.from_dict(dict(bundle.manifest.network["decoder"]))
        decoder = build_decoder(config, dropout)
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(f"{folder}: its manifest does not describe a decoder to train on") from error
    weights = _weights(bundle.path("encoder")) | _weights(bundle.path("decoder"))
    _fill(decoder, "decoder.", weights, folder)
    return CaptionNetwork(encoder, decoder), bundle


def read_bundle_tokenizer(bundle: Bundle) -> Tokenizer:
    return Tokenizer.load(bundle.path("tokenizer"))


def read_bundle_encoder(folder: Path) -> ResNet50:
    """The encoder of a bundle.

    Raises:
        BundleError: as `read_bundle_network`.
    """
    bundle = read_bundle(folder)
    bundle.verify()
    return _read_encoder(bundle)


def _read_encoder(bundle: Bundle) -> ResNet50:
    try:
        encoder = ResNet50(EncoderConfig.from_dict(dict(bundle.manifest.network["encoder"])))
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(f"{bundle.folder}: its manifest does not describe an encoder to train on") from error
    _fill(encoder, "encoder.", _weights(bundle.path("encoder")), bundle.folder)
    return encoder


def _weights(path: Path) -> dict[str, Tensor]:
    """Every named weight of a graph, int8 ones multiplied by their scales."""
    try:
        import onnx
        from onnx import numpy_helper
    except ImportError as error:
        raise DependencyError("training needs the train extra: pip install 'capcli[train]'") from error
    arrays = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in onnx.load(path, load_external_data=False).graph.initializer
    }
    weights = {}
    for name, array in arrays.items():
        if name.endswith(".weight_int8"):
            layer = name.removesuffix(".weight_int8")
            weights[f"{layer}.weight"] = torch.from_numpy(array.astype(np.float32) * arrays[f"{layer}.scale"])
        elif array.dtype == np.float32:
            weights[name] = torch.from_numpy(array.copy())
    return with_present_names(weights)


def _fill(module: nn.Module, prefix: str, weights: dict[str, Tensor], folder: Path) -> None:
    wanted = module.state_dict()
    missing = [name for name in wanted if prefix + name not in weights]
    if missing:
        raise BundleError(f"{folder}: its graphs have no {prefix}{missing[0]}; training cannot go on from it")
    module.load_state_dict({name: weights[prefix + name].view_as(wanted[name]) for name in wanted})
