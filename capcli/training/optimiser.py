"""The optimiser: groups of parameters with their learning rates and weight decay, and the schedule.

Knows nothing of data or of what is trained.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from capcli.training.config import TrainConfig

_BETAS = (0.9, 0.98)


def make_optimiser(config: TrainConfig, trained: Mapping[str, nn.Parameter], device: torch.device) -> torch.optim.AdamW:
    """AdamW over groups of parameters; each group's `peak` is its highest learning rate."""
    return torch.optim.AdamW(parameter_groups(config, trained), betas=_BETAS, fused=device.type == "cuda")


def parameter_groups(config: TrainConfig, trained: Mapping[str, nn.Parameter]) -> list[dict[str, Any]]:
    """Encoder and rest apart, each with and without weight decay.

    Weight matrices decay; biases and norms, which have one dimension, do not (as in nanoGPT). The tied
    word embedding is a matrix like others: without its decay dev scores are the same (models/recipe/LOG.md).
    """
    groups: list[dict[str, Any]] = []
    for of_encoder, peak in ((False, config.learning_rate), (True, config.encoder_learning_rate)):
        for decays in (True, False):
            tensors = [
                tensor
                for name, tensor in trained.items()
                if name.startswith("encoder.") == of_encoder and (tensor.ndim >= 2) == decays
            ]
            if tensors:
                decay = config.weight_decay if decays else 0.0
                groups.append({"params": tensors, "lr": 0.0, "peak": peak, "weight_decay": decay})
    return groups


def set_learning_rate(optimiser: torch.optim.Optimizer, factor: float) -> None:
    """Sets each group's learning rate to `factor` of its peak."""
    for group in optimiser.param_groups:
        group["lr"] = group["peak"] * factor


def learning_rate_factor(update: int, total: int, warmup: int, final: float) -> float:
    """Linear warm-up, then a cosine down to `final`, as a factor of the peak learning rate.

    Args:
        update: 1 for the first update.
        total: updates of the run.
        warmup: updates until the peak; at most half of the run.
        final: the factor at the last update.
    """
    warmup = min(warmup, total // 2)
    if update <= warmup:
        return update / max(1, warmup)
    part = (update - warmup) / max(1, total - warmup)
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * part))
