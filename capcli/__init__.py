"""capcli: photos to sentences, offline. The public API; importing it stays cheap.

from capcli import Captioner
print(Captioner().caption("photo.jpg"))
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from capcli.errors import (
    BundleError,
    CapcliError,
    DataError,
    DependencyError,
    ImageError,
    OutputError,
    ProviderError,
    UsageError,
)

if TYPE_CHECKING:
    from capcli.captioner import Caption, Captioner
    from capcli.pipeline import Result

__version__ = "0.1.0"

__all__ = [
    "BundleError",
    "CapcliError",
    "Caption",
    "Captioner",
    "DataError",
    "DependencyError",
    "ImageError",
    "OutputError",
    "ProviderError",
    "Result",
    "UsageError",
    "__version__",
]


def __getattr__(name: str) -> Any:
    # NumPy, Pillow and ONNX Runtime are loaded with the first captioner, not with the package (PEP 562).
    if name in ("Caption", "Captioner"):
        from capcli import captioner

        return getattr(captioner, name)
    if name == "Result":
        from capcli.pipeline import Result

        return Result
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
