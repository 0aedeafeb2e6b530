"""Captions from the PyTorch network, through the same search that the ONNX bundle uses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from capcli.bundle.tokens import Tokenizer
from capcli.decoding.search import Hypothesis, SearchSettings, StepResult, TokenFilter, search
from capcli.training.network.decoder import Decoder


def search_grid(
    decoder: Decoder,
    grid: Tensor,
    tokenizer: Tokenizer,
    settings: SearchSettings,
    filters: Sequence[TokenFilter],
) -> list[list[Hypothesis]]:
    """Searches captions for grid features.

    Args:
        decoder: in evaluation mode.
        grid: float [N, P, features].
        tokenizer: the decoder's vocabulary.
        settings: beam, lengths, number of captions.
        filters: what captions may not say.
    Returns:
        For each image its hypotheses, best first.
    """
    device = grid.device
    with torch.inference_mode():
        context, first = decoder.prepare(grid)

        def step(
            tokens: np.ndarray, state: tuple[np.ndarray, ...], parents: np.ndarray, images: np.ndarray
        ) -> StepResult:
            with torch.inference_mode():
                rows = torch.from_numpy(images).to(device)
                scores, after, attention = decoder.step(
                    torch.from_numpy(tokens).to(device),
                    tuple(torch.from_numpy(part[parents]).to(device) for part in state),
                    tuple(part[rows] for part in context),
                )
            return StepResult(
                scores.float().cpu().numpy(),
                tuple(part.float().cpu().numpy() for part in after),
                None if attention is None else attention.float().cpu().numpy(),
            )

        return search(
            step,
            tuple(part.float().cpu().numpy() for part in first),
            len(grid),
            start=tokenizer.start,
            end=tokenizer.end,
            settings=settings,
            filters=filters,
        )
