"""A photo's file, opened, and what to say where there is none. Decodes nothing."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from capcli.errors import ImageError
from capcli.inputs.kinds import HEAD_BYTES, name_foreign, sniff
from capcli.messages import printable


def open_photo(path: str) -> BinaryIO:
    """Opens a file for reading, whatever is in it.

    Raises:
        ImageError: there is none, or it cannot be opened. The message does not name the file.
    """
    try:
        # A pipe or device that is named like a photo would block for ever when it is opened or read.
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise ImageError("is a folder, not an image")
        if not stat.S_ISREG(mode):
            raise ImageError("is not a regular file")
        return Path(path).open("rb")
    except OSError as error:
        reason = in_words(error.strerror or str(error))
        if not path:
            reason = "its path is empty"
        elif isinstance(error, FileNotFoundError):
            reason = "is a link to a file that is not there" if os.path.islink(path) else "no such file"
        raise ImageError(reason) from error
    except ValueError as error:
        raise ImageError(f"is no valid path ({printable(str(error))})") from error


def check_photo(path: str) -> None:
    """Refuses a file that does not begin like a photo: nothing is written beside it or into it.

    Raises:
        ImageError: it is none, or cannot be read. The message does not name the file.
    """
    try:
        with open_photo(path) as file:
            head = file.read(HEAD_BYTES)
    except OSError as error:
        raise ImageError(f"cannot be read ({in_words(error.strerror or str(error))})") from error
    if not head:
        raise ImageError("is empty")
    if sniff(head) is None:
        raise ImageError(name_foreign(head))


def in_words(reason: str) -> str:
    """The system's reason for an error, as a part of a sentence."""
    return reason[:1].lower() + reason[1:]
