"""A captioning model: a network with the words it knows. What a run starts from, trains and hands over to be exported.

Knows nothing of where it came from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from capcli.bundle.habits import Habits
from capcli.bundle.tokens import Tokenizer
from capcli.errors import UsageError
from capcli.training.network.caption_network import CaptionNetwork


@dataclass(frozen=True)
class CaptioningModel:
    """`tokenizer`: the decoder's vocabulary. `habits`: how its captions' writers use words. `input_size`: the width and
    height in pixels that images are resized to."""

    network: CaptionNetwork
    tokenizer: Tokenizer
    habits: Habits
    input_size: int


def mean_of(models: Sequence[tuple[str, CaptioningModel]]) -> CaptioningModel:
    """The mean of the weights of several models that were trained on from one (model soups).

    The mean is better than each of them where all lie in one basin of the loss (Wortsman et al., 2022,
    arXiv:2203.05482). Habits and image size are the first one's.

    Args:
        models: at least one, each with what to call it in error messages. The first one's network becomes the mean.
    Raises:
        UsageError: their networks differ in shape, or their vocabularies in words.
    """
    (first_name, first), *others = models
    tensors = first.network.state_dict()
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    for name, model in others:
        if {key: tensor.shape for key, tensor in model.network.state_dict().items()} != shapes:
            raise UsageError(f"{name}: not of the same shape as {first_name}; give branches of one network")
        if model.tokenizer.vocabulary != first.tokenizer.vocabulary:
            raise UsageError(f"{name}: has another vocabulary than {first_name}")
    states = [model.network.state_dict() for _, model in models]
    first.network.load_state_dict({name: torch.stack([state[name] for state in states]).mean(0) for name in tensors})
    return first
