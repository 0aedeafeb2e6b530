"""The scores papers quote, by pycocoevalcap: PTB tokeniser, BLEU, METEOR, ROUGE-L, CIDEr.

The same numbers as its own COCOEvalCap, SPICE left out. Knows nothing of files; nothing is printed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from capcli.errors import DataError
from capcli.evaluation.java import MeteorProgram, find_java, ptb_tokenise
from capcli.extras import need
from capcli.messages import first_few


@dataclass(frozen=True)
class ImageScores:
    """One image's scores x 100. BLEU of single sentences is harsh; it is for sorting, not for quoting."""

    bleu_4: float
    meteor: float
    rouge_l: float
    cider: float


@dataclass(frozen=True)
class ImageTokens:
    """One image's texts as the scorers take them: lower-case tokens without punctuation, spaces between."""

    caption: str
    references: tuple[str, ...]


@dataclass(frozen=True)
class Scores:
    """Corpus scores x 100, as papers quote them. CIDEr depends on how many images it is computed over."""

    bleu_1: float
    bleu_2: float
    bleu_3: float
    bleu_4: float
    meteor: float
    rouge_l: float
    cider: float
    images: int
    tokeniser: str
    per_image: Mapping[str, ImageScores]
    tokens: Mapping[str, ImageTokens]

    def as_dict(self) -> dict[str, Any]:
        """Plain values without the single images."""
        names = ("bleu_1", "bleu_2", "bleu_3", "bleu_4", "meteor", "rouge_l", "cider")
        return {
            "images": self.images,
            "tokeniser": self.tokeniser,
            **{name: round(getattr(self, name), 2) for name in names},
        }


def check_official_scorers() -> str:
    """Looks for what `official_scores` needs.

    Returns:
        Path of the `java` that runs the tokeniser and METEOR.
    Raises:
        DependencyError: pycocoevalcap or Java is missing.
    """
    need("eval", "capcli evaluate")
    return find_java()


def official_scores(captions: Mapping[str, str], references: Mapping[str, Sequence[str]]) -> Scores:
    """Scores captions as pycocoevalcap's own evaluation does.

    Args:
        captions: a caption for every image; those of other images are not looked at.
        references: what people wrote, for every image at least one. CIDEr's document frequencies are counted here.
    Returns:
        Corpus scores, and the scores and tokens of every image.
    Raises:
        DataError: images without a caption or without a reference, or references without a word.
        DependencyError: pycocoevalcap or Java is missing or fails.
    """
    names = list(references)
    _check_images(captions, references)
    java = check_official_scorers()
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    # In two runs, as the official evaluation has it.
    tokens = iter(ptb_tokenise(java, [text for name in names for text in references[name]]))
    reference_tokens = {name: [next(tokens) for _ in references[name]] for name in names}
    caption_tokens = ptb_tokenise(java, [captions[name] for name in names])
    captions_by_name = {name: [text] for name, text in zip(names, caption_tokens, strict=True)}
    if not any(text for texts in reference_tokens.values() for text in texts):
        raise DataError("no reference caption has a word in it")
    bleu, bleu_each = Bleu(4).compute_score(reference_tokens, captions_by_name, verbose=0)
    with MeteorProgram(java) as meteor:
        meteor_all, meteor_each = meteor.score(caption_tokens, list(reference_tokens.values()))
    rouge, rouge_each = Rouge().compute_score(reference_tokens, captions_by_name)
    cider, cider_each = Cider().compute_score(reference_tokens, captions_by_name)
    return Scores(
        bleu_1=100 * bleu[0],
        bleu_2=100 * bleu[1],
        bleu_3=100 * bleu[2],
        bleu_4=100 * bleu[3],
        meteor=100 * meteor_all,
        rouge_l=100 * float(rouge),
        cider=100 * float(cider),
        images=len(names),
        tokeniser="PTB tokeniser",
        per_image={
            name: ImageScores(*(float(value) * 100 for value in each))
            for name, *each in zip(names, bleu_each[3], meteor_each, rouge_each, cider_each, strict=True)
        },
        tokens={
            name: ImageTokens(text, tuple(reference_tokens[name]))
            for name, text in zip(names, caption_tokens, strict=True)
        },
    )


def _check_images(captions: Mapping[str, str], references: Mapping[str, Sequence[str]]) -> None:
    if not references:
        raise DataError("no image to score")
    missing = [name for name in references if name not in captions]
    if missing:
        raise DataError(f"{len(missing)} of {len(references)} images have no caption: {first_few(missing)}")
    bare = [name for name in references if not references[name]]
    if bare:
        raise DataError(f"{len(bare)} of {len(references)} images have no reference caption: {first_few(bare)}")
