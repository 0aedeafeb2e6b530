"""What becomes of the texts of a file's metadata: written, kept, or put back as they were before they were written.

Each field is judged by itself. Knows nothing of files: what is made is changes, and what to say of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from capcli.errors import OutputError
from capcli.outputs.exiv2 import Changes, Metadata
from capcli.outputs.outcomes import Outcome
from capcli.outputs.replaced import LONGEST_NOTE, replaced_note
from capcli.outputs.rows import Row
from capcli.outputs.text_fields import (
    ALT_TEXT,
    DESCRIPTION,
    KEYS,
    changes_for,
    field_of,
    from_json,
    replaced_by,
    says,
    text_of,
    to_json,
)

# In what is told as replaced: what was written in its place, where the row's caption does not say it.
_WROTE = "wrote"


@dataclass(frozen=True)
class Edit:
    """Changes to be made, and what has become of the texts once they are. No changes: the file stays as it is.

    `before`: to be called with the outcome as soon as the file is about to be another one.
    """

    outcome: Outcome
    changes: Changes = field(default_factory=dict)
    before: Callable[[Outcome], object] | None = None

    def about_to_happen(self) -> None:
        """Tells that the changes are made next, where something is replaced."""
        if self.before is not None and self.outcome.replaced:
            self.before(self.outcome)


@dataclass(frozen=True)
class Wording:
    """Which fields are written, `DESCRIPTION`, `ALT_TEXT` or both, and with what.

    `overwrite`: replace what they say. `max_chars`: of the alt text, the description has no limit. `told`: what is
    replaced is told in the row's note, and stays where it is too long for that.
    """

    fields: tuple[str, ...] = (DESCRIPTION,)
    overwrite: bool = False
    max_chars: int | None = None
    told: bool = False

    def texts(self, rows: Sequence[Row]) -> dict[str, str]:
        """What each field is to say.

        Args:
            rows: a photo's captions, best first.
        """
        captions = [one_line(row.caption or "") for row in rows]
        texts = {DESCRIPTION: captions[0], ALT_TEXT: _fitting(captions, self.max_chars)}
        return {each: texts[each] for each in self.fields}

    def kept(self, before: Metadata, what: str) -> str | None:
        """What a file would keep if nothing of it may be replaced; None where something is lacking, or may be replaced.

        Args:
            before: what it holds.
            what: as `edit` takes it.
        """
        texts = {each: text_of(each, before) for each in self.fields}
        lacking = self.overwrite or not all(texts.values())
        return None if lacking else "; ".join(has_one(what, each, text) for each, text in texts.items())

    def edit(
        self,
        before: Metadata,
        rows: Sequence[Row],
        *,
        what: str,
        place: str,
        tell: Callable[[Sequence[Row], Outcome], object] | None = None,
    ) -> Edit:
        """What to change so that a file says the captions.

        Args:
            before: what it holds.
            rows: as `texts` takes them.
            what: the file in a message, such as "its metadata".
            place: the file among those of one photo, for what is told as replaced.
            tell: whom to tell just before something is replaced.
        Raises:
            OutputError: what would be replaced is too long to be told.
        """
        changes: dict[str, Any] = {}
        had, kept, replaced = [], [], dict[str, Any]()
        texts = self.texts(rows)
        for each, text in texts.items():
            wanted, old = changes_for(each, text, before), text_of(each, before)
            same = before.with_changes(wanted) == before
            if same or (old and not self.overwrite):
                had.append(has_one(what, each, old))
                kept += [] if same or old == text else had[-1:]
                continue
            changes |= wanted
            if old:
                replaced |= to_json(replaced_by(wanted, before))
                replaced |= {_WROTE: text} if each == ALT_TEXT else {}
        if not changes:
            return Edit(Outcome(False, "; ".join(kept or had), same=not kept))
        if self.told and replaced and len(replaced_note({place: replaced})) > LONGEST_NOTE:
            raise OutputError(f"{what} has a text that is too long to be kept in the row, and is left as it is")
        cut = _cut_note(rows, texts.get(ALT_TEXT)) if any(field_of(key) == ALT_TEXT for key in changes) else None
        outcome = Outcome(True, "; ".join(kept) or None, replaced={place: replaced} if replaced else None, note=cut)
        return Edit(outcome, changes, None if tell is None else partial(tell, rows))


def put_back(before: Metadata, told: Mapping[str, Any], caption: str, *, what: str) -> Edit:
    """What to change so that a file says what it said before a caption replaced that.

    Args:
        before: what it holds now.
        told: what was told as replaced in this file.
        caption: what was written.
        what: as `Wording.edit` takes it.
    """
    changes: dict[str, Any] = {}
    had, kept, texts = [], [], []
    # A row is no licence to change anything else.
    old = from_json({key: value for key, value in told.items() if key in KEYS})
    for each in (DESCRIPTION, ALT_TEXT):
        wanted = {key: value for key, value in old.items() if field_of(key) == each}
        if not wanted:
            continue
        wrote = str(told.get(_WROTE, caption)) if each == ALT_TEXT else caption
        if before.with_changes(wanted) == before:
            had.append(has_one(what, each, text_of(each, before)))
        elif not says(each, one_line(wrote), before):
            kept.append(f"{what} has another {each} than capcli wrote: {_short(text_of(each, before))}")
        else:
            changes |= wanted
            texts.append(text_of(each, before.with_changes(wanted)))
    if not changes:
        return Edit(Outcome(False, "; ".join(kept or had), same=not kept))
    return Edit(Outcome(True, "; ".join(kept) or None, text=one_line(texts[0])), changes)


def has_one(what: str, each: str, text: str) -> str:
    """What to say of a field that is kept."""
    return f"{what} has {'an' if each == ALT_TEXT else 'a'} {each} already: {_short(text)}"


def one_line(text: str) -> str:
    """A caption as fields hold it: white space is single spaces."""
    return " ".join(text.split())


def _fitting(captions: Sequence[str], most: int | None) -> str:
    """The best caption of at most so many characters; else the best one, cut at a word."""
    if most is None:
        return captions[0]
    fitting = next((caption for caption in captions if len(caption) <= most), None)
    if fitting is not None:
        return fitting
    # A word that ends just there is whole.
    cut, space, _ = captions[0][: most + 1].rpartition(" ")
    beginning = captions[0][:most].strip()
    # A caption of nothing but marks is cut as it is.
    return (cut if space else beginning).rstrip(" ,;:-") or beginning


def _cut_note(rows: Sequence[Row], alt_text: str | None) -> str | None:
    if alt_text is None or alt_text == one_line(rows[0].caption or ""):
        return None
    if any(alt_text == one_line(row.caption or "") for row in rows):
        return f"the alt text is a shorter caption: {_short(alt_text)}"
    return f"the alt text is cut: {_short(alt_text)}"


def _short(text: str) -> str:
    line = one_line(text)
    return repr(line if len(line) <= 60 else f"{line[:59]}…")
