"""What a destination did with the captions of one path, and what rows and people are told of several."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from capcli.errors import OutputError
from capcli.outputs.replaced import replaced_note


@dataclass(frozen=True)
class Outcome:
    """What a destination did with the captions of one path.

    `written`: they are there now; a `reason` then tells what is kept all the same. If not, `reason` says why, without
    naming the path: either the destination keeps what it had before, which with `same` is just these captions, or, with
    `failed`, it should have taken them and could not. `unsure`: they were held back for their confidence; `reason` says
    so only where no row does. `replaced`: what was there before, in a form for `replaced_note`; `note`: what else the
    row should tell. `place`: the file that they were written to; `text`: what was written, if it is no caption.
    """

    written: bool
    reason: str | None = None
    failed: bool = False
    same: bool = False
    unsure: bool = False
    replaced: Mapping[str, Any] | None = None
    note: str | None = None
    place: str | None = field(default=None, compare=False)
    text: str | None = field(default=None, compare=False)


def outcome_of(put: Callable[[], Outcome]) -> Outcome:
    """What a place did, or why it could not: one photo that cannot be written never ends a run."""
    try:
        return put()
    except OutputError as error:
        return Outcome(False, str(error), failed=True)


def kept_texts(outcomes: Sequence[Outcome]) -> list[str]:
    """What places have kept instead of the caption."""
    return [each.reason for each in outcomes if each.reason and not (each.failed or each.same)]


def note_of(
    outcomes: Sequence[Outcome], before: Mapping[str, Any] | None = None, unsure: str | None = None
) -> str | None:
    """What a row tells of its photo besides a failure; None if nothing.

    Args:
        outcomes: of all places.
        before: what its row of an earlier run tells as replaced.
        unsure: why its caption is held back.
    """
    replaced = dict(before or {})
    for each in outcomes:
        replaced |= each.replaced or {}
    told = [replaced_note(replaced)] if replaced else []
    # Two places may have been given the same shortened text.
    notes = dict.fromkeys(each.note for each in outcomes if each.note)
    return "; ".join([*told, *([unsure] if unsure else []), *notes, *kept_texts(outcomes)]) or None


def failures(outcomes: Sequence[Outcome]) -> str | None:
    """Why photos could not be written; None if nothing failed."""
    return "; ".join(outcome.reason or "" for outcome in outcomes if outcome.failed) or None
