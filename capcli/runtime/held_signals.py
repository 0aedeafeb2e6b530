"""Ctrl-C and SIGTERM that wait while native code loads.

Native code that loads calls Python back, and Python runs the handlers of signals then, too. What a handler raises there
is lost, taken for a broken library, or ends the process from within C++. Knows nothing of what the handlers do.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def held_signals() -> Iterator[None]:
    """A context in which no handler runs; what came meanwhile is handled at its end, as if it came then.

    Other threads than the main one run no handlers, and there it does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    handlers = {
        number: handler for number in (signal.SIGINT, signal.SIGTERM) if callable(handler := signal.getsignal(number))
    }
    for number in handlers:
        signal.signal(number, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for each in came:
            signal.raise_signal(each)
