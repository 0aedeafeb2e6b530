"""Texts for property-based tests, of which half the characters are those where something goes wrong."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st


def texts(often: str, *, min_size: int = 0, max_size: int | None = None, **others: Any) -> st.SearchStrategy[str]:
    """Texts of the characters `often` and of `others`, as `st.characters` takes them.

    Hypothesis' own `text` makes one set of both, from which it draws evenly and leaves out surrogates: those that count
    would hardly ever come.
    """
    return st.lists(st.sampled_from(often) | st.characters(**others), min_size=min_size, max_size=max_size).map("".join)
