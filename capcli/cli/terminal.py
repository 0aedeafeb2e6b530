"""What commands print to people: one line a message, on stderr, whatever a path may hold."""

from __future__ import annotations

import sys
import unicodedata


class ReaderGoneError(BaseException):
    """Whoever read standard output has closed it (`| head -1`). No OSError: Typer would end the program itself."""


def say(message: str) -> None:
    """Prints one line on stderr, prefixed with the program's name."""
    line = f"capcli: {one_line(message)}\n"
    try:
        sys.stderr.buffer.write(line.encode(sys.stderr.encoding or "utf-8", "surrogateescape"))
        sys.stderr.flush()
    except UnicodeEncodeError:
        sys.stderr.write(line.encode("ascii", "backslashreplace").decode("ascii"))
    except OSError:
        # stderr was closed; there is nobody left to tell.
        pass


def one_line(text: str) -> str:
    """Control characters as escapes, so that a path can neither break the line nor speak to the terminal."""
    return "".join(
        char if unicodedata.category(char) != "Cc" else char.encode("unicode_escape").decode("ascii") for char in text
    )
