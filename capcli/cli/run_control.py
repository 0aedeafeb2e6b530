"""What commands that write captions have alike besides their options: the numbers that they take, how they are stopped,
and what they end with.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Protocol

from capcli.cli.terminal import say
from capcli.errors import UsageError
from capcli.messages import shortened
from capcli.settings import LARGEST_BATCH, LONGEST_CAPTION, MOST_HYPOTHESES, MOST_THREADS

if TYPE_CHECKING:
    from capcli.inputs.ages import Newer

FAILED, INTERRUPTED = 1, 130
_MOST = {
    "beam": MOST_HYPOTHESES,
    "captions": MOST_HYPOTHESES,
    "max_length": LONGEST_CAPTION,
    "batch_size": LARGEST_BATCH,
    "workers": MOST_THREADS,
    "threads": MOST_THREADS,
}


class Stoppable(Protocol):
    """A run that can be asked to end early; tells whether it has something to finish."""

    def stop(self) -> bool: ...


@contextmanager
def interrupt_stops(run: Stoppable) -> Iterator[None]:
    """The first Ctrl-C finishes what is on its way; the next one, or one with nothing on its way, ends at once."""
    before = signal.getsignal(signal.SIGINT)

    def stop(number: int, frame: FrameType | None) -> None:
        if run.stop():
            return
        if callable(before):
            before(number, frame)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def check_confidence(least: float | None) -> None:
    """Refuses a least confidence that is none.

    Raises:
        UsageError: it is not from 0 to 1.
    """
    if least is not None and not 0 <= least <= 1:
        raise UsageError(f"--min-confidence is {least:g}; it must be from 0 to 1")


def check_counts(**counts: int | None) -> None:
    """Refuses numbers that cannot be meant, before anything is loaded.

    Args:
        counts: by the names of their options; None where one was not given.
    Raises:
        UsageError: one is below 1, or above its limit.
    """
    for name, value in counts.items():
        option, most = name.replace("_", "-"), _MOST.get(name)
        if value is not None and value < 1:
            raise UsageError(f"--{option} is {value}; it must be at least 1")
        if value is not None and most is not None and value > most:
            raise UsageError(f"--{option} is {value}; it must be at most {most}")


def nothing_found(inputs: Sequence[str], left_out: Mapping[str, int], newer: Newer | None) -> int:
    """What a run without any input ends with: nothing is wrong where all photos are just older than asked for.

    Raises:
        UsageError: there was no photo.
    """
    if newer is not None and newer.older:
        say(newer.nothing_new())
        return 0
    from capcli.cli.feedback import kinds_left_out

    unread = f" ({kinds_left_out(left_out)})" if left_out else ""
    raise UsageError(f"no image found in {', '.join(map(shortened, inputs))}{unread}")
