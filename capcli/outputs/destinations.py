"""Where the captions of a run go: the parts that all destinations have in common, and how they are joined.

What is delivered is rows, all of one path: its captions, best first, or one row with the reason why there is none.
Each destination knows by itself which paths it already has captions for; an input is done when all have it. What only
lacks what rows of an earlier run hold is delivered from there. Knows nothing of models or terminals.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from capcli.errors import OutputError
from capcli.outputs.outcomes import Outcome, failures, kept_texts, note_of, outcome_of
from capcli.outputs.replaced import UNFINISHED, replaced_in
from capcli.outputs.rows import Row
from capcli.outputs.unsure import tells_unsure, why_unsure
from capcli.settings import number_between

if TYPE_CHECKING:
    from capcli.outputs.provenance import Provenance


class Destination(ABC):
    """One place that captions go to.

    A run opens it, asks it about each path (possibly in another thread), and gives it rows.
    """

    def opened(self) -> AbstractContextManager[object]:
        """A context in which captions may be put; most places need none.

        Where it ends with an error, what was put stays, and what was only prepared goes.

        Raises:
            UsageError, OutputError: captions cannot go here; or, at its end, what is missing yet cannot be written.
        """
        return nullcontext()

    @abstractmethod
    def wants(self, path: str) -> bool:
        """Whether a path still needs captions here. Asked once for each input, before it is looked at."""

    def has_captions(self, path: str) -> bool:
        """Whether captions of a path, from an earlier run, can be read back here."""
        return False

    def captions_of(self, path: str) -> Sequence[Row]:
        """A path's rows of an earlier run, best first.

        Raises:
            OutputError: they cannot be read any more.
        """
        return []

    def place_of(self, path: str) -> str:
        """The file that captions of a path go to: here the photo's own."""
        return path

    def news(self) -> list[str]:
        """Lines for the user about what has come up since this was asked last."""
        return []

    def begin(self, provenance: Provenance) -> str | None:
        """Learns what makes the captions, before the first of them comes.

        Returns:
            A line for the user, where captions of an earlier run were made differently.
        """
        return None

    def recovered(self, path: str) -> None:  # noqa: B027, most places hold no failures
        """Learns that a failure of an earlier run is over, and that no rows come in its place."""

    def keeps(self, path: str) -> str | None:
        """What a place keeps for a path that it does not want, where that is news to the user."""
        return None

    @property
    def columns(self) -> Sequence[str]:
        """What its rows tell, where it has rows."""
        return ()

    @abstractmethod
    def put(self, rows: Sequence[Row]) -> Outcome:
        """Takes all rows of one path.

        Raises:
            OutputError: they cannot be written.
        """

    def put_first(self, rows: Sequence[Row]) -> None:  # noqa: B027, most places need no such care
        """Takes rows of one path before a photo is changed, for whatever keeps `put` from being reached.

        Raises:
            OutputError: they cannot be written; nothing must be changed then.
        """

    def tell_before_replacing(self, told: Callable[[Sequence[Row], Outcome], object]) -> None:  # noqa: B027, as above
        """Learns whom to tell what is about to be replaced, and by which rows: where a crash would lose it."""

    @property
    def kept_failures(self) -> int:
        """Paths that failed in an earlier run and that this one does not try again."""
        return 0


