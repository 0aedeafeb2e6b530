"""A photo -> what its caption is made of. Knows nothing of how that is shown."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from capcli.caption_settings import confidence_of
from capcli.captioner import Caption, Captioner
from capcli.inputs.images import load_image
from capcli.inputs.sources import ImageSource

# Captions beside the best one.
_OTHERS = 4
_SIDE = 900
# What a signal says where it adds to the confidence, and where it takes from it.
_SAID = {
    "match": ("its words go with the photo", "its words hardly go with the photo"),
    "mean_log_prob": ("its words are likely on the whole", "its words are unlikely on the whole"),
    "least_log_prob": ("even its least likely word is no guess", "one of its words is a guess"),
    "end_log_prob": ("it ends where a sentence would", "it ends where others would go on"),
    "length": ("it is short", "it is long"),
    "mean_entropy": ("few other words would have done", "many other words would have done"),
    "highest_entropy": ("no place in it was wide open", "some places in it were wide open"),
}
_SAYS_NOTHING = 0.02


@dataclass(frozen=True)
class ExplainedWord:
    """A word, "" for the end: its probability after the words before, from 0 to 1.

    `attention`: float32 [rows, columns] with a sum of 1, None where the model has none; `peak` tells of it in words.
    """

    text: str
    probability: float
    attention: np.ndarray | None
    peak: str | None


@dataclass(frozen=True)
class OtherCaption:
    """A caption that was not chosen; `probability`: the geometric mean of its words'."""

    text: str
    probability: float


@dataclass(frozen=True)
class Reason:
    """What a signal says for (above 0) or against the caption, in natural logarithms of the odds."""

    text: str
    logit: float


@dataclass(frozen=True)
class Explanation:
    """What a caption is made of.

    `photo`: uint8 [H, W, 3], upright; `probability`: the geometric mean of the words'; `others`: the next best, best
    first; `reasons`: the weightiest first, empty where there is no confidence.
    """

    photo: np.ndarray
    caption: str
    probability: float
    words: tuple[ExplainedWord, ...]
    others: tuple[OtherCaption, ...]
    confidence: float | None
    reasons: tuple[Reason, ...]

    @property
    def attends(self) -> bool:
        """Whether the model has told where it looked."""
        return self.words[0].attention is not None

    @property
    def largest_share(self) -> float:
        """The largest share of attention that a word gave to one place: the end of the scale of all words."""
        return max((float(word.attention.max()) for word in self.words if word.attention is not None), default=1.0)

    @property
    def even_share(self) -> float:
        """What each place would get of a look that goes everywhere alike."""
        attention = self.words[0].attention
        return 1.0 if attention is None else 1.0 / attention.size


def explain(captioner: Captioner, image: ImageSource) -> Explanation:
    """Captions an image with the bundle's own search, and keeps what that goes by.

    Args:
        captioner: a loaded model.
        image: as `Captioner.caption` takes it, but no open file, which would be read twice.
    Raises:
        ImageError: it cannot be read.
    """
    photo = load_image(image, size=(_SIDE, _SIDE), keep_aspect=True)
    # No wider than the model's own search, which would be another one.
    count = min(1 + _OTHERS, captioner.bundle.manifest.search.beam)
    best, *others = captioner.candidates(image, count, details=True)
    return Explanation(
        photo,
        best.text,
        math.exp(best.score),
        tuple(_words(best)),
        tuple(OtherCaption(other.text, math.exp(other.score)) for other in others),
        best.confidence,
        _reasons(captioner, best),
    )


def _words(best: Caption) -> list[ExplainedWord]:
    return [
        ExplainedWord(
            word.text,
            math.exp(word.log_prob),
            word.attention,
            None if word.attention is None else _peak(word.attention),
        )
        for word in best.words or ()
    ]


def _peak(attention: np.ndarray) -> str:
    """Where the most of a look went, in words."""
    rows, columns = attention.shape
    row, column = divmod(int(attention.argmax()), columns)
    # Thirds of the photo.
    height = ("top", "middle", "bottom")[row * 3 // rows]
    side = ("left", "centre", "right")[column * 3 // columns]
    share = float(attention.max())
    place = "in the centre" if (height, side) == ("middle", "centre") else f"at the {height} {side}"
    return f"most {place}: {share:.0%} of the look, {share * attention.size:.1f} times the even share"


def _reasons(captioner: Captioner, best: Caption) -> tuple[Reason, ...]:
    confidence = confidence_of(captioner.bundle)
    if confidence is None or best.confidence is None or best.signals is None:
        return ()
    parts = sorted(confidence.parts(best.signals).items(), key=lambda part: -abs(part[1]))
    return tuple(
        Reason(_said(name, best.signals[name] > confidence.signals[name].mean), logit)
        for name, logit in parts
        if abs(logit) >= _SAYS_NOTHING
    )


def _said(name: str, high: bool) -> str:
    # Of length and entropy little is good; what the photo's signal is, not what its weight makes of it, is told.
    good_when_high = name in ("match", "mean_log_prob", "least_log_prob", "end_log_prob")
    return _SAID[name][0 if high == good_when_high else 1]
