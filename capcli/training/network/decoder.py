"""Decoders: grid features in, word scores out, one step at a time.

They share one interface, and `DECODERS` lists them. `AttentionDecoder` is a two-layer top-down attention LSTM (Anderson
et al., 2018, arXiv:1707.07998, with additive attention as in Xu et al., 2015, arXiv:1502.03044), `PooledDecoder` the
plain LSTM that sees one pooled vector first (Vinyals et al., 2015, arXiv:1411.4555). Whatever depends on the image
alone is computed by `prepare`, once an image; `step` does only what changes with the word. Knows nothing of files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from capcli.training.network.lstm import LSTMCell
from capcli.training.network.rows import OWN_ROWS, Rows

Tensors = tuple[Tensor, ...]


@dataclass(frozen=True)
class DecoderConfig:
    """Sizes of a decoder. `kind`: "attention" or "pooled"; `features`: channels of the encoder's grid."""

    kind: str
    vocabulary: int
    features: int = 2048
    hidden: int = 384
    embedding: int = 256
    attention: int = 192

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> DecoderConfig:
        return cls(kind=str(values["kind"]), **{k: int(v) for k, v in values.items() if k != "kind"})


@dataclass(frozen=True)
class Dropout:
    """Dropout probabilities while training: on projected features, and on embeddings and outputs."""

    features: float = 0.3
    words: float = 0.5


class Decoder(nn.Module):
    """Interface and shared parts: embedding, output layer tied to it.

    A subclass says in `context_shapes`, `state_shapes` and `attends` what it keeps of an image and of a hypothesis;
    graphs and manifests are written from these. Numbers of rows come from `.shape`: `len` would fix them in the graphs.
    A step takes the embedding's share of the first LSTM's gates, so that training can compute it for all words of a
    batch at once.
    """

    attends = False

    def __init__(self, config: DecoderConfig, dropout: Dropout) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary, config.embedding)
        nn.init.normal_(self.embedding.weight, std=config.embedding**-0.5)
        self.to_embedding = nn.Linear(config.hidden, config.embedding)
        # The output layer shares the embedding's weights (Press and Wolf, 2017), which halves the vocabulary's cost.
        self.output_bias = nn.Parameter(torch.zeros(config.vocabulary))
        self.drop_features = nn.Dropout(dropout.features)
        self.drop_words = nn.Dropout(dropout.words)

    def grow_vocabulary(self, size: int) -> None:
        """Makes room for words that come after the known ones, whose rows stay; never makes it smaller."""
        known = self.config.vocabulary
        if size <= known:
            return
        embedding = nn.Embedding(size, self.config.embedding)
        nn.init.normal_(embedding.weight, std=self.config.embedding**-0.5)
        # New words are rare ones: as probable at first as the rarer half of the known.
        bias = self.output_bias.detach().median().expand(size).clone()
        with torch.no_grad():
            embedding.weight[:known] = self.embedding.weight
            bias[:known] = self.output_bias
        self.embedding = embedding
        self.output_bias = nn.Parameter(bias)
        self.config = replace(self.config, vocabulary=size)

    @property
    def context_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of each context tensor of one image; -1 is the number of grid cells."""
        return {}

    @property
    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of each state tensor of one hypothesis."""
        raise NotImplementedError

    @property
    def context_names(self) -> tuple[str, ...]:
        return tuple(self.context_shapes)

    @property
    def state_names(self) -> tuple[str, ...]:
        return tuple(self.state_shapes)

    def prepare(self, grid: Tensor) -> tuple[Tensors, Tensors]:
        """Everything that depends on the image alone.

        Args:
            grid: float [N, P, features].
        Returns:
            context tensors and first states, float [N, *shape] each, as `context_shapes` and `state_shapes` list them.
        """
        raise NotImplementedError

    def word_gates(self, tokens: Tensor) -> Tensor:
        """The words' share of the first LSTM's gates: int64 [...] to float [..., 4 * hidden]."""
        raise NotImplementedError

    def advance(
        self, gates: Tensor, state: Tensors, context: Tensors, rows: Rows = OWN_ROWS
    ) -> tuple[Tensor, Tensors, Tensor | None]:
        """One step.

        Args:
            gates: `word_gates` of the last tokens, [B, 4 * hidden].
            state: [S, *shape] each, as `state_shapes` lists them.
            context: `prepare`'s context, [N, ...] each.
            rows: which state and which image each hypothesis has; by default a row of its own of either.
        Returns:
            output [B, hidden], next state, attention [B, P] or None.
        """
        raise NotImplementedError

    def logits(self, output: Tensor) -> Tensor:
        """Word scores before the softmax, [B, vocabulary]."""
        hidden = self.to_embedding(self.drop_words(output))
        return nn.functional.linear(hidden, self.embedding.weight, self.output_bias)

    def step(
        self, tokens: Tensor, state: Tensors, context: Tensors, rows: Rows = OWN_ROWS
    ) -> tuple[Tensor, Tensors, Tensor | None]:
        """Log-probabilities [B, vocabulary] of the word after `tokens` int64 [B], next state, attention."""
        output, state, attention = self.advance(self.word_gates(tokens), state, context, rows)
        return torch.log_softmax(self.logits(output).float(), dim=-1), state, attention

    def teacher_forced(self, grid: Tensor, images: Tensor, tokens: Tensor, lengths: Sequence[int]) -> Tensor:
        """Scores of every next word of given captions.

        Args:
            grid: float [N, P, features].
            images: int64 [B], the grid row of each caption.
            tokens: int64 [B, L], each starting with the start token.
            lengths: inputs of each caption, in falling order, so that finished captions leave the batch.
        Returns:
            logits [sum(lengths), vocabulary], step by step: first words of all captions, then second words.
        """
        context, state = self.prepare(grid)
        context = tuple(part[images] for part in context)
        state = tuple(part[images] for part in state)
        # unbind: the gradient of every step's slice of one tensor would be a tensor of that full size.
        gates = self.word_gates(tokens).unbind(1)
        outputs = []
        rows = len(tokens)
        for position in range(lengths[0]):
            live = sum(length > position for length in lengths)
            # For the same reason the batch shrinks in a few large steps, not with every caption that ends.
            if live < 0.8 * rows:
                rows = live
                state = tuple(part[:rows] for part in state)
                context = tuple(part[:rows] for part in context)
            output, state, _ = self.advance(gates[position][:rows], state, context)
            outputs.append(output[:live])
        return self.logits(torch.cat(outputs))


