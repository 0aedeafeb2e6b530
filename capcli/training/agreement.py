"""How far the int8 form of a bundle captions as its float32 form does: share of equal captions, and CIDEr.

Unlike the proof it refuses nothing: how much may change for the speed is the maker's to say.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from capcli.bundle.precision import Agreement
from capcli.captioner import Captioner
from capcli.decoding.search import SearchSettings
from capcli.errors import DependencyError
from capcli.evaluation.plain import plain_cider
from capcli.training.photos import Photos

_BATCH = 16


def measure_agreement(
    float32: Path,
    int8: Path,
    settings: SearchSettings,
    photos: Photos,
    references: Sequence[Sequence[str]] | None = None,
) -> Agreement:
    """Captions photos with both forms.

    Args:
        float32, int8: folders of the two.
        settings: how both search.
        photos: resized as both want them.
        references: what people wrote of each photo, for CIDEr.
    """
    before, after = (_captions(bundle, settings, photos) for bundle in (float32, int8))
    same = sum(one == other for one, other in zip(before, after, strict=True))
    # CIDEr of a single photo is 0 whatever is said of it.
    if references is None or len(references) < 2:
        return Agreement(len(before), same)
    try:
        return Agreement(len(before), same, plain_cider(after, references), plain_cider(before, references))
    except DependencyError:
        return Agreement(len(before), same)


def _captions(bundle: Path, settings: SearchSettings, photos: Photos) -> list[str]:
    captioner = Captioner(bundle, provider="cpu")
    return [
        found[0].raw
        for first in range(0, len(photos.paths), _BATCH)
        for found in captioner.caption_pixels(photos.pixels[first : first + _BATCH], settings)
    ]
