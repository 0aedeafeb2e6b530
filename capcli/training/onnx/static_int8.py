"""Makes an encoder graph compute in int8, with ranges of activations that are fixed: a caption must not depend on its
neighbours.

ONNX Runtime's own static quantiser places the QuantizeLinear and DequantizeLinear pairs; the weights are those that
`rounding` made. Knows nothing of bundles and networks.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from capcli.extras import need
from capcli.runtime.telemetry import disable_telemetry
from capcli.training.onnx.rounding import RoundedWeight

_OPERATORS = ["Conv", "Relu", "MaxPool", "Pad", "Add"]
_INT8, _WEIGHT = ".weight_int8", ".weight"
# Where a channel's weights are next to nothing beside its bias, the bias counted in steps of their product with the
# input's must still fit 32 bits, with room for the sums.
_LARGEST_BIAS = 2**30
# The scale of a channel of nothing but zeros.
_SMALLEST_SCALE = 1e-12


def compute_in_int8(graph: Path, rounded: Mapping[str, RoundedWeight], images: np.ndarray) -> None:
    """Replaces an encoder's graph by one that computes its convolutions in int8.

    Args:
        graph: as `write_encoder` writes it.
        rounded: the weights it computes with instead of its own, by the names of its convolutions.
        images: uint8 [N, S, S, 3], to find the range of each activation on: the mean of its extremes over the images.
    """
    need("train", "quantising a graph")
    disable_telemetry()
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    weights = {layer: (each.int8.numpy(), each.scale.flatten().numpy()) for layer, each in rounded.items()}
    model = onnx.load(graph)
    biases = _fold(model, weights)
    with tempfile.TemporaryDirectory() as folder:
        folded, quantised = Path(folder, "folded.onnx"), Path(folder, "quantised.onnx")
        onnx.save_model(model, folded)
        # It recommends shape inference that the exporter did already.
        logging.getLogger().addFilter(_is_error)
        try:
            quantize_static(
                folded,
                quantised,
                _reader(images),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=_OPERATORS,
                nodes_to_quantize=_of_encoder(model),
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
                extra_options={"CalibMovingAverage": True, "CalibMovingAverageConstant": 0.01},
            )
        finally:
            logging.getLogger().removeFilter(_is_error)
        model = onnx.load(quantised)
    _put_weights(model, weights, biases)
    _share_zero_points(model)
    # Shapes of tensors inside the graph, which ONNX Runtime finds by itself.
    del model.graph.value_info[:]
    onnx.checker.check_model(model)
    onnx.save_model(model, graph)


def _fold(model: Any, weights: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> dict[str, np.ndarray]:
    """Replaces what makes a weight of int8 and scale by the rounded weight in float32; returns the biases by layer."""
    from onnx import numpy_helper

    graph = model.graph
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    maker = {name: node for node in graph.node for name in node.output}
    biases: dict[str, np.ndarray] = {}
    gone = []
    for conv in [node for node in graph.node if node.op_type == "Conv"]:
        scaling = maker[conv.input[1]]
        cast = next(maker[name] for name in scaling.input if name in maker)
        layer = cast.input[0].removesuffix(_INT8)
        biases[layer] = arrays[conv.input[2]]
        whole, scale = weights[layer]
        weight = whole.astype(np.float32) * scale.reshape(-1, *[1] * (whole.ndim - 1))
        conv.input[1] = f"{layer}{_WEIGHT}"
        graph.initializer.append(numpy_helper.from_array(weight, f"{layer}{_WEIGHT}"))
        gone += [cast, scaling]
    for node in gone:
        graph.node.remove(node)
    unused = {f"{layer}{end}" for layer in biases for end in (_INT8, ".scale")}
    for tensor in [tensor for tensor in graph.initializer if tensor.name in unused]:
        graph.initializer.remove(tensor)
    return biases


def _of_encoder(model: Any) -> list[str]:
    """The nodes from the first convolution to the grid, by name.

    Pixels are scaled in float32, so that they are rounded once; what the decoder makes of the grid is little work.
    """
    nodes = list(model.graph.node)
    convolutions = [number for number, node in enumerate(nodes) if node.op_type == "Conv"]
    end = convolutions[-1] + 1
    while end < len(nodes) and nodes[end].op_type in _OPERATORS:
        end += 1
    return [node.name for node in nodes[convolutions[0] : end] if node.op_type in _OPERATORS]


def _put_weights(
    model: Any, weights: Mapping[str, tuple[np.ndarray, np.ndarray]], biases: Mapping[str, np.ndarray]
) -> None:
    """Puts the weights as they are where the quantiser has rounded them anew, and names them as training reads them."""
    from onnx import numpy_helper

    graph = model.graph
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    changed: dict[str, tuple[str, np.ndarray]] = {}
    for conv in [node for node in graph.node if node.op_type == "Conv"]:
        image, weight, bias = (makers[name].input for name in conv.input)
        layer = weight[0].removesuffix(f"{_WEIGHT}_quantized")
        step = float(arrays[image[1]])
        whole, scale, bias_int32 = _fitting(*weights[layer], biases[layer], step)
        changed[weight[0]] = (f"{layer}{_INT8}", whole)
        changed[weight[1]] = (f"{layer}.scale", scale)
        changed[bias[0]] = (f"{layer}.bias_int32", bias_int32)
        changed[bias[1]] = (f"{layer}.bias_scale", (step * scale).astype(np.float32))
    for tensor in graph.initializer:
        if tensor.name in changed:
            tensor.CopyFrom(numpy_helper.from_array(changed[tensor.name][1], changed[tensor.name][0]))
    for node in graph.node:
        for place, name in enumerate(node.input):
            if name in changed:
                node.input[place] = changed[name][0]


def _share_zero_points(model: Any) -> None:
    """Keeps one of equal zero points: each channel has three, in all half a per cent of the file."""
    from onnx import numpy_helper

    graph = model.graph
    first: dict[tuple[int, tuple[int, ...], bytes], str] = {}
    instead: dict[str, str] = {}
    for tensor in list(graph.initializer):
        if tensor.name.endswith("_zero_point"):
            content = numpy_helper.to_array(tensor).tobytes()
            kept = first.setdefault((tensor.data_type, tuple(tensor.dims), content), tensor.name)
            if kept != tensor.name:
                instead[tensor.name] = kept
                graph.initializer.remove(tensor)
    for node in graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = instead.get(name, name)


def _fitting(
    whole: np.ndarray, scale: np.ndarray, bias: np.ndarray, step: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """int8 weight [out, ...] and its scale [out], the scale raised where the bias would leave int32; and int32 bias.

    Args:
        step: of the quantised input.
    """
    wanted = np.abs(bias.astype(np.float64)) / (_LARGEST_BIAS * step)
    raised = np.maximum(np.maximum(scale, _SMALLEST_SCALE), wanted).astype(np.float32)
    fitting = np.round(whole * (scale / raised).reshape(-1, *[1] * (whole.ndim - 1))).astype(np.int8)
    return fitting, raised, np.round(bias / (step * raised.astype(np.float64))).astype(np.int32)


def _is_error(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR


def _reader(images: np.ndarray) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._each: Iterator[np.ndarray] = iter(images)

        def get_next(self) -> dict[str, np.ndarray] | None:
            image = next(self._each, None)
            return None if image is None else {"images": image[None]}

    return Reader()
