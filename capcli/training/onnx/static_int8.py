"""Makes an encoder graph compute in int8, with scales of activations that are fixed: a caption must not depend on its neighbours.

ONNX Runtime's own static quantiser places the QuantizeLinear and DequantizeLinear pairs; the weights stay as they were
rounded. Knows nothing of bundles and networks.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from capcli.extras import need

# All between the first convolution and the grid; what follows is small, and stays in float32.
_OPERATORS = ["Conv", "Relu", "MaxPool", "Pad", "Add"]
_INT8, _WEIGHT = ".weight_int8", ".weight"


def compute_in_int8(graph: Path, images: np.ndarray) -> None:
    """Replaces a graph of float32 convolutions with rounded weights by one that computes them in int8.

    Args:
        graph: as `write_encoder` writes it.
        images: uint8 [N, S, S, 3], to find the range of each activation on: the mean of its extremes over the images.
    """
    need("train", "quantising a graph")
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    model = onnx.load(graph)
    rounded = _fold(model)
    with tempfile.TemporaryDirectory() as folder:
        folded, quantised = Path(folder, "folded.onnx"), Path(folder, "quantised.onnx")
        onnx.save_model(model, folded)
        # It recommends shape inference that the exporter did already.
        logging.getLogger().addFilter(_not_quantiser)
        try:
            quantize_static(
                folded,
                quantised,
                _reader(images),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=_OPERATORS,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
                extra_options={"CalibMovingAverage": True, "CalibMovingAverageConstant": 0.01},
            )
        finally:
            logging.getLogger().removeFilter(_not_quantiser)
        model = onnx.load(quantised)
    _put_weights(model, rounded)
    onnx.checker.check_model(model)
    onnx.save_model(model, graph)


def _fold(model: Any) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Replaces the convolutions' int8 weights by the float32 ones they make; returns int8 and scale by layer."""
    from onnx import numpy_helper

    graph = model.graph
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    maker = {name: node for node in graph.node for name in node.output}
    rounded: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    gone = []
    for conv in [node for node in graph.node if node.op_type == "Conv"]:
        scaling = maker[conv.input[1]]
        cast = next(maker[name] for name in scaling.input if name in maker)
        stored = cast.input[0]
        layer = stored.removesuffix(_INT8)
        whole, scale = arrays[stored], arrays[f"{layer}.scale"]
        rounded[layer] = (whole, scale)
        conv.input[1] = f"{layer}{_WEIGHT}"
        graph.initializer.append(numpy_helper.from_array(whole.astype(np.float32) * scale, f"{layer}{_WEIGHT}"))
        gone += [cast, scaling]
    for node in gone:
        graph.node.remove(node)
    unused = {f"{layer}{end}" for layer in rounded for end in (_INT8, ".scale")}
    for tensor in [tensor for tensor in graph.initializer if tensor.name in unused]:
        graph.initializer.remove(tensor)
    return rounded


def _put_weights(model: Any, rounded: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """Puts the rounded weights where the quantiser has rounded them anew, and names them as training reads them."""
    from onnx import numpy_helper

    graph = model.graph
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    changed: dict[str, tuple[str, np.ndarray]] = {}
    for conv in [node for node in graph.node if node.op_type == "Conv"]:
        image, weight, bias = (makers[name].input for name in conv.input)
        layer = weight[0].removesuffix(f"{_WEIGHT}_quantized")
        whole, scale = rounded[layer]
        before = arrays[bias[1]]
        bias_scale = arrays[image[1]].astype(np.float32) * scale.reshape(-1)
        exact = arrays[bias[0]].astype(np.float64) * before
        changed[weight[0]] = (f"{layer}{_INT8}", whole)
        changed[weight[1]] = (f"{layer}.scale", scale.reshape(-1).astype(np.float32))
        changed[bias[0]] = (f"{layer}.bias_int32", np.round(exact / bias_scale).astype(np.int32))
        changed[bias[1]] = (f"{layer}.bias_scale", bias_scale.astype(np.float32))
    for tensor in graph.initializer:
        if tensor.name in changed:
            tensor.CopyFrom(numpy_helper.from_array(changed[tensor.name][1], changed[tensor.name][0]))
    for node in graph.node:
        for place, name in enumerate(node.input):
            if name in changed:
                node.input[place] = changed[name][0]


def _not_quantiser(record: logging.LogRecord) -> bool:
    return "quantization" not in record.getMessage()


def _reader(images: np.ndarray) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._each: Iterator[np.ndarray] = iter(images)

        def get_next(self) -> dict[str, np.ndarray] | None:
            image = next(self._each, None)
            return None if image is None else {"images": image[None]}

    return Reader()
