"""What commands that write captions have alike besides their options: how they are stopped, and what they end with."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from capcli.errors import UsageError

FAILED, INTERRUPTED = 1, 130


class Stoppable(Protocol):
    """A run that can be asked to end early; tells whether it has something to finish."""

    def stop(self) -> bool: ...


@contextmanager
def interrupt_stops(run: Stoppable) -> Iterator[None]:
    """The first Ctrl-C finishes what is on its way; the next one, or one with nothing on its way, ends at once."""

    def stop(number: int, frame: object) -> None:
        if not run.stop():
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, stop)
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
