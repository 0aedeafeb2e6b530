"""A captioning model on disk: manifest, checksums, vocabulary, and which bundles this machine has.

Knows nothing of ONNX or images: a graph is a file with a checksum here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from capcli.bundle.bundle import DEFAULT, Bundle, Manifest, find_bundle, load_bundle, read_bundle
from capcli.bundle.habits import Habits
from capcli.lazy import lazy_names

if TYPE_CHECKING:
    from capcli.bundle.tokens import Tokenizer

__all__ = ["DEFAULT", "Bundle", "Habits", "Manifest", "Tokenizer", "find_bundle", "load_bundle", "read_bundle"]

# The vocabulary takes the tokenizers library, the manifest does not.
__getattr__ = lazy_names(__name__, {"Tokenizer": "tokens"})
