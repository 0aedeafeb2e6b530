"""The user's own folders for what programs keep: models, remembered outputs, features.

As the XDG Base Directory Specification has them; a relative path in its variables counts for nothing. Makes nothing,
and never fails: a home that is unknown or closed is found out by whoever looks into it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


def data_folder() -> Path:
    """Where a user's own models lie."""
    return _named("XDG_DATA_HOME") or _named("LOCALAPPDATA") or _home() / ".local" / "share"


def state_folder() -> Path:
    """What a program remembers from run to run and nobody would miss."""
    if sys.platform == "win32":
        return _named("LOCALAPPDATA") or _home() / "AppData" / "Local"
    if sys.platform == "darwin":
        return _home() / "Library" / "Application Support"
    return _named("XDG_STATE_HOME") or _home() / ".local" / "state"


def cache_folder() -> Path:
    """What can be made again."""
    return _named("XDG_CACHE_HOME") or _home() / ".cache"


def _named(variable: str) -> Path | None:
    value = os.environ.get(variable, "")
    return Path(value) if os.path.isabs(value) else None


def _home() -> Path:
    # Not Path.home(), which raises where no home is known (a container with a user of its own). What "~" stands for
    # then is no folder of anybody's.
    return Path(os.path.expanduser("~"))