class AttentionDecoder(Decoder):
    """Two LSTMs: the first decides where to look, the second what to say (top-down attention)."""

    attends = True

    def __init__(self, config: DecoderConfig, dropout: Dropout) -> None:
        super().__init__(config, dropout)
        hidden = config.hidden
        self.project = nn.Linear(config.features, hidden)
        self.norm = nn.LayerNorm(hidden)
        self.key = nn.Linear(hidden, config.attention)
        self.query = nn.Linear(hidden, config.attention, bias=False)
        self.attend = nn.Linear(config.attention, 1, bias=False)
        self.first_state = nn.Linear(hidden, 2 * hidden)
        self.attention_lstm = LSTMCell(config.embedding, 2 * hidden, hidden)
        self.language_lstm = LSTMCell(2 * hidden, hidden, hidden)

    @property
    def context_shapes(self) -> dict[str, tuple[int, ...]]:
        return {"values": (-1, self.config.hidden), "keys": (-1, self.config.attention)}

    @property
    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        return dict.fromkeys(("h1", "c1", "h2", "c2"), (self.config.hidden,))

    def prepare(self, grid: Tensor) -> tuple[Tensors, Tensors]:
        values = self.drop_features(torch.relu(self.norm(self.project(grid))))
        h1, c1 = torch.tanh(self.first_state(values.mean(1))).float().chunk(2, dim=-1)
        # Two tensors: one given out under two names would be one output of the exported graph.
        return (values, self.key(values)), (h1, c1, torch.zeros_like(h1), torch.zeros_like(c1))

    def word_gates(self, tokens: Tensor) -> Tensor:
        gates: Tensor = self.attention_lstm.from_input(self.drop_words(self.embedding(tokens)))
        return gates

    def advance(
        self, gates: Tensor, state: Tensors, context: Tensors, rows: Rows = OWN_ROWS
    ) -> tuple[Tensor, Tensors, Tensor | None]:
        values, keys = context
        h1, c1, h2, c2 = state
        h1, c1 = self.attention_lstm(gates, torch.cat([h2, h1], dim=-1), c1, rows)
        # [N, K, P, attention]: an image's hypotheses look at it together.
        queries = rows.by_image(self.query(h1)).unsqueeze(2)
        energy = self.attend(torch.tanh(keys.unsqueeze(1) + queries)).squeeze(-1)
        attention = torch.softmax(energy.float(), dim=-1)
        seen = rows.by_row(torch.matmul(attention.to(values.dtype), values))
        gates = self.language_lstm.from_input(torch.cat([seen, h1.to(seen.dtype)], dim=-1))
        h2, c2 = self.language_lstm(gates, h2, c2, rows)
        return h2, (h1, c1, h2, c2), rows.by_row(attention)


class PooledDecoder(Decoder):
    """Show and Tell: one LSTM whose first input is the pooled image, then words."""

    def __init__(self, config: DecoderConfig, dropout: Dropout) -> None:
        super().__init__(config, dropout)
        self.project = nn.Linear(config.features, config.embedding)
        self.norm = nn.LayerNorm(config.embedding)
        self.language_lstm = LSTMCell(config.embedding, config.hidden, config.hidden)

    @property
    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        return dict.fromkeys(("h", "c"), (self.config.hidden,))

    def prepare(self, grid: Tensor) -> tuple[Tensors, Tensors]:
        image = self.drop_features(self.norm(self.project(grid.mean(1))))
        zeros = torch.zeros(image.shape[0], self.config.hidden, device=image.device)
        return (), self.language_lstm(self.language_lstm.from_input(image), zeros, zeros)

    def word_gates(self, tokens: Tensor) -> Tensor:
        gates: Tensor = self.language_lstm.from_input(self.drop_words(self.embedding(tokens)))
        return gates

    def advance(
        self, gates: Tensor, state: Tensors, context: Tensors, rows: Rows = OWN_ROWS
    ) -> tuple[Tensor, Tensors, Tensor | None]:
        h, c = self.language_lstm(gates, *state, rows)
        return h, (h, c), None


# Every decoder there is, by the `kind` of its configuration: what training, export and --init build.
DECODERS: dict[str, type[Decoder]] = {"attention": AttentionDecoder, "pooled": PooledDecoder}


def build_decoder(config: DecoderConfig, dropout: Dropout | None = None) -> Decoder:
    """A decoder of the configured kind with fresh weights."""
    return DECODERS[config.kind](config, dropout or Dropout())
