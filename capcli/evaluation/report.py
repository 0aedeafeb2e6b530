"""Scores and captioned images -> one HTML page that needs nothing else: no network, no other file.

The page is report.html with data put into it; every text travels as JSON and is shown by the page's script as text,
never as markup. Knows nothing of models, of the command line, or of where the page is written.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from PIL import Image

from capcli.errors import ImageError
from capcli.evaluation.official import Scores
from capcli.evaluation.wording import compare_wording
from capcli.inputs.images import load_image

THUMBNAIL_SIDE = 160
# About 4 KB a picture: a page of 1,000 images stays near 5 MB.
_QUALITY = 60
_DIGITS = 4
_SCRIPT, _STYLE = (re.compile(rf"<{tag}>(.*?)</{tag}>", re.DOTALL) for tag in ("script", "style"))


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
    template = resources.files("capcli.evaluation").joinpath("report.html").read_text("utf-8")
    before, between, after = re.split("{{(?:summary|images)}}", template.replace("{{policy}}", _policy(template)))
    tokens = scores.tokens.values()
    wording = compare_wording(
        [image.caption for image in tokens], [text for image in tokens for text in image.references]
    )
    yield before.encode("ascii")
    yield _json({"captions": captions, "data": data, "scores": scores.as_dict(), "wording": asdict(wording)})
    yield between.encode("ascii") + b"["
    for number, image in enumerate(images):
        yield (b",\n" if number else b"\n") + _json(_entry(image, scores))
    yield b"\n]" + after.encode("ascii")


def _entry(image: EvaluatedImage, scores: Scores) -> dict[str, Any]:
    """What the page's script knows of one image."""
    thumbnail, error = None, None
    try:
        thumbnail = _thumbnail(image.path)
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


def _thumbnail(path: Path) -> str:
    """The picture as a data URI, upright, its longer side at most `THUMBNAIL_SIDE` pixels."""
    pixels = load_image(path, size=(THUMBNAIL_SIDE, THUMBNAIL_SIDE), keep_aspect=True)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "WEBP", quality=_QUALITY)
    return "data:image/webp;base64," + base64.b64encode(content.getvalue()).decode("ascii")


def _json(value: Any) -> bytes:
    # Without "<" nothing in it can end the script element or begin a comment; in JSON it only occurs inside strings.
    return json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c").encode("ascii")


def _policy(template: str) -> str:
    """A Content-Security-Policy under which nothing is fetched, and only the template's own script and style run."""
    script, style = (_hash(part, template) for part in (_SCRIPT, _STYLE))
    return f"default-src 'none'; img-src data:; script-src {script}; style-src {style}; base-uri 'none'"


def _hash(part: re.Pattern[str], template: str) -> str:
    (content,) = part.findall(template)
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode('ascii')}'"
