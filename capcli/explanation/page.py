"""An explanation -> one HTML page. Knows nothing of models."""

from __future__ import annotations

from collections.abc import Iterator

from capcli.explanation.parts import Explanation
from capcli.pages.rendering import picture_uri, render

_QUALITY = 80


def explanation_page(explanation: Explanation, *, name: str, model: str) -> Iterator[bytes]:
    """The page, piece by piece.

    Args:
        explanation: what it shows.
        name: the photo's.
        model: the bundle's.
    Returns:
        ASCII bytes of a whole HTML document.
    """
    height, width = explanation.photo.shape[:2]
    attention = [word.attention for word in explanation.words if word.attention is not None]
    return render(
        "explain",
        title=f"capcli explain: {name}",
        generator="capcli explain",
        explanation=explanation,
        name=name,
        model=model,
        photo=picture_uri(explanation.photo, _QUALITY),
        width=width,
        height=height,
        grid=attention[0].shape if attention else None,
        maps={
            "largest": round(explanation.largest_share, 5),
            "shares": [[round(float(share), 5) for share in each.ravel()] for each in attention],
            "told": [_told(word.text, word.probability, word.peak) for word in explanation.words],
        },
    )


def _told(text: str, probability: float, peak: str | None) -> str:
    said = f"\u201c{text}\u201d" if text else "The end of the sentence"
    look = f"; it looked {peak}" if peak else ""
    return f"{said}: probability {probability:.0%}{look}."
