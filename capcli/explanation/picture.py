"""An explanation -> one picture: the photo once for each word, the word's look over it. Knows nothing of models."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from capcli.explanation.parts import Explanation

_TILE, _GAP, _LINE, _COLUMNS = 220, 12, 22, 4
_GROUND, _TEXT, _QUIET = (251, 251, 250), (29, 31, 33), (94, 100, 104)
# One hue, as much of it as the share of the look; as on the page.
_HEAT, _STRONGEST = np.array([230, 0, 126], np.float32), 0.85


def explanation_picture(explanation: Explanation) -> Image.Image:
    """RGB; without attention the photo stands alone, and the words below it."""
    photo = Image.fromarray(explanation.photo)
    photo.thumbnail((_TILE, _TILE))
    words = list(explanation.words)
    columns = min(_COLUMNS, len(words))
    rows = -(-len(words) // columns)
    cell = photo.height + 2 * _LINE if explanation.attends else 2 * _LINE
    head = 3 * _LINE + (0 if explanation.attends else photo.height + _GAP)
    width = max(_GAP + columns * (_TILE + _GAP), 2 * _GAP + _COLUMNS * _TILE)
    picture = Image.new("RGB", (width, head + rows * (cell + _GAP) + 2 * _LINE), _GROUND)
    draw, font, large = ImageDraw.Draw(picture), ImageFont.load_default(14), ImageFont.load_default(18)
    draw.text((_GAP, _GAP), explanation.caption, _TEXT, large)
    draw.text((_GAP, _GAP + _LINE + 4), _sure(explanation), _QUIET, font)
    if not explanation.attends:
        picture.paste(photo, (_GAP, 3 * _LINE))
    for number, word in enumerate(words):
        left = _GAP + number % columns * (_TILE + _GAP)
        top = head + number // columns * (cell + _GAP)
        if word.attention is not None:
            picture.paste(_over(photo, word.attention / explanation.largest_share), (left, top))
            top += photo.height
        draw.text((left, top + 2), f"{word.text or '(end)'}  {word.probability:.0%}", _TEXT, font)
    draw.text((_GAP, picture.height - 2 * _LINE + 4), _scale(explanation), _QUIET, font)
    return picture


def _over(photo: Image.Image, strength: np.ndarray) -> Image.Image:
    """The photo with a look over it.

    Args:
        photo: RGB.
        strength: float [rows, columns], 0 to 1.
    """
    places = Image.fromarray((255 * np.clip(strength, 0, 1)).astype(np.uint8))
    share = np.asarray(places.resize(photo.size, Image.Resampling.NEAREST), np.float32)[..., None] / 255 * _STRONGEST
    return Image.fromarray((np.asarray(photo, np.float32) * (1 - share) + _HEAT * share).astype(np.uint8))


def _sure(explanation: Explanation) -> str:
    if explanation.confidence is None:
        return "how likely it is right is not known"
    return f"right with an estimated chance of {explanation.confidence:.0%}"


def _scale(explanation: Explanation) -> str:
    if not explanation.attends:
        return "This model has no attention: it cannot show where it looked."
    return (
        f"Full colour: {explanation.largest_share:.0%} of a look, the same for all words; even share "
        f"{explanation.even_share:.1%}. Attention is where the decoder read from; it proves nothing."
    )
