"""Weights by their names: under the present ones, as float32, in the module they belong to. Knows nothing of files."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

_INT8, _INT32 = ".weight_int8", ".bias_int32"
# Modules by the names they had before: bundles, run folders and checkpoints from then hold weights under them.
_RENAMED = {"look": "attention_lstm", "say": "language_lstm"}


class MisfitError(Exception):
    """Weights are not those of the module; the text says which, as in "it lacks conv1.bias"."""


def with_present_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights under the names that this version gives them."""
    return {".".join(_RENAMED.get(part, part) for part in name.split(".")): each for name, each in weights.items()}


def dequantised(arrays: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """Float32 weights from arrays as they are stored.

    Args:
        arrays: int8 `LAYER.weight_int8` with `LAYER.scale`, one for all or for each output channel, which make
            `LAYER.weight`; int32 `LAYER.bias_int32` with `LAYER.bias_scale`, which make `LAYER.bias`; floats of any
            width. Others are left out.
    Raises:
        KeyError: a scale is missing.
    """
    weights = {}
    for name, array in arrays.items():
        if name.endswith(_INT8):
            layer = name.removesuffix(_INT8)
            scale = arrays[f"{layer}.scale"]
            if scale.ndim == 1:
                scale = scale.reshape(-1, *[1] * (array.ndim - 1))
            weight = np.ascontiguousarray(array.astype(np.float32) * scale, dtype=np.float32)
            weights[f"{layer}.weight"] = torch.from_numpy(weight)
        elif name.endswith(_INT32):
            layer = name.removesuffix(_INT32)
            weights[f"{layer}.bias"] = torch.from_numpy(array.astype(np.float32) * arrays[f"{layer}.bias_scale"])
        elif np.issubdtype(array.dtype, np.floating) and name.removesuffix(".scale") + _INT8 not in arrays:
            weights[name] = torch.from_numpy(np.array(array, dtype=np.float32))
    return weights


def fill(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Copies weights into a module that has exactly these.

    Raises:
        MisfitError: a weight is missing, has no place, or is of another shape; the module is as before.
    """
    wanted = module.state_dict()
    missing = sorted(set(wanted) - set(weights))
    unexpected = sorted(set(weights) - set(wanted))
    if missing or unexpected:
        raise MisfitError(f"it lacks {missing[0]}" if missing else f"it has an unexpected {unexpected[0]}")
    for name, tensor in weights.items():
        if tensor.shape != wanted[name].shape:
            raise MisfitError(f"{name} has shape {list(tensor.shape)}, expected {list(wanted[name].shape)}")
    module.load_state_dict(dict(weights))
