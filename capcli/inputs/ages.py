"""Which inputs are new enough: by the time at which a photo's file was last changed. Reads no photo."""

from __future__ import annotations

import copy
import os
import re
import time
from collections.abc import Iterable, Iterator
from datetime import datetime

from capcli.errors import UsageError
from capcli.inputs.paths import InputItem

_UNITS = {"h": 3600, "d": 86400, "w": 7 * 86400}


class Newer:
    """Takes inputs that were changed after some time.

    What is in a tar goes by the time that the tar has of it; what has no time, and what cannot be found, is taken.

    Args:
        text: an ISO date or time (2026-11-20, 2026-11-20T08:30), of this machine's time zone unless it names one, or
            how long ago: 12h, 7d, 2w.
    Raises:
        UsageError: it is neither.

    `since`: that time, in seconds since 1970. `older`: inputs that were left out so far.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.since = _since(text)
        self.older = 0

    def nothing_new(self) -> str:
        """What to say where all inputs are older."""
        photos = "1 photo is" if self.older == 1 else f"{self.older} photos are"
        return f"nothing to do: {photos} older than --newer-than {self.text}"

    def uncounted(self) -> Newer:
        """Another one that takes the same, and counts for itself."""
        return copy.copy(self)

    def takes(self, changed: float | None) -> bool:
        """Whether something with this time is taken; counts it if not.

        Args:
            changed: in seconds since 1970; None where it is not known.
        """
        if changed is None or changed >= self.since:
            return True
        self.older += 1
        return False

    def of(self, items: Iterable[InputItem]) -> Iterator[InputItem]:
        """Those of several inputs that are taken, as they come."""
        return (item for item in items if self.takes(_changed(item)))


def _changed(item: InputItem) -> float | None:
    if item.changed is not None or not item.is_file:
        return item.changed
    try:
        return os.stat(item.path).st_mtime
    except (OSError, ValueError):
        return None


def _since(text: str) -> float:
    ago = re.fullmatch(r"([0-9]{1,6})([hdw])", text.strip().lower())
    if ago is not None:
        return time.time() - int(ago[1]) * _UNITS[ago[2]]
    try:
        return datetime.fromisoformat(text.strip()).timestamp()
    except (ValueError, OverflowError, OSError) as error:
        raise UsageError(
            f"--newer-than is {text!r}; give a date or time (2026-11-20, 2026-11-20T08:30), or 12h, 7d, 2w ago"
        ) from error
