"""A bundle's two graphs, ready to run: images to what the decoder is told of them, and the decoder's steps.

Knows tensors alone: no words, no search settings, no files of images.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from capcli.bundle.bundle import Bundle
from capcli.decoding.search import State, StepFunction, StepResult
from capcli.errors import BundleError, UsageError
from capcli.graph_fit import check_graphs, shares_rows
from capcli.runtime.sessions import Feed, Session

# Of the images captioned together the CPU encodes so many at once: more take no less time (19.5, 19.4 and 19.4 ms a
# photo with 4, 8 and 16), but their maps twice the memory.
_ENCODED_AT_ONCE = 4
# What is known of images is copied without those that are finished when so many of it are left.
_FEWER = 0.75


class BundleGraphs:
    """The encoder and the decoder of a bundle.

    Args:
        bundle: read and verified.
        sessions: its two graphs, encoder and decoder, opened.
        tokens: size of its vocabulary.
        numbers: how many of a picture its matching score takes; None where it has none.
        mirror_average: look at each image and at its mirror image, and give their mean.
    Raises:
        BundleError: the graphs do not fit the manifest.
        UsageError: the model cannot average mirror images, since it does not tell the shape of its grid.
    """

    def __init__(
        self,
        bundle: Bundle,
        sessions: Sequence[Session],
        tokens: int,
        numbers: int | None,
        *,
        mirror_average: bool = False,
    ) -> None:
        manifest = bundle.manifest
        self._names = manifest.graph
        self._tokens = tokens
        self._decoder_path = bundle.path("decoder")
        self.mirror_average = mirror_average
        if mirror_average and self._names.context and self._names.attention_grid is None:
            raise UsageError(
                f"the model {manifest.name} does not tell the shape of its grid; leave --mirror-average out"
            )
        self.encoder, self.decoder = sessions
        check_graphs(bundle, self.encoder, self.decoder, tokens, numbers)

    @property
    def provider(self) -> str:
        """The execution provider in use: "cpu" or "cuda"."""
        return self.encoder.provider

    @property
    def provider_note(self) -> str | None:
        """Why CUDA is not used, where "auto" chose the CPU."""
        return self.encoder.provider_note

    @property
    def attends(self) -> bool:
        """Whether the decoder says where it looks, on a grid of a known shape."""
        return self._names.attention_grid is not None

    def encode(self, pixels: np.ndarray) -> list[np.ndarray]:
        """What the decoder is told of each image.

        Args:
            pixels: uint8 [N, S, S, 3], N at least 1.
        Returns:
            The encoder's outputs in the manifest's order, context and then state; the first axis of each is N.
        """
        if self.encoder.provider != "cpu" or len(pixels) <= _ENCODED_AT_ONCE:
            return self._encode_at_once(pixels)
        slices = range(0, len(pixels), _ENCODED_AT_ONCE)
        parts = [self._encode_at_once(pixels[begin : begin + _ENCODED_AT_ONCE]) for begin in slices]
        return [np.concatenate(part) for part in zip(*parts, strict=True)]

    def _encode_at_once(self, pixels: np.ndarray) -> list[np.ndarray]:
        outputs = [*self._names.context, *self._names.state]
        encoded = self.encoder.run({"images": pixels}, outputs)
        if not self.mirror_average:
            return encoded
        mirrored = self.encoder.run({"images": np.ascontiguousarray(pixels[:, :, ::-1])}, outputs)
        return [
            (own + (self._mirrored(other) if name in self._names.context else other)) / 2
            for name, own, other in zip(outputs, encoded, mirrored, strict=True)
        ]

    def _mirrored(self, context: np.ndarray) -> np.ndarray:
        """Context float32 [N, places, C] with the places of the grid mirrored."""
        assert self._names.attention_grid is not None
        grid = context.reshape(len(context), *self._names.attention_grid, -1)
        return grid[:, :, ::-1].reshape(context.shape)

    def steps(self, encoded: list[np.ndarray], *, with_attention: bool) -> tuple[StepFunction, State]:
        """The decoder's step function for images, and their first state.

        Args:
            encoded: what `encode` returned.
            with_attention: also give where the model looks; only where it `attends`.
        """
        names = self._names
        count = len(names.context)
        outputs = ["log_probs", *(f"{name}.next" for name in names.state)]
        if with_attention:
            outputs.append("attention")
        context = _Context(self.decoder, dict(zip(names.context, encoded, strict=False)))
        shares = shares_rows(self.decoder)

        def step(tokens: np.ndarray, state: State, parents: np.ndarray, images: np.ndarray) -> StepResult:
            given: dict[str, Feed] = {"tokens": tokens}
            used = parents
            if shares:
                used, given["state_index"] = np.unique(parents, return_inverse=True)
            given |= dict(zip(names.state, (part[used] for part in state), strict=True))
            if count:
                given |= context.feeds(images) if shares else {**context.whole, "image_index": images}
            log_probs, *after = self.decoder.run(given, outputs)
            seen = after.pop() if with_attention else None
            # What a graph does not declare shows only now.
            if log_probs.shape != (len(tokens), self._tokens) or (seen is not None and len(seen) != len(tokens)):
                raise BundleError(
                    f"{self._decoder_path}: the decoder scores {list(log_probs.shape)} for {len(tokens)} "
                    f"sentences of {self._tokens} tokens; export the bundle again"
                )
            return StepResult(log_probs, tuple(after), seen)

        return step, tuple(encoded[count:])


class _Context:
    """What the decoder is told of images, for as long as they have hypotheses.

    Args:
        decoder: that is told.
        arrays: by name, float32 [N, ...] each.
    """

    def __init__(self, decoder: Session, arrays: dict[str, np.ndarray]) -> None:
        self._decoder = decoder
        self._arrays = arrays
        self._images = np.arange(len(next(iter(arrays.values()), ())))
        self.whole: dict[str, Feed] = self._uploaded()

    def feeds(self, images: np.ndarray) -> dict[str, Feed]:
        """The context and the hypotheses of each image.

        Args:
            images: int64 [B], ascending, the image of each hypothesis. Those that are missing have no more of them.
        """
        live, counts = np.unique(images, return_counts=True)
        # Images without a hypothesis cost as much as others, and leaving them out a copy of these.
        if len(live) < _FEWER * len(self._images):
            kept = np.searchsorted(self._images, live)
            self._arrays = {name: array[kept] for name, array in self._arrays.items()}
            self._images, self.whole = live, self._uploaded()
        slots = int(counts.max())
        rows = np.arange(len(images))
        # In the order of the images, each of which has its first row where the one before ends.
        row_slots = np.searchsorted(self._images, images) * slots + rows - np.searchsorted(images, images)
        image_rows = np.zeros(len(self._images) * slots, dtype=np.int64)
        image_rows[row_slots] = rows
        return {**self.whole, "image_rows": image_rows.reshape(-1, slots), "row_slots": row_slots}

    def _uploaded(self) -> dict[str, Feed]:
        return {name: self._decoder.upload(array) for name, array in self._arrays.items()}
