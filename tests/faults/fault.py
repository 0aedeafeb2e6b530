"""What a planted fault is. The faults lie beside this, in a file for each area of the package.

A fault whose code is gone goes too; one whose code is worded anew is worded anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """One fault: what to replace by what, and the tests (as pytest is told them) that should see it.

    `old` must be in exactly one place of its area's rooms; it is found there wherever code has moved to.
    """

    name: str
    old: str
    new: str
    tests: str


@dataclass(frozen=True)
class Area:
    """Faults by section, and the `rooms`, folders and files, that their texts are looked for in."""

    rooms: tuple[str, ...]
    sections: Mapping[str, Sequence[Fault]]
