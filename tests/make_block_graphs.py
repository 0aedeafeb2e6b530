"""Makes the two graphs of capcli/runtime/int8_speed.py: python -m tests.make_block_graphs. Needs the train extra.

A bottleneck block of a ResNet (1 x 1, 3 x 3, 1 x 1) with random weights, in float32 as the encoder's float32 form
holds its weights, and in int8 as ONNX Runtime's own static quantiser writes it.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from capcli.runtime.int8_speed import CHANNELS, FLOAT32, INT8, SIDE

# Output channels and kernel of each convolution.
_CONVOLUTIONS = ((CHANNELS, 1), (CHANNELS, 3), (4 * CHANNELS, 1))
_OPSET, _IR = 17, 8
_CALIBRATION = 4


def block(*, as_int8: bool) -> onnx.ModelProto:
    """The block in float32.

    Args:
        as_int8: whether its weights are stored as int8 that are multiplied by a scale, as the encoder's are.
    """
    generator = np.random.default_rng(0)
    nodes, tensors, before, width = [], [], "images", CHANNELS
    for number, (channels, kernel) in enumerate(_CONVOLUTIONS):
        whole = generator.integers(-63, 64, (channels, width, kernel, kernel)).astype(np.int8)
        # Signals keep their size (He et al., 2015).
        scale = np.array(np.sqrt(2 / (width * kernel * kernel)) / 36.5, np.float32)
        weight = f"weight{number}"
        if as_int8:
            tensors += [numpy_helper.from_array(whole, f"int8{number}"), numpy_helper.from_array(scale, f"by{number}")]
            nodes.append(helper.make_node("Cast", [f"int8{number}"], [f"cast{number}"], to=TensorProto.FLOAT))
            nodes.append(helper.make_node("Mul", [f"cast{number}", f"by{number}"], [weight]))
        else:
            tensors.append(numpy_helper.from_array(whole.astype(np.float32) * scale, weight))
        tensors.append(numpy_helper.from_array(np.zeros(channels, np.float32), f"bias{number}"))
        after = f"after{number}"
        pads = [kernel // 2] * 4
        nodes.append(helper.make_node("Conv", [before, weight, f"bias{number}"], [f"conv{number}"], pads=pads))
        nodes.append(helper.make_node("Relu", [f"conv{number}"], [after]))
        before, width = after, channels
    # A GPU's time is not to be that of fetching the result.
    nodes.append(helper.make_node("GlobalAveragePool", [before], ["means"]))
    graph = helper.make_graph(
        nodes,
        "block",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", CHANNELS, SIDE, SIDE])],
        [helper.make_tensor_value_info("means", TensorProto.FLOAT, ["batch", width, 1, 1])],
        tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)


class _Noise(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self) -> None:
        generator = np.random.default_rng(1)
        shape = (_CALIBRATION, 1, CHANNELS, SIDE, SIDE)
        self._each = iter(np.abs(generator.standard_normal(shape, np.float32)))

    def get_next(self) -> dict[str, np.ndarray] | None:
        image = next(self._each, None)
        return None if image is None else {"images": image}


def write_graphs() -> None:
    INT8.parent.mkdir(exist_ok=True)
    onnx.save_model(block(as_int8=True), FLOAT32)
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder, "plain.onnx")
        onnx.save_model(block(as_int8=False), plain)
        quantize_static(
            plain,
            INT8,
            _Noise(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "Relu"],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            # As the shipped encoder's weights, so that no sum leaves 16 bits where pairs of products are added in them.
            reduce_range=True,
        )


if __name__ == "__main__":
    write_graphs()
    print(f"{INT8.stat().st_size} bytes in int8, {FLOAT32.stat().st_size} in float32")
