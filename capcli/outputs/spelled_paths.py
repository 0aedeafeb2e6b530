"""One name for a photo, however its path is spelled: `q/a.jpg`, `./q//a.jpg` and `/home/me/q/a.jpg` are the same.

Links are not followed: a photo that lies in two folders by way of a link is two inputs. Knows nothing of rows.
"""

from __future__ import annotations

import os
from functools import lru_cache


def one_spelling(path: str) -> str:
    """An absolute path without needless parts, seen from the current folder."""
    folder, name = os.path.split(path)
    try:
        return os.path.join(_folder(folder, os.getcwd()), name)
    except (OSError, ValueError):  # the current folder is gone; no path at all
        return path


@lru_cache(maxsize=4096)
def _folder(folder: str, here: str) -> str:
    full = os.path.join(here, folder)
    parts = full.split(os.sep)
    if os.pardir in parts:
        # Only the file system knows what "link/.." is.
        last = len(parts) - parts[::-1].index(os.pardir)
        full = os.path.join(os.path.realpath(os.sep.join(parts[:last])), *parts[last:])
    full = os.path.normpath(full)
    # A shell's $PWD keeps the links by which the user came here.
    shown = os.environ.get("PWD", "").rstrip(os.sep)
    if os.path.isabs(shown) and (full + os.sep).startswith(shown + os.sep) and os.path.samefile(shown, here):
        full = here + full[len(shown) :]
    return os.path.normcase(full)