class Destinations:
    """All destinations of a run, as one.

    Args:
        rows: where every input gets its rows, failed ones too: a file or standard output. None where only photos get
            their captions.
        photos: places that belong to the photos: sidecars, metadata. They get captions, not failures.
        kept: told of each photo that keeps something it had instead of its caption: its path, and what. Without it,
            one line at the end of the run says so.
        min_confidence: captions of a lower one, or of none, are kept from the photos, and from rows of text; other rows
            note it. What a person has approved is kept from none.
        rows_report: the rows only tell what became of the photos. Where rows are a place for captions, one that has
            its row is captioned.
    Raises:
        UsageError: `min_confidence` is not from 0 to 1.
    """

    def __init__(
        self,
        rows: Destination | None = None,
        photos: Sequence[Destination] = (),
        kept: Callable[[str, str], object] | None = None,
        min_confidence: float | None = None,
        *,
        rows_report: bool = False,
    ) -> None:
        if min_confidence is not None:
            min_confidence = number_between("min confidence", min_confidence, 0, 1)
        self._rows = rows
        self._photos = tuple(photos)
        self._tell_kept = kept
        self._rows_report = rows_report
        self._all = (*self._photos, *([] if rows is None else [rows]))
        self.min_confidence = min_confidence
        self._kept = 0
        self._first_kept = ""
        # Of the path that is being delivered.
        self._replacing: list[Outcome] = []
        self._rows_error: OutputError | None = None
        for photo in self._photos:
            photo.tell_before_replacing(self._put_first)

    @property
    def tells_confidence(self) -> bool:
        """Whether rows say how sure the model is."""
        return self._rows is not None and "confidence" in self._rows.columns

    @contextmanager
    def opened(self) -> Iterator[None]:
        """A context in which all are open."""
        with ExitStack() as stack:
            for each in self._all:
                stack.enter_context(each.opened())
            yield

    def wants(self, path: str, *, is_file: bool = True) -> bool:
        """Whether an input still lacks its captions somewhere. Asked in the order of the inputs.

        Args:
            path: of the input.
            is_file: False for image bytes without a file, and for folders that cannot be read: no photo destination
                can have them already.
        """
        rows = self._rows
        if rows is None:
            if not is_file or self._photos_want(path):
                return True
            self._note_kept(path, [what for photo in self._photos if (what := photo.keeps(path)) is not None])
            return False
        # A failure that is kept has nothing to give to a photo, and has not taken anything.
        return rows.wants(path) or (is_file and rows.has_captions(path) and self._photos_want(path))

    def lacks_row(self, path: str) -> bool:
        """Whether a path is not in the rows yet; photos are not asked. Asked once for each path."""
        return self._rows is None or self._rows.wants(path)

    def _photos_want(self, path: str) -> bool:
        # All are asked: each learns from it which photo has what.
        wanting = [photo for photo in self._photos if photo.wants(path)]
        return bool(wanting)

    def has_captions(self, path: str) -> bool:
        """Whether an earlier run has left captions of an input, so that no model is needed for it."""
        return self._rows is not None and self._rows.has_captions(path)

    def recovered(self, path: str) -> None:
        """Tells that what an earlier run could not read, and what has no captions of its own, is read now."""
        for each in self._all:
            each.recovered(path)

    def begin(self, provenance: Provenance) -> list[str]:
        """Tells all destinations what makes the captions; returns what they have to say to the user about it."""
        return [note for each in self._all if (note := each.begin(provenance)) is not None]

    def deliver(self, rows: Sequence[Row]) -> Outcome:
        """Delivers all rows of one input, to the photos first: where a row is, everything else is done.

        A photo destination that fails makes the input a failed one, with its captions and the reason in the rows.

        Raises:
            OutputError: the rows cannot be written.
        """
        path, error = rows[0].path, rows[0].error
        unsure = why_unsure(rows[0], self.min_confidence)
        # The bytes of an image on standard input have no place beside which, or into which, to write.
        outcomes = self._put_all(rows) if error is None and path != "-" and unsure is None else []
        error = failures(outcomes) or error
        columns = () if self._rows is None else self._rows.columns
        # A line of text holds the caption alone, for those who trust it.
        if self._rows is not None and (unsure is None or "score" in columns):
            note = note_of(outcomes, self._replaced_before(path), unsure)
            self._rows.put([replace(row, error=error, note=note) for row in rows])
        if error is not None:
            return Outcome(False, error, failed=True)
        if unsure is not None:
            return Outcome(False, None if "note" in columns else unsure, unsure=True)
        reported = self._rows is None or self._rows_report
        if reported and outcomes and not any(outcome.written for outcome in outcomes):
            return outcomes[0]
        return Outcome(True)

    def deliver_again(self, path: str) -> Outcome:
        """Delivers the captions that an earlier run has left to those who lack them.

        Its rows stay, byte for byte, unless they tell a failure, which is over, or another one, now; or unless a photo
        had something replaced, which they tell from now on.

        Raises:
            OutputError: rows cannot be read or written.
        """
        rows = [] if self._rows is None else self._rows.captions_of(path)
        if self._rows is None or not rows:
            return Outcome(False)
        unsure = why_unsure(rows[0], self.min_confidence)
        outcomes = [] if unsure else self._put_all([replace(row, path=path, error=None) for row in rows])
        error = failures(outcomes)
        failed_before = any(row.error is not None for row in rows)
        if failed_before or any(each.replaced for each in outcomes):
            note = note_of(outcomes, replaced_in(rows[0].note), unsure)
            self._rows.put([replace(row, error=error, note=note) for row in rows])
        if error is not None:
            return Outcome(False, error, failed=True)
        if unsure is not None:
            return Outcome(False, None if tells_unsure(rows[0].note) else unsure, unsure=True)
        return Outcome(failed_before or any(outcome.written for outcome in outcomes))

    def _replaced_before(self, path: str) -> Mapping[str, Any] | None:
        """What rows of an earlier run, which others are to take the place of, tell as replaced."""
        if self._rows is None or not self._rows.has_captions(path):
            return None
        return next((replaced_in(row.note) for row in self._rows.captions_of(path)), None)

    def _put_first(self, rows: Sequence[Row], outcome: Outcome) -> None:
        """Rows are on the disk before what they tell as replaced is gone."""
        if self._rows is not None:
            self._replacing.append(outcome)
            note = note_of(self._replacing, self._replaced_before(rows[0].path))
            try:
                self._rows.put_first([replace(row, error=UNFINISHED, note=note) for row in rows])
            except OutputError as error:
                self._rows_error = error
                raise

    def _put_all(self, rows: Sequence[Row]) -> list[Outcome]:
        self._replacing, self._rows_error = [], None
        outcomes = []
        for photo in self._photos:
            outcomes.append(outcome_of(partial(photo.put, rows)))
            # Where the rows cannot be written, that is no failure of one photo.
            if self._rows_error is not None:
                raise self._rows_error
        # A row alone would look as if the photo had its caption now.
        self._note_kept(rows[0].path, kept_texts(outcomes))
        return outcomes

    def _note_kept(self, path: str, kept: Sequence[str]) -> None:
        what = "; ".join(kept)
        if what and self._tell_kept is not None:
            self._tell_kept(path, what)
        elif what:
            self._kept += 1
            self._first_kept = self._first_kept or f"{path}: {what}"

    def news(self) -> list[str]:
        """Lines for the user about what has come up since this was asked last."""
        return [note for each in self._all for note in each.news()]

    def closing_news(self) -> list[str]:
        """Lines for the user about the whole run, at its end."""
        if not self._kept:
            return []
        others = f", and {self._kept - 1} more like it" if self._kept > 1 else ""
        return [f"other captions than this run's are kept: {self._first_kept}{others}"]

    @property
    def kept_failures(self) -> int:
        """Inputs that failed in an earlier run and that this one does not try again."""
        return sum(each.kept_failures for each in self._all)
