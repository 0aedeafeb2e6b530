"""How the hypotheses of a decoder's step lie: which row of the state each goes on from, and which image it looks at.

What is computed of a state or of an image is computed once, however many hypotheses share it. Knows nothing of
decoders.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


class Rows:
    """Each hypothesis has a row of its own of the state and of the context, as captions have in training."""

    def of_state(self, values: Tensor) -> Tensor:
        """What is known of each row of the state, [S, ...], for each hypothesis: [B, ...]."""
        return values

    def by_image(self, values: Tensor) -> Tensor:
        """What is known of each hypothesis, [B, C], beside each other for each image: [N, K, C]."""
        return values.unsqueeze(1)

    def by_row(self, values: Tensor) -> Tensor:
        """The way back from [N, K, C] to [B, C]."""
        return values.squeeze(1)


class SharedRows(Rows):
    """Hypotheses of a search.

    Args:
        state_index: int64 [B], the row of the state that each goes on from.
        image_rows: int64 [N, K], the hypotheses of each image; any others where there are fewer than K of them.
        row_slots: int64 [B], the place of each among those of `image_rows`, counted row by row.
    """

    def __init__(self, state_index: Tensor, image_rows: Tensor | None = None, row_slots: Tensor | None = None) -> None:
        self._state_index = state_index
        self._image_rows = image_rows
        self._row_slots = row_slots

    def of_state(self, values: Tensor) -> Tensor:
        # index_select becomes one Gather; indexing becomes GatherND between transposes, a tenth of a step.
        return values.index_select(0, self._state_index)

    def by_image(self, values: Tensor) -> Tensor:
        assert self._image_rows is not None
        # One Gather too.
        return functional.embedding(self._image_rows, values)

    def by_row(self, values: Tensor) -> Tensor:
        assert self._row_slots is not None
        return values.flatten(0, 1).index_select(0, self._row_slots)


OWN_ROWS = Rows()
