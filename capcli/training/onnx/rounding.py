"""Rounds the encoder's convolutions to 7 bits so that what a layer puts out changes least, not each weight by itself.

GPTQ (Frantar et al., 2023, "GPTQ: Accurate Post-Training Quantization"): columns of a weight are rounded one after
another, and those not yet rounded make up for the error as far as the layer's inputs on real images allow.
7 bits and not 8: CPUs without VNNI add pairs of products of a uint8 and an int8 in 16 bits, and 2 x 255 x 64 still
fits. Rounding to the nearest of 7 bits costs twice the error in the features, activations' included. Knows nothing of
graphs and files.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from capcli.training.network.resnet import ResNet50

_LEVELS = 63
# Shares of the mean diagonal: the paper's, which keeps the inverse stable where inputs hardly vary, and more of it for
# photos so few or so alike that float32 finds no inverse.
_DAMPING = (0.01, 0.1, 1.0)
_BLOCK = 128
_BATCH = 8
# Places of an image whose inputs are looked at. All of the last stage at 288 pixels.
_PLACES = 81
# Their places are more than the inputs of the largest layer, 4,608.
_IMAGES = 96


@dataclass(frozen=True)
class RoundedWeight:
    """int8 [out, ...] and its float32 scale, [out, 1, ...]; their product is the weight."""

    int8: Tensor
    scale: Tensor


def round_convolutions(encoder: ResNet50, images: Tensor) -> dict[str, RoundedWeight]:
    """The encoder's convolutions by their names, rounded to -64..63 with a scale for each output channel.

    Args:
        encoder: on the CPU, float32, in evaluation mode; unchanged.
        images: uint8 [N, S, S, 3], like those that it will see; of many, some are enough.
    """
    images = images[:: -(-len(images) // _IMAGES)]
    convolutions = {name: module for name, module in encoder.named_modules() if isinstance(module, nn.Conv2d)}
    # Half a gigabyte of sums for a ResNet-50, and one pass over the images instead of one a stage.
    sums = _input_products(encoder, convolutions, images)
    return {name: _round(conv.weight.detach(), sums.pop(name)) for name, conv in convolutions.items()}


def _input_products(encoder: ResNet50, convolutions: dict[str, nn.Conv2d], images: Tensor) -> dict[str, Tensor]:
    """For each convolution float32 [K, K]: the sum of x x^T over what it multiplies its K weights a channel by."""
    sums = {name: torch.zeros(2 * [conv.weight[0].numel()]) for name, conv in convolutions.items()}
    places = torch.Generator().manual_seed(0)

    def adder(total: Tensor) -> Callable[[Any, Any, Any], None]:
        def add(conv: nn.Conv2d, inputs: tuple[Tensor], output: Tensor) -> None:
            chosen = _patches(conv, inputs[0], output, places)
            total.addmm_(chosen.T, chosen)

        return add

    hooks = [conv.register_forward_hook(adder(sums[name])) for name, conv in convolutions.items()]
    try:
        with torch.no_grad():
            for first in range(0, len(images), _BATCH):
                encoder(images[first : first + _BATCH])
    finally:
        for hook in hooks:
            hook.remove()
    return sums


def _patches(conv: nn.Conv2d, inputs: Tensor, output: Tensor, places: torch.Generator) -> Tensor:
    """What a convolution reads at some places of each image: float32 [N * places, K], K in the order of its weight."""
    height, width = output.shape[2:]
    chosen = torch.randperm(height * width, generator=places)[:_PLACES]
    rows, columns = chosen // width * conv.stride[0], chosen % width * conv.stride[1]
    padded = functional.pad(inputs, 2 * [int(conv.padding[1])] + 2 * [int(conv.padding[0])])
    patch = torch.stack(
        [padded[:, :, rows + y, columns + x] for y in range(conv.kernel_size[0]) for x in range(conv.kernel_size[1])],
        dim=2,
    )
    return patch.flatten(1, 2).transpose(1, 2).flatten(0, 1)


def _round(weight: Tensor, products: Tensor) -> RoundedWeight:
    left = weight.flatten(1)
    scale = (left.abs().amax(1) / _LEVELS).clamp_min(torch.finfo(torch.float32).tiny)
    diagonal = products.diagonal()
    # An input that was zero on every image says nothing of its weights; they are rounded to the nearest.
    diagonal[diagonal == 0] = 1
    # The inputs that matter most first, while most weights are left to make up for them.
    order = torch.argsort(diagonal, descending=True)
    inverse = _inverse_factor(products[order][:, order])
    whole = torch.empty(left.shape, dtype=torch.int8)
    whole[:, order] = torch.from_numpy(_columns(left[:, order].numpy(), scale.numpy(), inverse.numpy()))
    return RoundedWeight(whole.view_as(weight), scale.view(-1, *[1] * (weight.ndim - 1)))


def _inverse_factor(products: Tensor) -> Tensor:
    """The upper Cholesky factor of the inverse of the damped products, [K, K]."""
    mean = float(products.diagonal().mean())
    for damping in _DAMPING:
        damped = products + damping * mean * torch.eye(len(products))
        lower, failed = torch.linalg.cholesky_ex(damped)
        if failed:
            continue
        upper: Tensor
        upper, failed = torch.linalg.cholesky_ex(torch.cholesky_inverse(lower), upper=True)
        if not failed:
            return upper
    # Each weight by itself.
    return torch.eye(len(products))


def _columns(left: np.ndarray, scale: np.ndarray, inverse: np.ndarray) -> np.ndarray:
    """int8 [out, K]. In NumPy: columns are too little work for PyTorch's threads to wait for each other.

    Args:
        left: float32 [out, K]; changed.
        scale: float32 [out].
        inverse: the upper factor of the inverse of the products, float32 [K, K].
    """
    whole = np.empty(left.shape, np.int8)
    for first in range(0, left.shape[1], _BLOCK):
        last = min(first + _BLOCK, left.shape[1])
        # Column by column in memory.
        block = np.ascontiguousarray(left[:, first:last].T)
        errors = np.empty_like(block)
        for row, column in enumerate(range(first, last)):
            steps = np.clip(np.rint(block[row] / scale), -_LEVELS - 1, _LEVELS)
            whole[:, column] = steps
            errors[row] = (block[row] - steps * scale) / inverse[column, column]
            block[row + 1 :] -= np.outer(inverse[column, column + 1 : last], errors[row])
        left[:, last:] -= errors.T @ inverse[first:last, last:]
    return whole
