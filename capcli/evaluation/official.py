"""The scores papers quote, by pycocoevalcap: PTB tokeniser, BLEU, METEOR, ROUGE-L, CIDEr.

Tokeniser and METEOR are Java programs. What any of them prints is kept off stdout and stderr.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from capcli.errors import DataError, DependencyError
from capcli.native_output import captured, one_reason

_JAVA = "install Java 8 or later, for example apt install default-jre-headless"
_EXTRA = "capcli evaluate needs the eval extra: pip install 'capcli[eval]'"


@dataclass(frozen=True)
class ImageScores:
    """One image's scores x 100. BLEU of single sentences is harsh; it is for sorting, not for quoting."""

    bleu_4: float
    meteor: float
    rouge_l: float
    cider: float


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

    def as_dict(self) -> dict[str, Any]:
        """Plain values without the single images."""
        names = ("bleu_1", "bleu_2", "bleu_3", "bleu_4", "meteor", "rouge_l", "cider")
        return {
            "images": self.images,
            "tokeniser": self.tokeniser,
            **{name: round(getattr(self, name), 2) for name in names},
        }


def check_official_scorers() -> None:
    """Looks for what `official_scores` needs.

    Raises:
        DependencyError: pycocoevalcap or Java is missing.
    """
    try:
        import pycocoevalcap.meteor.meteor  # noqa: F401
    except ImportError as error:
        raise DependencyError(_EXTRA) from error
    java = shutil.which("java")
    if java is None:
        raise DependencyError(f"METEOR and the PTB tokeniser need Java, and there is none: {_JAVA}")
    # On some systems `java` is a stub that only says where to get one.
    done = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise DependencyError(f"{java} does not run ({one_reason(done.stderr)}): {_JAVA}")


def official_scores(captions: Mapping[str, str], references: Mapping[str, Sequence[str]]) -> Scores:
    """Scores captions as pycocoevalcap's own evaluation does.

    Args:
        captions: a caption for every image.
        references: what people wrote, for every image at least one.
    Returns:
        Corpus scores and those of every image.
    Raises:
        DataError: images without a caption or without a reference.
        DependencyError: pycocoevalcap or Java is missing or fails.
    """
    _check_images(captions, references)
    check_official_scorers()
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.meteor.meteor import Meteor
    from pycocoevalcap.rouge.rouge import Rouge
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    names = list(references)
    failure: Exception | None = None
    with captured() as printed:
        try:
            tokeniser = PTBTokenizer()
            wanted = tokeniser.tokenize({name: [_record(text) for text in references[name]] for name in names})
            given = tokeniser.tokenize({name: [_record(captions[name])] for name in names})
            if len(wanted) != len(names) or len(given) != len(names):
                raise ValueError("the tokeniser lost lines")
            bleu, bleu_each = Bleu(4).compute_score(wanted, given, verbose=0)
            meteor, meteor_each = Meteor().compute_score(wanted, given)
            rouge, rouge_each = Rouge().compute_score(wanted, given)
            cider, cider_each = Cider().compute_score(wanted, given)
        except (OSError, ValueError) as error:
            failure = error
    if failure is not None:
        reason = one_reason(printed.text or str(failure))
        raise DependencyError(f"the official scorers failed ({reason}); check that java runs") from failure
    return Scores(
        bleu_1=100 * bleu[0],
        bleu_2=100 * bleu[1],
        bleu_3=100 * bleu[2],
        bleu_4=100 * bleu[3],
        meteor=100 * meteor,
        rouge_l=100 * float(rouge),
        cider=100 * float(cider),
        images=len(names),
        tokeniser="PTB tokeniser",
        per_image={
            name: ImageScores(*(float(value) * 100 for value in each))
            for name, *each in zip(names, bleu_each[3], meteor_each, rouge_each, cider_each, strict=True)
        },
    )


def _record(text: str) -> dict[str, str]:
    # One line a caption: the tokeniser and METEOR count lines, and METEOR takes ||| for the end of a sentence.
    return {"caption": re.sub(r"\s+", " ", text.replace("|||", " ")).strip()}


def _check_images(captions: Mapping[str, str], references: Mapping[str, Sequence[str]]) -> None:
    if not references:
        raise DataError("no image to score")
    missing = [name for name in references if name not in captions]
    if missing:
        raise DataError(f"{len(missing)} of {len(references)} images have no caption, the first: {missing[0]}")
    bare = [name for name in references if not references[name]]
    if bare:
        raise DataError(f"{len(bare)} images have no reference caption, the first: {bare[0]}")
