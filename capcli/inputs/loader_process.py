"""What a loader process does: images asked for on its standard input -> their pixels on its standard output.

Started by `capcli.inputs.started_loader`. It imports what reads images and nothing else, so that it starts quickly and
stays small; until `main` runs, not even that.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import struct
import sys
from typing import BinaryIO

# Whether a path follows or an image's bytes, how many bytes, the wanted width and height, and the most pixels.
REQUEST = struct.Struct("<?QIIQ")
# One of the answers, and how many bytes follow it.
REPLY = struct.Struct("<cQ")
# Ready for the first request, or never; an image is in hand; its pixels; or why there are none.
READY, UNABLE, TAKEN, PIXELS, ERROR = (bytes([letter]) for letter in b"RUTPE")

# Of what was measured, a WebP with transparency takes the most: 29 bytes a pixel.
_BYTES_A_PIXEL = 48
_BYTES_BESIDES = 1 << 30
# Of the processor's time for one image: nobody is left to end this process when the one that started it was killed.
_LONGEST_ALONE_S = 1800


def main() -> None:
    """Answers requests until there are no more, or nobody is left to answer."""
    requests, replies = _streams()
    with contextlib.suppress(BrokenPipeError):
        _answer(requests, replies)
    # Whatever a decoder has left behind, the interpreter does not tidy up.
    os._exit(0)


def _answer(requests: BinaryIO, replies: BinaryIO) -> None:
    try:
        _forgo()
        from capcli.errors import ImageError
        from capcli.inputs.images import load_image
    except Exception as error:
        _reply(replies, UNABLE, f"{type(error).__name__}: {error}")
        return
    _reply(replies, READY)
    while len(header := requests.read(REQUEST.size)) == REQUEST.size:
        is_path, length, width, height, max_pixels = REQUEST.unpack(header)
        content = requests.read(length)
        if len(content) < length:
            return
        _reply(replies, TAKEN)
        _bound(max_pixels)
        try:
            source = os.fsdecode(content) if is_path else content
            pixels = load_image(source, size=(width, height), max_pixels=max_pixels)
        except ImageError as error:
            _reply(replies, ERROR, str(error))
        except Exception as error:
            _reply(replies, ERROR, f"cannot be read ({type(error).__name__}: {error})")
        else:
            replies.write(REPLY.pack(PIXELS, pixels.nbytes))
            replies.write(pixels.data)
            replies.flush()


def _reply(replies: BinaryIO, what: bytes, text: str = "") -> None:
    content = text.encode("utf-8", "surrogatepass")
    replies.write(REPLY.pack(what, len(content)) + content)
    replies.flush()


def _streams() -> tuple[BinaryIO, BinaryIO]:
    """Requests and replies, where nothing that a decoder reads or prints can get between them."""
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    return requests, replies


def _forgo() -> None:
    """Leaves no core dump, shows no dialogue, and is the first to go where memory is short."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.SetErrorMode(msvcrt.SEM_FAILCRITICALERRORS | msvcrt.SEM_NOGPFAULTERRORBOX)
        return
    import resource

    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Linux.
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")


def _bound(max_pixels: int) -> None:
    """Bounds memory and time of the next image, where the system can."""
    if sys.platform == "win32":
        return
    import resource

    most = _BYTES_BESIDES + _BYTES_A_PIXEL * max_pixels
    with contextlib.suppress(OSError, ValueError, OverflowError):
        # The user's own limit, if it is the lower one.
        soft, hard = _user_limit()
        if soft == resource.RLIM_INFINITY or most < soft:
            resource.setrlimit(resource.RLIMIT_AS, (most, hard))
    # What it does where nobody handles it: it ends the process.
    signal.setitimer(signal.ITIMER_PROF, _LONGEST_ALONE_S)


@functools.cache
def _user_limit() -> tuple[int, int]:
    """The limits of memory that were there before the first image."""
    import resource

    return resource.getrlimit(resource.RLIMIT_AS)
