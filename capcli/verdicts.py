"""What a person has decided about a caption, as the column `review` of a corrected file says it.

Knows nothing of files or pages.
"""

from __future__ import annotations

COLUMN = "review"
ACCEPTED, EDITED, REJECTED = "accepted", "edited", "rejected"
NOT_REVIEWED = ""
# Captions that somebody stands for.
TAKEN = frozenset({ACCEPTED, EDITED})


def verdict_of(value: object) -> str:
    """What a cell of the column means, in any case and between blanks: a verdict, or `NOT_REVIEWED`.

    Raises:
        ValueError: it means none.
    """
    verdict = "" if value is None else str(value).strip().lower()
    if verdict not in {*TAKEN, REJECTED, NOT_REVIEWED}:
        raise ValueError(f"review is {value!r}; it must be accepted, edited, rejected or empty")
    return verdict
