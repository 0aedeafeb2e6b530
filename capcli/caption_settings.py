"""What captions are asked for, and what of it a bundle can give. Importing it loads no NumPy, which whoever has
mistyped an option would wait for.

Knows nothing of inputs or of where captions go.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from capcli.errors import UsageError

if TYPE_CHECKING:
    from capcli.bundle.bundle import Bundle
    from capcli.bundle.confidence import Confidence
    from capcli.decoding.search import SearchSettings


@dataclass(frozen=True)
class CaptionSettings:
    """What captions are asked for.

    `beam`, `max_length` and `length_penalty` as `Captioner.caption` takes them, None for the model's own; `captions`
    for each image; `raw`: bare words instead of sentences; `words`: also each word with its log-probability;
    `mirror_average`: of the mean of each image and its mirror image, which a captioner has to be loaded for.
    """

    beam: int | None = None
    max_length: int | None = None
    length_penalty: float | None = None
    captions: int = 1
    raw: bool = False
    words: bool = False
    mirror_average: bool = False

    def search(self, bundle: Bundle) -> SearchSettings:
        """How a bundle's captions are searched for: as wanted, and else as it does itself.

        Raises:
            UsageError: a value is out of range.
            TypeError: a value is no number.
        """
        from capcli.decoding.search import SearchSettings

        own = bundle.manifest.search
        return SearchSettings(
            beam=own.beam if self.beam is None else self.beam,
            max_length=own.max_length if self.max_length is None else self.max_length,
            length_penalty=own.length_penalty if self.length_penalty is None else self.length_penalty,
            captions=self.captions,
        )

    def check_confidence(self, bundle: Bundle) -> None:
        """Refuses a least confidence where captions of a bundle have none.

        Raises:
            UsageError: they have none.
        """
        reason = self.why_no_confidence(bundle)
        if reason is not None:
            raise UsageError(f"--min-confidence needs a confidence: {reason}")

    def why_no_confidence(self, bundle: Bundle) -> str | None:
        """Why captions of a bundle would have no confidence; None where they have one."""
        own = bundle.manifest.search
        given = ((self.beam, own.beam), (self.max_length, own.max_length), (self.length_penalty, own.length_penalty))
        if confidence_of(bundle) is None:
            return f"the model {bundle.manifest.name} has none; capcli export fits one on validation photos"
        if any(value not in (None, default) for value, default in given):
            return "it is known for the model's own --beam, --max-length and --length-penalty alone"
        if self.mirror_average:
            return "it is known for photos without --mirror-average alone"
        return None


def confidence_of(bundle: Bundle) -> Confidence | None:
    """How sure a bundle is of a caption; None where that is not known, or takes signals that are not known here."""
    from capcli.bundle.bundle import MATCHING
    from capcli.decoding.signals import are_known

    confidence, matching = bundle.confidence, MATCHING in bundle.manifest.files
    return confidence if confidence is not None and are_known(confidence.signals, matching=matching) else None
