"""Which captions are held back for their confidence, and how a row's note says so. Knows nothing of where rows go."""

from __future__ import annotations

from capcli.outputs.rows import Row

_UNSURE = "unsure: "


def why_unsure(best: Row, least: float | None) -> str | None:
    """Why a caption is held back; None where it is not, or where there is none.

    One that a person has approved never is: the confidence is the model's, and an edited caption is not the model's.

    Args:
        best: the row of a photo's best caption.
        least: the least confidence of those that are not held back, 0 to 1; None holds nothing back.
    """
    if least is None or best.caption is None or best.approved:
        return None
    if best.confidence is None:
        return f"{_UNSURE}its confidence is not known"
    # As rows tell it: what is read back from them is decided alike.
    return (
        f"{_UNSURE}confidence {best.confidence:.4f} is below {least:g}" if round(best.confidence, 4) < least else None
    )


def tells_unsure(note: str | None) -> bool:
    """Whether a row's note says that its caption was held back."""
    return note is not None and note.startswith(_UNSURE)
