"""What a captioning run would do: which inputs it would read, and which files it would write. Does none of it.

Knows nothing of models or terminals.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from capcli.inputs.paths import InputItem
from capcli.outputs.destinations import Destination
from capcli.outputs.earlier_file import EarlierFile


@dataclass(frozen=True)
class PlannedInput:
    """What would become of one input.

    `places`: the files that would get its captions, none where all have them. `captioned`: an earlier run has left
    them, so that it would not be read. `error`: why it cannot be.
    """

    path: str
    places: tuple[str, ...]
    captioned: bool = False
    error: str | None = None


def plan(
    items: Iterable[InputItem],
    *,
    rows: str | None,
    earlier: EarlierFile | None,
    photos: Sequence[Destination],
    limit: int | None = None,
) -> Iterator[PlannedInput]:
    """What a run would do with its inputs, in their order, as a `CaptioningRun` does it.

    Args:
        items: the inputs.
        rows: where every input gets its rows; None where only photos get their captions.
        earlier: the file that these rows go to, as it is; None where they go elsewhere.
        photos: places that belong to the photos.
        limit: as many inputs are captioned at most; the plan ends with the last of them.
    """
    left = limit
    for item in items:
        if item.finished:
            continue
        # All are asked: each learns from it which photo has what.
        wanting = [photo.place_of(item.path) for photo in photos if item.is_file and photo.wants(item.path)]
        lacks_rows = rows is not None and (earlier is None or earlier.claim(item.path))
        captioned = rows is not None and not lacks_rows and earlier is not None and earlier.has_captions(item.path)
        if lacks_rows and rows is not None:
            wanting.append(rows)
        elif rows is not None and not captioned:
            # A failure of an earlier run that is kept has nothing to give to a photo.
            wanting = []
        yield PlannedInput(item.path, tuple(wanting), captioned, item.error)
        if left is not None and wanting and not captioned and item.error is None:
            left -= 1
            if left == 0:
                return
