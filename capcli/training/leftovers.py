"""What PyTorch leaves among temporary files though nothing was compiled: an empty folder. Imports nothing of it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

# PyTorch sets it to the folder that it has made, when it is asked to do anything that might compile something.
_FOLDER = "TORCHINDUCTOR_CACHE_DIR"
_NAMED_BY_USER = _FOLDER in os.environ


@contextlib.contextmanager
def none_left() -> Iterator[None]:
    """Around what a command does with PyTorch, which is to be imported after this.

    A folder that the user has named, or that something is in, stays.
    """
    try:
        yield
    finally:
        if not _NAMED_BY_USER and (made := os.environ.get(_FOLDER)) is not None:
            with contextlib.suppress(OSError):
                os.rmdir(made)
