"""The LSTM layer that decoders are made of. Knows nothing of words or images."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


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
        self,
        gates_of_input: Tensor,
        recurrent: Tensor,
        cell: Tensor,
        of_state: Callable[[Tensor], Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The next output and cell.

        Args:
            gates_of_input: `from_input` of each row's input, [B, 4 * hidden].
            recurrent, cell: the state, [S, recurrent] and [S, hidden].
            of_state: what gives each of the B rows the row of the state that it goes on from; None where S is B.
        """
        gates_of_state = self.from_state(recurrent)
        if of_state is not None:
            # After the product: rows that go on from one share it.
            gates_of_state, cell = of_state(gates_of_state), of_state(cell)
        gates = (gates_of_input + gates_of_state).float()
        write, forget, candidate, read = gates.chunk(4, dim=-1)
        cell = torch.sigmoid(forget) * cell + torch.sigmoid(write) * torch.tanh(candidate)
        return torch.sigmoid(read) * torch.tanh(cell), cell
