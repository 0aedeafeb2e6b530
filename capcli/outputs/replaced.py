"""What a photo's metadata said before it was replaced, in the note of its row: written there, and read back exactly.

A note that tells it begins with it: `replaced: `, and then JSON, in which any text has its place on one line. Knows
nothing of metadata.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_REPLACED = "replaced: "
# The error of rows that tell what is about to be replaced: only a crash leaves them in a file.
UNFINISHED = "the run ended while the photo was being written"
# What to say of a file that has no notes, before anything is replaced.
NOT_TOLD = (
    "has no notes, so that texts of photos that are replaced cannot be put back from it; a new .csv, .tsv or .jsonl has"
)
# What fits into a cell of a spreadsheet, with some room for other notes.
LONGEST_NOTE = 32_000


def replaced_note(replaced: Mapping[str, Any]) -> str:
    """The beginning of a note.

    Args:
        replaced: what can be told in JSON; bytes that are not UTF-8 are surrogates.
    """
    told = json.dumps(replaced, ensure_ascii=False)
    # Surrogates have an escape in JSON, and would become raw bytes in CSV.
    odd = any(0xD800 <= ord(char) <= 0xDFFF for char in told)
    return _REPLACED + (json.dumps(replaced) if odd else told)


def replaced_in(note: str | None) -> dict[str, Any] | None:
    """What a note tells as replaced, with whatever follows it; None where it tells nothing so."""
    if note is None or not note.startswith(_REPLACED):
        return None
    try:
        found, _ = json.JSONDecoder().raw_decode(note.removeprefix(_REPLACED))
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
