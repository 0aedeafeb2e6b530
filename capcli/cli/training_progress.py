"""How a training run shows itself: a bar on a terminal, lines elsewhere. On stderr, always."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from capcli.cli.terminal import on_screen, say
from capcli.training.progress import EpochResult, TrainingListener, TrainingProgress


class ShownRun(TrainingListener):
    """A run that shows itself while the `with` lasts; this one shows nothing."""

    def __enter__(self) -> ShownRun:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class LineListener(ShownRun):
    """A line every half minute and one an epoch."""

    def __init__(self, every_s: float = 30.0) -> None:
        self._every_s = every_s
        self._last = time.monotonic()

    def note(self, line: str) -> None:
        say(line)

    def encoding(self, done: int, total: int) -> None:
        if self._due():
            say(f"encoding images: {done} of {total}")

    def progress(self, progress: TrainingProgress) -> None:
        if self._due():
            say(
                f"epoch {progress.epoch}/{progress.epochs}, update {progress.update}/{progress.updates}: "
                f"{means(progress.loss, progress.reward)}, rate {progress.rate:.1e}, "
                f"{_duration(progress.seconds_left)} left"
            )

    def validating(self, done: int, total: int) -> None:
        if self._due():
            say(f"captioning validation images: {done} of {total}")

    def epoch(self, result: EpochResult) -> None:
        say(epoch_line(result))

    def _due(self) -> bool:
        now = time.monotonic()
        if now - self._last < self._every_s:
            return False
        self._last = now
        return True


class BarListener(ShownRun):
    """A progress bar that stays in place, with a line above it for each epoch.

    Args:
        console: where it is shown; stderr, unless told otherwise.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console or Console(stderr=True),
            transient=True,
        )
        self._task: TaskID | None = None
        self._name = ""

    def __enter__(self) -> ShownRun:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Whatever ended the run, the terminal gets its cursor back.
        self._bar.stop()

    def note(self, line: str) -> None:
        self._bar.console.print(on_screen(line), markup=False, highlight=False)

    def encoding(self, done: int, total: int) -> None:
        self._show("encoding images", done, total)

    def progress(self, progress: TrainingProgress) -> None:
        known = means(progress.loss, progress.reward)
        text = f"epoch {progress.epoch}/{progress.epochs}  {known}  rate {progress.rate:.1e}"
        self._show("training", progress.update, progress.updates, text)

    def validating(self, done: int, total: int) -> None:
        self._show("captioning validation images", done, total)

    def epoch(self, result: EpochResult) -> None:
        self._bar.console.print(epoch_line(result), markup=False, highlight=False)

    def _show(self, name: str, done: int, total: int, text: str | None = None) -> None:
        if self._task is None or self._name != name:
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task, self._name = self._bar.add_task(text or name, total=total), name
        self._bar.update(self._task, completed=done, total=total, description=text or name)


def epoch_line(result: EpochResult) -> str:
    """One line on a finished epoch."""
    line = f"epoch {result.epoch}: {means(result.loss, result.reward)}"
    if result.mean_cider is not None:
        each = " and ".join(f"{score:.1f}" for score in result.cider)
        line += f", validation CIDEr (plain tokeniser) {each}"
        if len(result.cider) > 1:
            line += f", mean {result.mean_cider:.1f}"
        line += "" if result.val_loss is None else f", loss {result.val_loss:.3f}"
        line += ", best so far" if result.best else ""
    return f"{line}; {_duration(result.seconds)} so far"


def means(loss: float | None, reward: float | None) -> str:
    """What is known of an epoch's mean loss and reward."""
    known = [] if loss is None else [f"loss {loss:.3f}"]
    return ", ".join([*known, *([] if reward is None else [f"reward {reward:.1f}"])])


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
