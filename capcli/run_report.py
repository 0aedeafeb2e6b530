"""What became of the inputs of a run, whether it captions photos or only writes their captions: counted and told.

Knows nothing of where captions come from, of terminals or exit codes.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass

from capcli.outputs.outcomes import Outcome


@dataclass(frozen=True)
class Report:
    """What became of the inputs.

    `captioned`: they have captions in every destination now. `skipped`: they had them before. `failed`: they could not
    be read, or a destination could not be written. `unsure`: they were held back from photos and from text for their
    confidence. `kept_failures`: they failed in an earlier run that this one goes on
    with, and were not tried again. `stopped`: `stop` was called. `found_any`: there was an input.
    """

    captioned: int = 0
    skipped: int = 0
    failed: int = 0
    unsure: int = 0
    kept_failures: int = 0
    stopped: bool = False
    found_any: bool = False


class Observer:
    """Watches a run. This one is silent; others override what they tell of.

    One method is called at a time, but `skipped` in another thread than the rest.
    """

    def opened(self) -> None:
        """There are inputs, and all destinations are open."""

    def loaded(self) -> None:
        """Something is left to do, and the model is loaded."""

    def noted(self, message: str) -> None:
        """One line that the user should know."""

    def skipped(self, path: str) -> None: ...

    def captioned(self, path: str) -> None: ...

    def failed(self, path: str, reason: str) -> None: ...

    def unsure(self, path: str, reason: str | None) -> None:
        """A caption was held back; with a reason where no row tells it."""


class Tally:
    """Counts what becomes of inputs and tells an observer of each; threads may take turns.

    Args:
        observer: told of each input as soon as it is counted.
    """

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._captioned = self._skipped = self._failed = self._unsure = 0
        self._telling = threading.Lock()

    def count(self, path: str, outcome: Outcome) -> None:
        """Counts what its destinations did with the captions of a path."""
        with self._telling:
            if outcome.failed:
                self._failed += 1
                self._observer.failed(path, outcome.reason or "")
            elif outcome.unsure:
                self._unsure += 1
                self._observer.unsure(path, outcome.reason)
            elif outcome.written:
                self._captioned += 1
                self._observer.captioned(path)
            else:
                self._skipped += 1
                self._observer.skipped(path)

    def skip(self, path: str) -> None:
        """Counts a path that needs nothing."""
        self.count(path, Outcome(False))

    def tell(self, notes: Iterable[str]) -> None:
        """Tells the user something."""
        with self._telling:
            for note in notes:
                self._observer.noted(note)

    def report(self, *, kept_failures: int, stopped: bool, found_any: bool) -> Report:
        """What has become of the inputs so far; arguments as in `Report`."""
        return Report(self._captioned, self._skipped, self._failed, self._unsure, kept_failures, stopped, found_any)
