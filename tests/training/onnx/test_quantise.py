"""Rounding of weights to int8."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

from capcli.training.network.caption_network import CaptionNetwork  # noqa: E402
from capcli.training.network.decoder import DecoderConfig, build_decoder  # noqa: E402
from capcli.training.network.resnet import EncoderConfig, ResNet50  # noqa: E402
from capcli.training.onnx.quantise import quantise  # noqa: E402

SMALL = {"vocabulary": 23, "features": 32, "hidden": 16, "embedding": 12, "attention": 8}


def test_rounding_moves_no_weight_by_more_than_half_a_step() -> None:
    torch.manual_seed(0)
    network = CaptionNetwork(
        ResNet50(EncoderConfig(width=8)), build_decoder(DecoderConfig("attention", **{**SMALL, "features": 256}))
    )
    rounded = quantise(network)
    checked = 0
    for name, module in rounded.named_modules():
        if hasattr(module, "weight_int8"):
            weight = network.get_parameter(f"{name}.weight")
            assert (module.weight - weight).abs().sub(module.scale / 2 * 1.001).le(0).all()
            checked += 1
    assert checked == 53 + 11
