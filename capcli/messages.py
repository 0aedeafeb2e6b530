"""How names are shown in messages: printable, on one line, not too long, the first few of many.

Knows nothing of what they name.
"""

from __future__ import annotations

from collections.abc import Sequence

_FEW = 5


def first_few(names: Sequence[str]) -> str:
    """The first names of many, with commas between; "..." says that there are more."""
    shown = ", ".join(map(printable, names[:_FEW]))
    return f"{shown}, ..." if len(names) > _FEW else shown


def shortened(name: str, longest: int = 200) -> str:
    """A name that would fill the screen as its beginning and its end, where folders and files differ."""
    half = longest // 2
    return name if len(name) <= longest else f"{name[:half]}...{name[-half:]}"


def printable(name: str) -> str:
    """A name with escapes (\\n, \\udcff) in place of what cannot be printed."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in name)
