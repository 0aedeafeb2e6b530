"""A captioning model on disk: manifest, checksums, vocabulary, and which bundles this machine has.

Knows nothing of ONNX or images: a graph is a file with a checksum here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from capcli.bundle.bundle import DEFAULT, Bundle, Manifest, find_bundle, load_bundle, read_bundle
from capcli.bundle.habits import Habits

if TYPE_CHECKING:
    from capcli.bundle.tokens import Tokenizer

__all__ = ["DEFAULT", "Bundle", "Habits", "Manifest", "Tokenizer", "find_bundle", "load_bundle", "read_bundle"]


def __getattr__(name: str) -> Any:
    # The vocabulary takes the tokenizers library, the manifest does not.
    if name == "Tokenizer":
        from capcli.bundle.tokens import Tokenizer

        return Tokenizer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
