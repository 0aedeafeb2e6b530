"""How one caption came about: its words, how sure they are, where the model looked; as data, a page and a picture.

Knows nothing of folders, rows or terminals.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from capcli.lazy import lazy_names

if TYPE_CHECKING:
    from capcli.explanation.parts import Explanation, explain

__all__ = ["Explanation", "explain"]

__getattr__ = lazy_names(__name__, {"Explanation": "parts", "explain": "parts"})
