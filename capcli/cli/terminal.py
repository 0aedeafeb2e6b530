"""What commands print to people, line by line, whatever a path may hold: messages on stderr, answers on stdout."""

from __future__ import annotations

import errno
import os
import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from capcli.errors import OutputError
from capcli.messages import shortened

# Directions of text (Unicode, annex 9), and its ends of lines and paragraphs.
_TURNING = re.compile("[\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


_Thing = TypeVar("_Thing")

# What the command line names and would fill the screen, and how messages have it instead.
_shortened: dict[str, str] = {}


class Interrupted(BaseException):
    """Ctrl-C, as it leaves Typer, which would end the program without a word if it saw a KeyboardInterrupt."""


class ReaderGoneError(BaseException):
    """Whoever read standard output has closed it (`| head -1`). No OSError: Typer would end the program itself."""


def open_closed_streams() -> None:
    """Puts something in the place of standard streams that are closed, as some service managers start programs.

    Python has None in their place, and the next file that is opened would get their number, so that a library's
    message could end up in somebody's captions. Standard input is then empty, errors go nowhere, and whoever writes
    to standard output is told that it is closed.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            # It gets the lowest free number, this one; reading only, for what is written should fail.
            os.open(os.devnull, os.O_RDONLY if number < 2 else os.O_WRONLY)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", errors="surrogateescape", closefd=False))  # noqa: SIM115


def shorten_in_messages(arguments: Iterable[str]) -> None:
    """Has messages show the long names among a command's arguments by their beginning and end, whoever names them."""
    _shortened.clear()
    for argument in arguments:
        for name in (argument, argument.partition("=")[2]):
            # As they were typed, and as paths are written.
            for spelled in {name, str(Path(name)), os.path.expanduser(name)} if shortened(name) != name else ():
                _shortened[spelled] = shortened(spelled)


def say(message: str) -> None:
    """Prints one line on stderr, prefixed with the program's name."""
    for name, short in _shortened.items():
        message = message.replace(name, short)
    line = f"capcli: {(on_screen if sys.stderr.isatty() else one_line)(message)}\n"
    try:
        sys.stderr.buffer.write(line.encode(sys.stderr.encoding or "utf-8", "surrogateescape"))
        sys.stderr.flush()
    except UnicodeEncodeError:
        sys.stderr.write(line.encode("ascii", "backslashreplace").decode("ascii"))
    except OSError:
        # stderr was closed; there is nobody left to tell.
        pass


def answer(text: str, mark: str = "", style: str = "") -> None:
    """Prints one line of a command's result on stdout, at once.

    Args:
        text: the line.
        mark: what comes before it; on a terminal in `style` (a colour rich knows), unless NO_COLOR is set.
    Raises:
        ReaderGoneError: whoever read it has gone.
        OutputError: it cannot be written.
    """
    line = (on_screen if sys.stdout.isatty() else one_line)(mark + text)
    if style and sys.stdout.isatty():
        with _stdout_errors():
            _print_marked(line, len(mark), style)
        return
    encoding = sys.stdout.encoding or "utf-8"
    try:
        content = line.encode(encoding, "surrogateescape")
    except UnicodeEncodeError:
        content = line.encode(encoding, "backslashreplace")
    _write_stdout(content + b"\n")


def with_bar(things: Iterable[_Thing], what: str, count: int) -> Iterable[_Thing]:
    """The same things, with a progress bar on stderr where somebody sees it.

    Args:
        things: what is worked on, one after the other.
        what: what the bar is called.
        count: their number.
    """
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    return track(things, what, count, console=console, transient=True, disable=not console.is_terminal)


def write_stdout(*records: bytes) -> None:
    """Writes to standard output, at once: exactly these bytes, unless it is a terminal.

    Args:
        records: each ends its line, if it is not empty. Other control characters in them, and bytes that are no text,
            are escapes on a terminal, but for tabs.
    Raises:
        ReaderGoneError: whoever read it has gone.
        OutputError: it cannot be written.
    """
    _write_stdout(b"".join(map(_record_on_screen, records) if sys.stdout.isatty() else records))


def _write_stdout(content: bytes) -> None:
    with _stdout_errors():
        sys.stdout.buffer.write(content)
        sys.stdout.flush()


def stdout_problem(error: OSError) -> str:
    """Why standard output cannot be written, in words."""
    return "it is closed" if error.errno == errno.EBADF else error.strerror or str(error)


@contextmanager
def _stdout_errors() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as error:
        raise ReaderGoneError from error
    except OSError as error:
        raise OutputError(f"standard output cannot be written ({stdout_problem(error)})") from error


def _record_on_screen(record: bytes) -> bytes:
    """One record as a terminal may have it."""
    text = record.decode("utf-8", "surrogateescape")
    end = "\n" if text.endswith("\n") else ""
    cells = map(on_screen, text.removesuffix("\n").removesuffix("\r").split("\t"))
    return ("\t".join(cells) + end).encode()


def _print_marked(line: str, length: int, style: str) -> None:
    from rich.console import Console
    from rich.text import Text

    shown = Text(line.encode("utf-8", "backslashreplace").decode("utf-8"))
    shown.stylize(style, 0, length)
    # Folding a line is the terminal's work: what is copied from it should stay one line.
    Console().print(shown, soft_wrap=True, highlight=False)


def one_line(text: str) -> str:
    """Control characters as escapes, so that a path can neither break the line nor speak to the terminal."""
    return "".join(
        char if unicodedata.category(char) != "Cc" else char.encode("unicode_escape").decode("ascii") for char in text
    )


def on_screen(text: str) -> str:
    """One line as a terminal may have it, whatever somebody has written into a file's name.

    Bytes that are no text are escapes too: some terminals obey those above 127. So are the characters that turn the
    direction of text round, which would show another name than the file has.
    """
    shown = _TURNING.sub(lambda found: f"\\u{ord(found[0]):04x}", one_line(text))
    return "".join(f"\\x{ord(char) - 0xDC00:02x}" if "\udc80" <= char <= "\udcff" else char for char in shown)
