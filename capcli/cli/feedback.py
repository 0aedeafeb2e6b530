"""How a captioning run shows itself to a person: errors, a bar and a summary on a terminal, errors alone elsewhere.

All of it on stderr; stdout belongs to the results. Rich is loaded only where a bar is shown. What became of the inputs
is in the run's report: nothing here decides anything.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from capcli.cli.terminal import on_screen, say
from capcli.messages import shortened
from capcli.run_report import Observer, Report

if TYPE_CHECKING:
    from rich.progress import Progress

_FEW_KINDS = 5


class Feedback(Observer):
    """Tells of failures, and at the end what became of the inputs; all there is off a terminal.

    Args:
        quiet: no errors of single images, and no summary.
        summary: whether there is one line on the whole run at its end.
        left_out: files of folders whose kind cannot be read, counted by suffix until the end of the run.
        done: what the summary calls photos that got their caption.
    """

    def __init__(
        self,
        *,
        quiet: bool = False,
        summary: bool = False,
        left_out: Mapping[str, int] | None = None,
        done: str = "captioned",
    ) -> None:
        self._quiet = quiet
        self._done = done
        self._summary = summary and not quiet
        self._left_out = {} if left_out is None else left_out
        self._started: float | None = None
        self._kept = self._only_kept = 0
        # Of photos that are not looked at, another thread tells.
        self._keeping: set[str] = set()
        self._counting = threading.Lock()

    def opened(self) -> None:
        self._started = time.monotonic()

    def noted(self, message: str) -> None:
        self._tell(message)

    def failed(self, path: str, reason: str) -> None:
        if not self._quiet:
            self._tell(f"{shortened(path)}: {reason}")

    def unsure(self, path: str, reason: str | None) -> None:
        if reason is not None and not self._quiet:
            self._tell(f"{shortened(path)}: {reason}")

    def kept(self, path: str, what: str) -> None:
        """A photo keeps what it had instead of its caption. Told just before what became of the photo as a whole."""
        with self._counting:
            self._kept += 1
            self._keeping.add(path)
        if not self._quiet:
            self._tell(f"{shortened(path)}: {what}")

    def skipped(self, path: str) -> None:
        # Nothing else was written for it: it is one of those left as they were, and of no others.
        with self._counting:
            if path in self._keeping:
                self._keeping.remove(path)
                self._only_kept += 1

    def close(self, report: Report) -> None:
        """Ends what is shown, with the summary if there is one. A run that did not begin has none."""
        if self._summary and self._started is not None:
            skipped = report.skipped - self._only_kept
            line = summary(replace(report, skipped=skipped), self._kept, time.monotonic() - self._started, self._done)
            say(f"{line}; left out {kinds_left_out(self._left_out)}" if self._left_out else line)

    def _tell(self, line: str) -> None:
        say(line)


class BarFeedback(Feedback):
    """A progress bar with rate, time left and failures so far; errors scroll above it.

    Args:
        count: counts the inputs; None where nobody knows how many there are.
        left_out, done: as `Feedback`.
    """

    def __init__(
        self, count: Callable[[], int | None], left_out: Mapping[str, int] | None = None, done: str = "captioned"
    ) -> None:
        super().__init__(summary=True, left_out=left_out, done=done)
        self._count_inputs = count
        self._skipped = self._captioned = self._failed = self._unsure = 0
        self._bar = _bar()
        self._task = self._bar.add_task("", total=None)

    def opened(self) -> None:
        super().opened()
        self._bar.start()

    def loaded(self) -> None:
        # Walking a large photo library takes a while; the first captions need not wait for it.
        count = self._count_inputs
        threading.Thread(target=lambda: self._bar.update(self._task, total=count()), daemon=True).start()

    def skipped(self, path: str) -> None:
        super().skipped(path)
        self._skipped += 1
        self._show()

    def captioned(self, path: str) -> None:
        self._captioned += 1
        self._show()

    def failed(self, path: str, reason: str) -> None:
        self._failed += 1
        self._show()
        super().failed(path, reason)

    def unsure(self, path: str, reason: str | None) -> None:
        self._unsure += 1
        self._show()
        super().unsure(path, reason)

    def close(self, report: Report) -> None:
        self._bar.stop()
        super().close(report)

    def _show(self) -> None:
        done = self._captioned + self._failed + self._unsure
        rate = done / max(1e-3, time.monotonic() - (self._started or 0.0))
        text = f"{rate:.1f} images/s" + (f", {self._failed} failed" if self._failed else "")
        self._bar.update(self._task, completed=done + self._skipped, description=text)

    def _tell(self, line: str) -> None:
        self._bar.console.print(on_screen(f"capcli: {line}"), markup=False, highlight=False, soft_wrap=True)


def feedback_for(
    *,
    quiet: bool,
    progress: bool,
    alone: bool,
    to_stdout: bool,
    count: Callable[[], int | None],
    left_out: Mapping[str, int],
    done: str = "captioned",
) -> Feedback:
    """What suits this run and this terminal.

    Args:
        quiet: as `Feedback`.
        progress: False where the user wants no bar.
        alone: one photo was named; its sentence says it all.
        to_stdout: results go to standard output; on a terminal they are progress enough.
        count: as `BarFeedback`.
        left_out, done: as `Feedback`.
    """
    on_terminal = sys.stderr.isatty() and not alone
    if on_terminal and progress and not quiet and not (to_stdout and sys.stdout.isatty()):
        return BarFeedback(count, left_out, done)
    return Feedback(quiet=quiet, summary=on_terminal, left_out=left_out, done=done)


def summary(report: Report, kept: int, seconds: float, done: str = "captioned") -> str:
    """One line on a whole run.

    Args:
        report: what became of the inputs.
        kept: photos that kept a sidecar or a description that they had.
        seconds: how long it took.
        done: what photos are that got their caption.
    """
    parts = [f"{report.captioned} {done}"]
    parts += [f"{kept} left as {'it was' if kept == 1 else 'they were'}"] if kept else []
    parts += [f"{report.unsure} unsure"] if report.unsure else []
    parts += [f"{report.skipped} skipped"] if report.skipped else []
    parts += [f"{report.failed} failed"] if report.failed else []
    rate = (report.captioned + report.failed + report.unsure) / max(1e-3, seconds)
    return f"{', '.join(parts)} in {seconds:.1f} s ({rate:.1f} images/s)"


def kinds_left_out(left_out: Mapping[str, int]) -> str:
    """How many files of which kinds were left out, the most frequent kinds first.

    Args:
        left_out: their number by suffix; not empty.
    """
    files = sum(left_out.values())
    kinds = sorted(left_out, key=lambda suffix: (-left_out[suffix], suffix))
    what = "of a kind that is not read" if len(kinds) == 1 else "of kinds that are not read"
    more = " ..." if len(kinds) > _FEW_KINDS else ""
    return f"{files} {'file' if files == 1 else 'files'} {what}: {', '.join(kinds[:_FEW_KINDS])}{more}"


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
