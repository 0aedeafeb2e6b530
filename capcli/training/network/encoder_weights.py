"""Encoder weights from files of others: an int8 archive or a torchvision state_dict.

Each becomes a `ResNet50` with batch normalisation folded. Knows nothing of captions, training or bundles.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from capcli.errors import DataError
from capcli.training.network.resnet import EncoderConfig, ResNet50
from capcli.training.network.weights import MisfitError, dequantised, fill

_BN_EPSILON = 1e-5
_HINT = (
    "expected an int8 .npz with <layer>.weight_int8/.scale/.bias, a torchvision ResNet-50 state_dict (.pth), "
    "or a capcli bundle folder"
)


def load_encoder(path: Path, *, stride_in: str | None = None) -> ResNet50:
    """Reads an encoder's weights.

    Args:
        path: an int8 .npz, or a torchvision .pth.
        stride_in: "conv1" (v1) or "conv2" (v1.5) for a state_dict that does not say; torchvision's own weights
            are v1.5, which is the default for them.
    Raises:
        DataError: the file is missing, not understood, or not a ResNet-50.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file; --encoder takes a weights file or a bundle folder")
    try:
        if path.suffix.lower() == ".npz":
            return _from_int8_archive(path, stride_in or "conv1")
        return _from_state_dict(path, stride_in or "conv2")
    except DataError:
        raise
    except Exception as error:  # what NumPy's and torch's readers raise on foreign bytes has no common base
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path}: not readable as encoder weights ({reason}); {_HINT}") from error


def _from_int8_archive(path: Path, stride_in: str) -> ResNet50:
    arrays: dict[str, np.ndarray] = {}
    with np.load(path, allow_pickle=False) as archive:
        layers = sorted(key.removesuffix(".weight_int8") for key in archive.files if key.endswith(".weight_int8"))
        for layer in layers:
            missing = [part for part in ("scale", "bias") if f"{layer}.{part}" not in archive.files]
            if missing:
                raise DataError(f"{path}: layer {layer} has no {' and no '.join(missing)}; {_HINT}")
            arrays |= {f"{layer}.{part}": archive[f"{layer}.{part}"] for part in ("weight_int8", "scale", "bias")}
    encoder = ResNet50(EncoderConfig(stride_in=stride_in, pool="right-bottom"))
    return _filled(encoder, dequantised(arrays), path)


def _from_state_dict(path: Path, stride_in: str) -> ResNet50:
    loaded: Any = torch.load(path, map_location="cpu", weights_only=True)
    for wrapper in ("state_dict", "model"):
        if isinstance(loaded, dict) and isinstance(loaded.get(wrapper), dict):
            loaded = loaded[wrapper]
    if not isinstance(loaded, dict) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise DataError(f"{path}: holds no state_dict of tensors; {_HINT}")
    tensors = {str(name).removeprefix("module."): tensor.float() for name, tensor in loaded.items()}
    # With BN there is one such tensor per convolution; a file without any was folded already.
    if any(name.endswith("running_mean") for name in tensors):
        tensors = _fold_batch_norms(tensors, path)
    return _filled(ResNet50(EncoderConfig(stride_in=stride_in, pool="symmetric")), tensors, path)


def _fold_batch_norms(tensors: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """conv, then BN: w' = w * g / sqrt(v + e), b' = beta - mean * g / sqrt(v + e)."""
    folded: dict[str, Tensor] = {}
    for name in tensors:
        if not name.endswith(".weight") or tensors[name].ndim != 4:
            continue
        layer = name.removesuffix(".weight")
        if layer.endswith("downsample.0"):
            norm, target = layer[:-1] + "1", layer.removesuffix(".0")
        else:
            head, _, last = layer.rpartition(".")
            norm, target = (f"{head}." if head else "") + last.replace("conv", "bn"), layer
        try:
            gain, shift = tensors[f"{norm}.weight"], tensors[f"{norm}.bias"]
            mean, variance = tensors[f"{norm}.running_mean"], tensors[f"{norm}.running_var"]
        except KeyError as error:
            raise DataError(f"{path}: {layer} has no batch normalisation {error}; {_HINT}") from error
        factor = gain / torch.sqrt(variance + _BN_EPSILON)
        folded[f"{target}.weight"] = tensors[name] * factor.view(-1, 1, 1, 1)
        folded[f"{target}.bias"] = shift - mean * factor
    return folded


def _filled(encoder: ResNet50, tensors: dict[str, Tensor], path: Path) -> ResNet50:
    """The network with the tensors; the ImageNet classifier (`fc`) is left out."""
    given = {name: tensor for name, tensor in tensors.items() if not name.startswith("fc.")}
    try:
        fill(encoder, given)
    except MisfitError as error:
        raise DataError(f"{path}: not a ResNet-50: {error}; {_HINT}") from error
    for name, tensor in given.items():
        if not torch.isfinite(tensor).all():
            raise DataError(f"{path}: {name} holds values that are not finite")
    return encoder
