"""Scores and captioned images -> one HTML page that needs nothing else: no network, no other file.

Every text travels as JSON and is shown by the page's script as text, never as markup. Knows nothing of models, of the
command line, or of where the page is written.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from capcli.errors import ImageError
from capcli.evaluation.official import Scores
from capcli.evaluation.wording import compare_wording
from capcli.inputs.images import load_image
from capcli.pages.rendering import picture_uri, render

THUMBNAIL_SIDE = 160
# About 4 KB a picture: a page of 1,000 images stays near 5 MB.
_QUALITY = 60
_DIGITS = 4


@dataclass(frozen=True)
class EvaluatedImage:
    """What the page shows of one image beside its scores.

    `key` is its key in the scores, `name` what people call it; `model_score` the model's own mean log-probability of
    the caption, where it is known.
    """

    key: str
    path: Path
    name: str
    caption: str
    model_score: float | None
    references: tuple[str, ...]


def report_page(scores: Scores, images: Iterable[EvaluatedImage], *, captions: str, data: str) -> Iterator[bytes]:
    """The page, piece by piece: one picture after the other is read as the pieces are asked for.

    Args:
        scores: of the captions of all images.
        images: in the order of the page; a picture that cannot be read is told as such in its place.
        captions: what the captions are of: a bundle or a file.
        data: what they are evaluated on.
    Returns:
        ASCII bytes of a whole HTML document.
    """
    tokens = scores.tokens.values()
    wording = compare_wording(
        [image.caption for image in tokens], [text for image in tokens for text in image.references]
    )
    return render(
        "report",
        title="capcli evaluate",
        generator="capcli evaluate --report",
        shared=("words",),
        summary={"captions": captions, "data": data, "scores": scores.as_dict(), "wording": asdict(wording)},
        images=(_entry(image, scores) for image in images),
    )


def _entry(image: EvaluatedImage, scores: Scores) -> dict[str, Any]:
    """What the page's script knows of one image."""
    thumbnail, error = None, None
    try:
        pixels = load_image(image.path, size=(THUMBNAIL_SIDE, THUMBNAIL_SIDE), keep_aspect=True)
        thumbnail = picture_uri(pixels, _QUALITY)
    except ImageError as problem:
        error = str(problem)
    tokens = scores.tokens[image.key]
    # A score from somebody's file may be NaN, for which JSON has no word.
    model_score = image.model_score if image.model_score is not None and math.isfinite(image.model_score) else None
    each = asdict(scores.per_image[image.key]) | ({} if model_score is None else {"model": model_score})
    return {
        "name": image.name,
        "caption": image.caption,
        "references": image.references,
        "tokens": {"caption": tokens.caption, "references": tokens.references},
        "scores": {name: round(value, _DIGITS) for name, value in each.items()},
        "thumbnail": thumbnail,
        "error": error,
    }
