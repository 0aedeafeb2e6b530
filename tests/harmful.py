"""A JPEG decoder that does harm: what a photo's comment says, in whichever process decodes it.

It stands for the faults that decoders written in C have; the processes of a test get it by `PYTHONPATH`.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image

_DECODER = """
import ctypes, os, signal, struct, time

from PIL import JpegImagePlugin

def lie():
    for end in range(3, 32):
        try:
            os.write(end, struct.pack("<cQ", b"P", 100) + bytes(100))
        except OSError:
            pass
    os._exit(0)

def told_crash():
    with open(os.environ["CRASHES"], "ab") as told:
        told.write(b"x")
    ctypes.string_at(0)

HARM = {
    b"crash": lambda: ctypes.string_at(0),
    b"told crash": told_crash,
    b"exit": lambda: os._exit(0),
    b"killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    b"hang": lambda: time.sleep(1000),
    b"slow": lambda: time.sleep(1),
    b"lie": lie,
    b"memory": lambda: bytearray(3 << 30),
    b"print": lambda: os.write(1, b"out of cheese\\n" * 100) and os.write(2, b"redo from start\\n" * 100),
}
load = JpegImagePlugin.JpegImageFile.load

def harmful(image):
    HARM.get(image.info.get("comment"), lambda: None)()
    return load(image)

JpegImagePlugin.JpegImageFile.load = harmful
"""


def harmful_decoder(folder: Path) -> Path:
    """Makes a folder to name in `PYTHONPATH`."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(_DECODER)
    return folder


def photo_saying(comment: str, path: Path) -> Path:
    """Writes a whole photo that is harmless anywhere else."""
    Image.new("RGB", (96, 64), "teal").save(path, format="JPEG", comment=comment.encode())
    return path
