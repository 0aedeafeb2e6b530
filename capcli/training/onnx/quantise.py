"""Weights as int8 with a scale for each output channel.

Only the storage is int8 here: the network multiplies weight by scale and computes in float32. Four bytes a weight
become one. `static_int8` makes the encoder compute in int8 too. Knows nothing of files.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional

from capcli.training.network.caption_network import CaptionNetwork

_LEVELS = 127


class Int8Weight(nn.Module):
    """A weight [out, ...] kept as int8 with a float32 scale for each of `out`."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        flat = weight.detach().flatten(1)
        scale = (flat.abs().amax(1) / _LEVELS).clamp_min(torch.finfo(torch.float32).tiny)
        scale = scale.view(-1, *[1] * (weight.ndim - 1))
        self.register_buffer("weight_int8", torch.round(weight.detach() / scale).to(torch.int8))
        self.register_buffer("scale", scale)

    @property
    def weight(self) -> Tensor:
        """The rounded weight, float32."""
        return self.get_buffer("weight_int8").float() * self.get_buffer("scale")


class Int8Conv2d(Int8Weight):
    """A convolution with an int8 weight."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__(conv.weight)
        assert conv.bias is not None
        self.bias = nn.Parameter(conv.bias.detach().clone())
        self._stride = (conv.stride[0], conv.stride[1])
        self._padding = (int(conv.padding[0]), int(conv.padding[1]))

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(x, self.weight, self.bias, self._stride, self._padding)


class Int8Linear(Int8Weight):
    """A linear layer with an int8 weight."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear.weight)
        self.bias = None if linear.bias is None else nn.Parameter(linear.bias.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight, self.bias)


class Int8Embedding(Int8Weight):
    """Word vectors in int8, a scale a word."""

    def __init__(self, embedding: nn.Embedding) -> None:
        super().__init__(embedding.weight)

    def forward(self, tokens: Tensor) -> Tensor:
        return functional.embedding(tokens, self.weight)


def quantise(network: CaptionNetwork) -> CaptionNetwork:
    """A copy of the network, in evaluation mode, whose convolutions, linear layers and embeddings are rounded."""
    copied = copy.deepcopy(network).cpu().float().eval()
    for module in list(copied.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Conv2d):
                setattr(module, name, Int8Conv2d(child))
            elif isinstance(child, nn.Linear):
                setattr(module, name, Int8Linear(child))
            elif isinstance(child, nn.Embedding):
                setattr(module, name, Int8Embedding(child))
    return copied
