"""The network as a bundle's ONNX graphs, written in int8 and read back. Knows nothing of runs, data or objectives."""

from __future__ import annotations

from capcli.training.onnx.quantise import quantise
from capcli.training.onnx.read import read_encoder, read_model
from capcli.training.onnx.write import write_decoder, write_encoder

__all__ = ["quantise", "read_encoder", "read_model", "write_decoder", "write_encoder"]
