"""What a photo is known by, however its path is spelled: `q/a.jpg`, `./q//a.jpg` and `/home/me/q/a.jpg` are the same.

Links are not followed: a photo that lies in two folders by way of a link is two inputs. Knows nothing of rows.
"""

from __future__ import annotations

import os
import sys
from hashlib import blake2b

from capcli.outputs.path_table import KEY_BYTES

_MOST_FOLDERS = 4096
# As `os.fsencode` and `os.path.normcase` do it, which take longer to be called than to do it.
_ENCODING, _ERRORS = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()
_IS_CASELESS = os.path.normcase("A") != "A"


class PathKeys:
    """Makes a short key of each path, seen from the folder that is the current one when this is made."""

    def __init__(self) -> None:
        try:
            self._here = os.getcwd()
        except OSError:  # it was deleted
            self._here = ""
        # A shell's $PWD keeps the links by which the user came here.
        shown = os.environ.get("PWD", "").rstrip(os.sep)
        self._shown = shown if shown != self._here and _same_folder(shown, self._here) else ""
        self._folders: dict[str, bytes] = {}

    def key(self, path: str) -> bytes:
        """`KEY_BYTES` bytes: a digest, so that a million paths take less to remember than the paths themselves."""
        cut = path.rfind("/") + 1 if os.sep == "/" else max(path.rfind(os.sep), path.rfind("/")) + 1
        folder = self._folders.get(path[:cut])
        if folder is None:
            folder = self._learn(path[:cut])
        name = os.path.normcase(path[cut:]) if _IS_CASELESS else path[cut:]
        return blake2b(folder + name.encode(_ENCODING, _ERRORS), digest_size=KEY_BYTES).digest()

    def _learn(self, folder: str) -> bytes:
        if len(self._folders) >= _MOST_FOLDERS:
            self._folders.clear()
        self._folders[folder] = known = os.fsencode(os.path.normcase(self.one_spelling(folder)) + os.sep)
        return known

    def one_spelling(self, folder: str) -> str:
        """The absolute path of a folder without needless parts: one for all that this takes for the same."""
        full = os.path.join(self._here, folder)
        parts = full.split(os.sep)
        if os.pardir in parts:
            # Only the file system knows what "link/.." is.
            last = len(parts) - parts[::-1].index(os.pardir)
            try:
                full = os.path.join(os.path.realpath(os.sep.join(parts[:last])), *parts[last:])
            except (OSError, ValueError):  # no path at all, such as one with a NUL
                return full
        full = os.path.normpath(full)
        if self._shown and (full + os.sep).startswith(self._shown + os.sep):
            full = self._here + full[len(self._shown) :]
        return full


def _same_folder(shown: str, here: str) -> bool:
    try:
        return os.path.isabs(shown) and os.path.samefile(shown, here)
    except OSError:
        return False
