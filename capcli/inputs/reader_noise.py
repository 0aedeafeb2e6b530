"""Keeps to themselves what image readers print or log: it names no file, and would stand amid a progress bar.

What matters of it becomes the one line of the photo that cannot be read. Decodes nothing.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import threading
import warnings
from types import TracebackType

# Where nobody has asked for logs, Python prints the grave ones to stderr.
logging.getLogger("PIL").addHandler(logging.NullHandler())


class _NoWarnings:
    """Warnings of Pillow, about odd metadata and many pixels, are ignored meanwhile.

    `warnings.catch_warnings` alone is not for several threads, as loaders are: the first to leave would put back for
    all what it has found.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._found: warnings.catch_warnings[None] = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._found = warnings.catch_warnings()
                self._found.__enter__()
                warnings.simplefilter("ignore")
            self._inside += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._found.__exit__(None, None, None)


# To be entered by any thread, as often as it likes.
no_warnings = _NoWarnings()


@functools.cache
def silence_libtiff() -> None:
    """Keeps libtiff from writing its own lines to stderr.

    Pillow has no call for it. Where its libtiff hides its names (Windows), its lines stay.
    """
    import ctypes

    from PIL import _imaging

    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(_imaging.__file__)
        for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
            install = getattr(library, name)
            install.argtypes, install.restype = [ctypes.c_void_p], ctypes.c_void_p
            install(None)
