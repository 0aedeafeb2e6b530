"""capcli: photos to sentences, offline. The public API; importing it stays cheap.

from capcli import Captioner
print(Captioner().caption("photo.jpg"))
"""

from __future__ import annotations

from typing import TYPE_CHECKING

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
from capcli.lazy import lazy_names

if TYPE_CHECKING:
    from capcli.captioner import Caption, Captioner, Word
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
    "Word",
    "__version__",
]

# NumPy, Pillow and ONNX Runtime are loaded with the first captioner, not with the package.
__getattr__ = lazy_names(
    __name__, {"Caption": "captioner", "Captioner": "captioner", "Result": "pipeline", "Word": "captioner"}
)
