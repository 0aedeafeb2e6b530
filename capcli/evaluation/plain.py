"""CIDEr without Java, for choosing checkpoints while training. Not comparable with published figures."""

from __future__ import annotations

import re
from collections.abc import Sequence

from capcli.extras import need

_WORD = re.compile(r"'s\b|[^\W_]+(?:['\-](?!s\b)[^\W_]+)*")


def plain_tokens(text: str) -> str:
    """Lower-case words without punctuation, spaces between; a possessive 's stands alone, as in PTB."""
    return " ".join(_WORD.findall(text.replace("’", "'").lower()))


def plain_cider(captions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """CIDEr x 100 (Vedantam et al., 2015, arXiv:1411.5726) over a plain tokeniser.

    Args:
        captions: one an image.
        references: what people wrote of each image, in the same order.
    Returns:
        pycocoevalcap's CIDEr, with document frequencies from these references: 0 without a word in them, and 0 for a
        single image, of which every n-gram is as frequent as can be.
    Raises:
        DependencyError: pycocoevalcap is not installed.
        ValueError: not as many captions as images, or an image without a reference.
    """
    need("eval", "CIDEr")
    from pycocoevalcap.cider.cider import Cider

    if len(captions) != len(references):
        raise ValueError(f"{len(captions)} captions for {len(references)} images")
    if not all(references):
        raise ValueError("an image without a reference caption")
    reference_tokens = {row: [plain_tokens(text) for text in texts] for row, texts in enumerate(references)}
    if not any(text for texts in reference_tokens.values() for text in texts):
        # pycocoevalcap would look for the most frequent n-gram among none.
        return 0.0
    caption_tokens = {row: [plain_tokens(text)] for row, text in enumerate(captions)}
    score, _ = Cider().compute_score(reference_tokens, caption_tokens)
    return float(score) * 100
