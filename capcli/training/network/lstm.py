"""The LSTM layer that decoders are made of. Knows nothing of words or images."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from capcli.training.network.rows import OWN_ROWS, Rows


class LSTMCell(nn.Module):
    """One LSTM layer's step, from separate linear maps of input and state.

    The input's share of the gates can be computed for all steps in one product while training.
    """

    def __init__(self, inputs: int, recurrent: int, hidden: int) -> None:
        super().__init__()
        self.from_input = nn.Linear(inputs, 4 * hidden)
        self.from_state = nn.Linear(recurrent, 4 * hidden, bias=False)
        with torch.no_grad():
            # A forget gate that starts open lets gradients through from the first update (Jozefowicz et al., 2015).
            self.from_input.bias[hidden : 2 * hidden] = 1.0

    def forward(
        self, gates_of_input: Tensor, recurrent: Tensor, cell: Tensor, rows: Rows = OWN_ROWS
    ) -> tuple[Tensor, Tensor]:
        """The next output and cell.

        Args:
            gates_of_input: `from_input` of each row's input, [B, 4 * hidden].
            recurrent, cell: the state, [S, recurrent] and [S, hidden].
            rows: which row of the state each of the B goes on from; by default each from its own.
        """
        # After the product: rows that go on from one share it.
        gates = (gates_of_input + rows.of_state(self.from_state(recurrent))).float()
        write, forget, candidate, read = gates.chunk(4, dim=-1)
        cell = torch.sigmoid(forget) * rows.of_state(cell) + torch.sigmoid(write) * torch.tanh(candidate)
        return torch.sigmoid(read) * torch.tanh(cell), cell
