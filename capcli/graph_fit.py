"""Whether a bundle's two graphs fit its manifest and each other: the tensors that they take and give.

What a graph leaves open (a size that it does not declare) is checked when it is used. Runs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from capcli.bundle.bundle import MATCHING, Bundle
from capcli.bundle.matching import CONTEXT
from capcli.errors import BundleError
from capcli.runtime.sessions import Session, TensorSpec

_MEND = "export the bundle again"


def check_graphs(bundle: Bundle, encoder: Session, decoder: Session, tokens: int, numbers: int | None = None) -> None:
    """Checks names, types and shapes.

    Args:
        bundle: whose manifest names the tensors.
        encoder, decoder: its graphs, loaded.
        tokens: size of its vocabulary.
        numbers: how many of a picture its matching score takes; None where it has none.
    Raises:
        BundleError: something does not fit; the message names the graph and the tensor.
    """
    names, size = bundle.manifest.graph, bundle.manifest.input_size
    encoded = [*names.context, *names.state]
    # Each of the inputs that say which rows belong to whom, by its number of axes.
    index = {"tokens": 1}
    if shares_rows(decoder):
        index |= {"state_index": 1} | ({"image_rows": 2, "row_slots": 1} if names.context else {})
    elif names.context:
        index["image_index"] = 1
    step_inputs = {*index, *encoded}
    step_outputs = {"log_probs", *(f"{name}.next" for name in names.state)}
    places = None
    if names.attention_grid is not None:
        step_outputs.add("attention")
        places = names.attention_grid[0] * names.attention_grid[1]
    first, step = _Graph(bundle.path("encoder"), "encoder", encoder), _Graph(bundle.path("decoder"), "decoder", decoder)
    first.check_names({"images"}, set(encoded))
    step.check_names(step_inputs, step_outputs)

    first.check("images", first.inputs, ("uint8",), (None, size, size, 3))
    for name, axes in index.items():
        step.check(name, step.inputs, ("int64",), (None,) * axes)
    for name in encoded:
        first.check(name, first.outputs, _FLOATS, None)
        given = first.outputs[name]
        step.check(name, step.inputs, (given.dtype,), given.shape or None)
    for name in names.state:
        given = first.outputs[name]
        step.check(f"{name}.next", step.outputs, (given.dtype,), given.shape or None)
    if places is not None:
        step.check("attention", step.outputs, _FLOATS, (None, places))
    words = step.outputs["log_probs"].shape[-1:]
    if words and words[0] not in (None, tokens):
        raise BundleError(f"{step.path}: the decoder scores {words[0]} tokens but the tokenizer has {tokens}; {_MEND}")
    step.check("log_probs", step.outputs, _FLOATS, (None, tokens))
    if numbers is not None:
        _check_matching(bundle, first, numbers)


def shares_rows(decoder: Session) -> bool:
    """Whether a decoder is told which hypotheses share a row of the state or an image; an older one is not."""
    return any(spec.name == "state_index" for spec in decoder.inputs)


def _check_matching(bundle: Bundle, encoder: _Graph, numbers: int) -> None:
    """The encoder must give what the matching score reads: mean and maximum of each channel."""
    file = bundle.path(MATCHING)
    if CONTEXT not in bundle.manifest.graph.context:
        raise BundleError(f"{file}: the matching score reads {CONTEXT!r}, which the encoder does not give")
    shape = encoder.outputs[CONTEXT].shape
    if len(shape) != 3 or shape[2] is None or 2 * shape[2] != numbers:
        raise BundleError(
            f"{file}: the matching score takes {numbers} numbers of a picture, two of a channel, but the encoder "
            f"gives {CONTEXT!r} of the shape {list(shape)}"
        )


_FLOATS = ("float32", "float16", "float64")


class _Graph:
    """One of the two, and what it declares."""

    def __init__(self, path: Path, role: str, session: Session) -> None:
        self.path = path
        self.inputs = {spec.name: spec for spec in session.inputs}
        self.outputs = {spec.name: spec for spec in session.outputs}
        self._role = role

    def check_names(self, inputs: set[str], outputs: set[str]) -> None:
        given_in, given_out = set(self.inputs), set(self.outputs)
        if given_in != inputs:
            raise BundleError(
                f"{self.path}: the {self._role}'s inputs are {sorted(given_in)}, expected {sorted(inputs)}; {_MEND}"
            )
        if not outputs <= given_out:
            raise BundleError(f"{self.path}: the {self._role} does not give {sorted(outputs - given_out)}; {_MEND}")

    def check(
        self, name: str, specs: dict[str, TensorSpec], dtypes: Sequence[str], shape: tuple[int | None, ...] | None
    ) -> None:
        """A tensor's type and shape; None is any, but for the first axis, which has to be free for any batch."""
        spec = specs[name]
        given = spec.shape
        fits = spec.dtype in dtypes and (not given or given[0] is None)
        if fits and given and shape is not None:
            fits = len(given) == len(shape) and all(
                None in pair or pair[0] == pair[1] for pair in zip(given[1:], shape[1:], strict=True)
            )
        if not fits:
            wanted = f"{' or '.join(map(str, dtypes))} {_shown(shape or (None, '...'))}"
            raise BundleError(
                f"{self.path}: the {self._role}'s {name} is {spec.dtype} {_shown(given)}, expected {wanted}; {_MEND}"
            )


def _shown(shape: Sequence[int | str | None]) -> str:
    return f"[{', '.join('N' if size is None and not place else str(size or '?') for place, size in enumerate(shape))}]"
