"""How a captioning run shows itself to a person: errors, a bar and a summary on a terminal, errors alone elsewhere.

All of it on stderr; stdout belongs to the results. Rich is loaded only where a bar is shown.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from capcli.cli.terminal import one_line, say

if TYPE_CHECKING:
    from rich.progress import Progress


@dataclass
class Counts:
    """What became of the inputs so far."""

    captioned: int = 0
    skipped: int = 0
    failed: int = 0

    @property
    def all(self) -> int:
        return self.captioned + self.skipped + self.failed


class Feedback:
    """Counts results and tells of failures; the quiet half of it is all there is off a terminal.

    Args:
        quiet: no errors of single images, and no summary.
        summary: say at the end what became of the inputs.
    """

    def __init__(self, *, quiet: bool = False, summary: bool = False) -> None:
        self.counts = Counts()
        self._quiet = quiet
        self._summary = summary and not quiet
        self._lock = threading.Lock()
        self._started = time.monotonic()

    def captioned(self) -> None:
        self._count("captioned")

    def skipped(self) -> None:
        """An input needed nothing. May be told by another thread than results are."""
        self._count("skipped")

    def failed(self, path: str, reason: str) -> None:
        self._count("failed")
        if not self._quiet:
            self._tell(f"{path}: {reason}")

    def count_inputs(self, count: Callable[[], int | None]) -> None:
        """Learns how many inputs there are, where somebody wants to know."""

    def close(self) -> None:
        """Ends what is shown, with the summary if there is one."""
        if self._summary:
            say(summary(self.counts, time.monotonic() - self._started))
            self._summary = False

    def _count(self, what: str) -> None:
        with self._lock:
            setattr(self.counts, what, getattr(self.counts, what) + 1)

    def _tell(self, line: str) -> None:
        say(line)


class BarFeedback(Feedback):
    """A progress bar with rate, time left and failures so far; errors scroll above it."""

    def __init__(self) -> None:
        super().__init__(summary=True)
        self._bar = _bar()
        self._task = self._bar.add_task("", total=None)
        self._bar.start()

    def count_inputs(self, count: Callable[[], int | None]) -> None:
        # Walking a large photo library takes a while; the first captions need not wait for it.
        threading.Thread(target=lambda: self._bar.update(self._task, total=count()), daemon=True).start()

    def close(self) -> None:
        self._bar.stop()
        super().close()

    def _count(self, what: str) -> None:
        super()._count(what)
        done = self.counts.captioned + self.counts.failed
        rate = done / max(1e-3, time.monotonic() - self._started)
        text = f"{rate:.1f} images/s" + (f", {self.counts.failed} failed" if self.counts.failed else "")
        self._bar.update(self._task, completed=self.counts.all, description=text)

    def _tell(self, line: str) -> None:
        shown = f"capcli: {one_line(line)}".encode("utf-8", "backslashreplace").decode("utf-8")
        self._bar.console.print(shown, markup=False, highlight=False, soft_wrap=True)


def feedback_for(*, quiet: bool, progress: bool, alone: bool, to_stdout: bool) -> Feedback:
    """What suits this run and this terminal.

    Args:
        quiet: as `Feedback`.
        progress: False where the user wants no bar.
        alone: one photo was named; its sentence says it all.
        to_stdout: results go to standard output; on a terminal they are progress enough.
    """
    on_terminal = sys.stderr.isatty() and not alone
    if on_terminal and progress and not quiet and not (to_stdout and sys.stdout.isatty()):
        return BarFeedback()
    return Feedback(quiet=quiet, summary=on_terminal)


def summary(counts: Counts, seconds: float) -> str:
    """One line on a whole run."""
    parts = [f"{counts.captioned} captioned"]
    parts += [f"{counts.skipped} skipped"] if counts.skipped else []
    parts += [f"{counts.failed} failed"] if counts.failed else []
    rate = (counts.captioned + counts.failed) / max(1e-3, seconds)
    return f"{', '.join(parts)} in {seconds:.1f} s ({rate:.1f} images/s)"


def _bar() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        refresh_per_second=4,
        transient=True,
    )
