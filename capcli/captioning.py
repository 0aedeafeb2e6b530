"""One captioning run: inputs -> captions in all destinations, and a report of what became of them.

The command line, Python programs and whatever spreads a run over machines use it alike. The model comes as a function
that loads it, called only when captions are lacking; the destinations know what is done already; an observer
watches. Knows nothing of terminals, signals, exit codes or standard output.

    run = CaptioningRun(Captioner, CaptionSettings(beam=3), Destinations(photos=[Sidecars(".txt")]))
    report = run.run(InputItem(path) for path in paths)
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from capcli.caption_settings import CaptionSettings, confidence_of
from capcli.errors import ImageError
from capcli.inputs.paths import InputItem
from capcli.outputs.destinations import Destinations
from capcli.outputs.outcomes import Outcome
from capcli.outputs.provenance import Provenance
from capcli.outputs.rows import Row
from capcli.pipeline import Pipeline, PipelineInput, PipelineSettings, Result
from capcli.run_report import Observer, Report, Tally

if TYPE_CHECKING:
    from capcli.bundle.bundle import Bundle
    from capcli.captioner import Caption, Captioner
    from capcli.decoding.search import SearchSettings
    from capcli.inputs.loaders import Loaders

_Thing = TypeVar("_Thing")


@dataclass(frozen=True)
class _Task:
    """An input that is not done; `captioned` if rows of an earlier run hold its captions."""

    item: InputItem
    captioned: bool

    @property
    def needs_model(self) -> bool:
        return not self.captioned and self.item.error is None


class CaptioningRun:
    """Captions inputs and delivers the captions; made for one run.

    Args:
        load: loads the model.
        settings: what captions are asked for.
        destinations: where they go; opened and closed by the run.
        speed: how much is done at once.
        observer: told of each input as soon as its captions are delivered.
        limit: as many inputs are captioned at most, those included that turn out to be unreadable; what is done, and
            what an earlier run has captioned, does not count. None for no limit.
    """

    def __init__(
        self,
        load: Callable[[], Captioner],
        settings: CaptionSettings,
        destinations: Destinations,
        speed: PipelineSettings | None = None,
        observer: Observer | None = None,
        limit: int | None = None,
        loaders: Loaders | None = None,
    ) -> None:
        self._load = load
        self._loaders = loaders
        self._limit = limit
        self._settings = settings
        self._destinations = destinations
        self._speed = speed or PipelineSettings()
        self._observer = observer or Observer()
        self._tally = Tally(self._observer)
        self._found_any = False
        self._stopped = False
        self._delivering = False
        self._pipeline: Pipeline[Caption] | None = None

    def run(self, items: Iterable[InputItem]) -> Report:
        """Captions what is left to do, and returns when all of it is delivered.

        Without any input nothing is opened, written or loaded.

        Args:
            items: the inputs, taken as they are needed, in another thread.
        Raises:
            UsageError: a destination refuses to be written, a setting is out of range, or captions have no confidence
                and one is asked for.
            OutputError: the rows cannot be written. What was delivered before stays.
            BundleError, ProviderError: the model cannot be loaded.
            CapcliError: no process to read images in can be started.
        """
        first, items = _peek(items)
        if first is None:
            return self.report
        self._found_any = True
        with self._destinations.opened():
            self._observer.opened()
            self._tally.tell(self._destinations.news())
            tasks = self._tasks(items)
            lacking = self._first_for_the_model(tasks)
            if lacking is not None:
                self._caption(itertools.chain([lacking], tasks))
            self._tally.tell(self._destinations.news() + self._destinations.closing_news())
        return self.report

    def stop(self) -> bool:
        """Takes no further input; what is on its way is finished. May be called from a signal handler.

        Returns:
            Whether something is on its way: False before the first delivery, after the last, and after the first call.
        """
        finishing = (self._delivering or self._pipeline is not None) and not self._stopped
        self._stopped = True
        if self._pipeline is not None:
            self._pipeline.stop()
        return finishing

    @property
    def report(self) -> Report:
        """What has become of the inputs so far."""
        return self._tally.report(
            kept_failures=self._destinations.kept_failures, stopped=self._stopped, found_any=self._found_any
        )

    def _tasks(self, items: Iterable[InputItem]) -> Iterator[_Task]:
        """The inputs that a destination still wants."""
        left = self._limit
        for item in items:
            if self._stopped:
                return
            if item.finished:
                self._destinations.recovered(item.path)
            elif self._destinations.wants(item.path, is_file=item.is_file):
                task = _Task(item, captioned=self._destinations.has_captions(item.path))
                yield task
                if left is not None and task.needs_model:
                    left -= 1
                    # Now, and not once there is a next input: who types paths may wait for the end.
                    if left == 0:
                        return
            else:
                self._tally.skip(item.path)

    def _first_for_the_model(self, tasks: Iterator[_Task]) -> _Task | None:
        """Delivers what has its captions, up to the first task that has none; None if there is no such."""
        self._delivering = True
        try:
            for task in tasks:
                if not task.captioned:
                    return task
                self._count(task.item.path, self._destinations.deliver_again(task.item.path))
        finally:
            self._delivering = False
        return None

    def _caption(self, tasks: Iterable[_Task]) -> None:
        # The first process starts while the model is loaded.
        with self._loaders or nullcontext():
            self._caption_all(tasks)

    def _caption_all(self, tasks: Iterable[_Task]) -> None:
        wanted = self._settings
        captioner = self._load()
        search = wanted.search(captioner.bundle)
        if self._destinations.min_confidence is not None:
            wanted.check_confidence(captioner.bundle)
        no_confidence = wanted.why_no_confidence(captioner.bundle)
        if no_confidence is not None and self._destinations.tells_confidence and confidence_of(captioner.bundle):
            self._tally.tell([f"the rows have no confidence: {no_confidence}"])
        self._tally.tell(self._destinations.begin(provenance_of(captioner.bundle, search, wanted)))
        self._observer.loaded()
        self._pipeline = captioner.pipeline(search, self._speed, details=wanted.words, loaders=self._loaders)
        if self._stopped:
            self._pipeline.stop()
        try:
            with closing(self._pipeline.run(map(_pipeline_input, tasks))) as results:
                for result in results:
                    self._deliver(result)
        finally:
            self._pipeline = None

    def _deliver(self, result: Result[_Task, Caption]) -> None:
        path = result.source.item.path
        if result.source.captioned:
            self._count(path, self._destinations.deliver_again(path))
        else:
            self._count(path, self._destinations.deliver(rows_of(path, result, self._settings)))

    def _count(self, path: str, outcome: Outcome) -> None:
        self._tally.count(path, outcome)
        self._tally.tell(self._destinations.news())


def rows_of(path: str, result: Result[Any, Caption], settings: CaptionSettings) -> list[Row]:
    """What an output says of one input: a row for each of its captions, or one with its error."""
    if not result.captions:
        return [Row(path, None, None, result.error)]
    ranked, raw = settings.captions > 1, settings.raw
    return [
        Row(
            path,
            found.raw if raw else found.text,
            found.score,
            result.error,
            rank if ranked else None,
            found.confidence,
            words=tuple((word.text, word.log_prob) for word in found.words or ()) if settings.words else None,
        )
        for rank, found in enumerate(result.captions, start=1)
    ]


def provenance_of(bundle: Bundle, search: SearchSettings, settings: CaptionSettings) -> Provenance:
    """What makes the captions of a run."""
    return Provenance(
        model=bundle.manifest.name,
        weights=bundle.says,
        beam=search.beam,
        max_length=search.max_length,
        length_penalty=search.length_penalty,
        captions=search.captions,
        raw=settings.raw,
        mirror_average=settings.mirror_average,
    )


def _peek(things: Iterable[_Thing]) -> tuple[_Thing | None, Iterable[_Thing]]:
    """The first of several things, None if there is none; and all of them."""
    things = iter(things)
    first = next(things, None)
    return first, things if first is None else itertools.chain([first], things)


def _pipeline_input(task: _Task) -> PipelineInput[_Task]:
    item = task.item
    # What has its captions goes through unread, so that all are delivered in the order of the inputs.
    error = "is captioned already" if task.captioned else item.error
    if error is not None or not callable(item.content):
        return PipelineInput(task, item.path if item.content is None else item.content, error)
    # Here, where inputs are taken one after the other: the members of a tar share one file.
    try:
        return PipelineInput(task, item.content())
    except ImageError as problem:
        return PipelineInput(task, None, str(problem))
