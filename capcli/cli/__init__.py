"""The command line: parse, call, print. Errors become one line and an exit code here and nowhere else.

Importing this package, and `capcli --help`, load neither NumPy nor ONNX Runtime nor torch: commands import what they
need when they run.
"""

from __future__ import annotations

import errno
import functools
import gc
import os
import signal
import sys
import traceback
from types import FrameType

from capcli.cli.terminal import (
    Interrupted,
    ReaderGoneError,
    open_closed_streams,
    say,
    shorten_in_messages,
    stdout_problem,
)
from capcli.errors import CapcliError, OutputError

INTERRUPTED, TERMINATED = 130, 143
# What Python says where the system gives it no thread.
_NO_THREAD = "can't start new thread"
# What the system's loader says where a library does not fit into the memory that a process may have.
_NO_ROOM = "failed to map segment from shared object"
# Closed; full, of the disk, of what a user or a file may have; broken.
_UNWRITABLE = {errno.EBADF, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
# Of signals that have ended what was being done, in the order in which they came.
_stopped_by: list[int] = []


class Terminated(BaseException):
    """SIGTERM arrived."""


def main() -> None:
    """Entry point of the `capcli` command."""
    open_closed_streams()
    code = run(sys.argv[1:])
    # Nothing is left to be finished or told, and a handler that raised now would be a traceback to the user.
    for number in (signal.SIGINT, signal.SIGTERM):
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    # Python looks through all objects once more before it ends, which took a tenth of the time of a first caption.
    gc.freeze()
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Runs one command.

    Returns:
        The exit code: 0 done; 1 some inputs failed; 2 nothing was started; 3 the model or the provider cannot be
        used; 4 the output cannot be written; 130 Ctrl-C; 143 SIGTERM.
    """
    if hasattr(signal, "SIGTERM"):
        signal.signal(signal.SIGTERM, functools.partial(_stop, os.getpid(), Terminated))
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, functools.partial(_stop, os.getpid(), KeyboardInterrupt))
    shorten_in_messages(arguments)
    _stopped_by.clear()
    try:
        # Typer takes its time to load, and whoever stops the program meanwhile gets no traceback.
        from capcli.cli.app import app

        result = app(arguments, prog_name="capcli", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except (Interrupted, KeyboardInterrupt, Terminated):
        return _stopped()
    except (ReaderGoneError, BrokenPipeError):
        # The reader has gone (`| head -1`): nothing is wrong. Python would complain when it flushes at exit.
        _close_stdout()
        return 0
    except Exception as error:
        # A library that was loading when a signal came may have made an error of its own of it.
        return _stopped() if _stopped_by else _failed(error, arguments)
    finally:
        try:
            sys.stdout.flush()
        except OSError:
            # What could not be written was told; Python would fail with it once more at exit, with a code of its own.
            _close_stdout()


def _stopped() -> int:
    """The exit code of a command that a signal has ended; says so where a person pressed Ctrl-C."""
    if signal.SIGTERM in _stopped_by:
        return TERMINATED
    say("stopped")
    return INTERRUPTED


def _failed(error: Exception, arguments: list[str]) -> int:
    """The exit code of an error, which is said in one line."""
    if isinstance(error, CapcliError):
        say(str(error))
        return error.exit_code
    if isinstance(error, MemoryError):
        say("out of memory; use a smaller --batch-size or smaller images")
        return 1
    # Typer's and Click's own errors differ in their base class from version to version, not in these two.
    if hasattr(error, "format_message") and hasattr(error, "exit_code"):
        say(_usage(error, arguments))
        return int(error.exit_code)
    if isinstance(error, OSError) and error.filename is None and error.errno in _UNWRITABLE:
        # The text of --help, which Typer prints itself.
        say(f"standard output cannot be written ({stdout_problem(error)})")
        return OutputError.exit_code
    if isinstance(error, ImportError) and _NO_ROOM in str(error):
        say(f"out of memory: a library cannot be loaded ({error})")
        return 1
    if isinstance(error, RuntimeError) and str(error) == _NO_THREAD:
        say("no thread can be started: out of memory, or too many processes run; end some of them")
        return 1
    if os.environ.get("CAPCLI_DEBUG"):
        traceback.print_exception(error)
    say(f"internal error: {type(error).__name__}: {error} (set CAPCLI_DEBUG=1 to see where)")
    return 1


def _usage(error: Exception, arguments: list[str]) -> str:
    message = str(error.format_message()).rstrip(".")  # type: ignore[attr-defined]
    files = [name for name in arguments if name.startswith("-") and name != "-" and os.path.lexists(name)]
    if files and "--" not in arguments:
        return f"{message}; a file whose name begins with - is given as ./{files[0]}, or after --"
    context = getattr(error, "ctx", None)
    command = getattr(context, "command_path", None) or "capcli"
    return f"{message or 'a command is missing'}; see {command} --help"


def _stop(process: int, error: type[BaseException], number: int, frame: FrameType | None) -> None:
    if os.getpid() != process:
        # A worker process that was forked has the handler too, and nothing to clean up or to say.
        os._exit(128 + number)
    _stopped_by.append(number)
    raise error


def _close_stdout() -> None:
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())
    os.close(devnull)
