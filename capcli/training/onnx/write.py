"""Writes the network as two ONNX graphs: images to everything that depends on them alone, and one step of the decoder.

Each is a single file without external data, its weights in int8 (see `quantise`). What passes between them is what the
decoder lists. Knows nothing of bundles.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from capcli.extras import need
from capcli.training.network.caption_network import CaptionNetwork
from capcli.training.network.decoder import Decoder
from capcli.training.network.rows import SharedRows

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
    """Last tokens int64 [B], rows of state and image (see `SharedRows`), context [N, ...], state [S, ...] -> scores,
    state, attention."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        names = self.decoder.context_names
        # Without a context nobody asks whose image it is.
        begin = 4 if names else 2
        tokens, rows, rest = inputs[0], SharedRows(*inputs[1:begin]), inputs[begin:]
        scores, state, attention = self.decoder.step(tokens, rest[len(names) :], rest[: len(names)], rows)
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
    rows, states, images, slots = map(torch.export.Dim, ("rows", "states_n", "images_n", "slots"))
    # Sizes that differ from each other: the exporter takes equal ones to be the same.
    names, inputs = ["tokens", "state_index"], [torch.ones(5, dtype=torch.int64), torch.tensor([0, 0, 1, 2, 3])]
    shapes: list[dict[int, torch.export.Dim]] = [{0: rows}, {0: rows}]
    if decoder.context_names:
        names += ["image_rows", "row_slots", *decoder.context_names]
        inputs += [torch.tensor([[0, 1, 0], [2, 3, 4]]), torch.tensor([0, 1, 3, 4, 5])]
        inputs += [
            torch.zeros(2, *(positions if size == -1 else size for size in shape))
            for shape in decoder.context_shapes.values()
        ]
        shapes += [{0: images, 1: slots}, {0: rows}, *({0: images} for _ in decoder.context_names)]
    names += decoder.state_names
    inputs += [torch.zeros(4, *shape) for shape in decoder.state_shapes.values()]
    shapes += [{0: states} for _ in decoder.state_names]
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
    need("train", "writing a graph")
    import onnx

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
