"""Weights by their names: as they are stored, under the present names, in their module."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

from torch import Tensor, nn  # noqa: E402

from capcli.training.network.decoder import DecoderConfig, build_decoder  # noqa: E402
from capcli.training.network.weights import MisfitError, dequantised, fill, with_present_names  # noqa: E402

SMALL = {"vocabulary": 23, "features": 32, "hidden": 16, "embedding": 12, "attention": 8}


@pytest.mark.parametrize("kind", ["attention", "pooled"])
def test_weights_of_before_are_read_under_their_present_names(kind: str) -> None:
    decoder = build_decoder(DecoderConfig(kind, **SMALL))
    weights = decoder.state_dict()
    before = {
        name.replace("attention_lstm.", "look.").replace("language_lstm.", "say."): tensor
        for name, tensor in weights.items()
    }
    assert before.keys() != weights.keys()
    assert with_present_names(before) == weights
    assert with_present_names(weights) == weights


def test_int8_weights_are_multiplied_by_their_scales_and_other_floats_are_kept() -> None:
    weights = dequantised(
        {
            "a.weight_int8": np.array([[1, -2], [3, 4]], np.int8),
            "a.scale": np.array([[0.5], [2.0]], np.float32),
            "a.bias": np.array([1.5], np.float16),
            "norm.scale": np.array([3.0], np.float32),
            "shape": np.array([7]),
        }
    )
    assert weights.keys() == {"a.weight", "a.bias", "norm.scale"}
    assert all(tensor.dtype == torch.float32 for tensor in weights.values())
    assert weights["a.weight"].tolist() == [[0.5, -1.0], [6.0, 8.0]]
    assert (weights["a.bias"].tolist(), weights["norm.scale"].tolist()) == ([1.5], [3.0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weight": None}, "it lacks weight"),
        ({"more": torch.zeros(1)}, "it has an unexpected more"),
        ({"bias": torch.zeros(3)}, r"bias has shape \[3\], expected \[2\]"),
    ],
)
def test_weights_of_another_module_change_nothing(change: dict[str, Tensor | None], message: str) -> None:
    module = nn.Linear(4, 2)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    weights = {name: tensor for name, tensor in {**before, **change}.items() if tensor is not None}
    with pytest.raises(MisfitError, match=message):
        fill(module, {name: tensor + 1 for name, tensor in weights.items()})
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    fill(module, {name: tensor + 1 for name, tensor in before.items()})
    assert all(torch.equal(tensor, before[name] + 1) for name, tensor in module.state_dict().items())
