"""How a bundle's encoder computes, and how far that takes its captions from those of its float32 form.

What the manifest says, for people to read: the graph alone decides what is computed. Knows nothing of graphs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

FLOAT32, INT8 = "float32", "int8"


@dataclass(frozen=True)
class Calibration:
    """The photos on which the ranges of int8 activations were found: how many, and of which data sets."""

    images: int
    data: tuple[str, ...]


@dataclass(frozen=True)
class Agreement:
    """Captions of an int8 bundle beside those of its float32 form, of the same photos with the same search.

    `same`: how many of `images` photos have the same caption. `cider`, `cider_float32`: of those photos, x 100 with the
    plain tokeniser; None where they have no references.
    """

    images: int
    same: int
    cider: float | None = None
    cider_float32: float | None = None

    def __str__(self) -> str:
        text = f"{self.same} of {self.images} captions as in float32"
        if self.cider is None or self.cider_float32 is None:
            return text
        return f"{text}, CIDEr {self.cider:.1f} with the plain tokeniser (float32 {self.cider_float32:.1f})"


@dataclass(frozen=True)
class Precision:
    """`encoder`: "float32", or "int8", of which the other two tell. Weights are stored as int8 in both forms."""

    encoder: str = FLOAT32
    calibration: Calibration | None = None
    agreement: Agreement | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain values as the manifest holds them."""
        values: dict[str, Any] = {"encoder": self.encoder}
        if self.calibration is not None:
            values["calibration"] = {"images": self.calibration.images, "data": list(self.calibration.data)}
        if self.agreement is not None:
            values["against_float32"] = {
                name: value for name, value in self.agreement.__dict__.items() if value is not None
            }
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Precision:
        """Reads what `as_dict` gave. Older manifests say nothing: their encoders compute in float32.

        Raises:
            KeyError, TypeError, ValueError: something is missing or of the wrong type.
        """
        encoder = values.get("encoder", FLOAT32)
        if not isinstance(encoder, str):
            raise ValueError("precision should hold a text for the encoder")
        calibration, agreement = values.get("calibration"), values.get("against_float32")
        return cls(
            encoder,
            None
            if calibration is None
            else Calibration(int(calibration["images"]), tuple(str(name) for name in calibration["data"])),
            None
            if agreement is None
            else Agreement(
                int(agreement["images"]),
                int(agreement["same"]),
                *(None if name not in agreement else float(agreement[name]) for name in ("cider", "cider_float32")),
            ),
        )
