"""What captions are never written over, whatever the user said: pictures, and what the command itself reads.

Also where links lead: out of a folder that was walked nothing is written. Decodes nothing, and writes nothing.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from capcli.errors import UsageError
from capcli.inputs.kinds import head_of, is_foreign, is_netpbm, sniff
from capcli.inputs.paths import PHOTO_SUFFIXES, UNREAD_SUFFIXES

# Pictures that folders are not searched for. Some begin like anything.
_OTHER = (
    ".apng .avifs .cin .cur .dcx .dds .dpx .emf .fff .fit .fits .gpr .heics .hif .icns .ico .iiq .insp "
    ".j2c .j2k .jng .jpc .jpf .jpm .jpx .jxr .kra .miff .mos .msp .ora .pam .pbm .pcd .pcx .pfm "
    ".pgm .pict .pjp .pjpeg .pnm .ppm .psp .qoi .ras .sgi .svgz .tga .wbmp .wdp .wmf .xbm .xpm"
)
_OTHER_PICTURES = frozenset(_OTHER.split())


def check_output_file(path: Path, inputs: Iterable[str | os.PathLike[str] | int] = ()) -> None:
    """Refuses an output file that is a picture, would be taken for one, or is read by the same command.

    Args:
        path: the output file, which need not exist. A link is what it points to.
        inputs: paths, or descriptors of open files.
    Raises:
        UsageError: it must not be written.
    """
    place = os.path.realpath(path)
    suffix = next((end for end in map(_suffix, (os.fspath(path), place)) if is_picture_suffix(end)), None)
    if suffix is not None:
        raise UsageError(f"{path}: ends in {suffix} as photos do; name another output file, such as captions.csv")
    if is_picture(place):
        raise UsageError(f"{path}: is a photo, and is never replaced; name another output file, such as captions.csv")
    if any(is_same_file(place, given) for given in inputs):
        raise UsageError(f"{path}: is one of the inputs, and is never replaced; name another output file")


def is_picture_suffix(suffix: str) -> bool:
    """Whether files that end so are pictures, raw photos or videos, in any case."""
    return suffix.lower() in PHOTO_SUFFIXES | UNREAD_SUFFIXES | _OTHER_PICTURES


def is_picture(path: str) -> bool:
    """Whether a file begins like a picture, one that cannot be read here included; False where that cannot be known."""
    head = head_of(path)
    if head is None:
        return False
    # What is foreign and holds no NUL may be text: rows of photos in a folder "mmorpg" begin like a raw photo.
    return sniff(head) is not None or is_netpbm(head) or (b"\0" in head and is_foreign(head))


def is_same_file(path: str, other: str | os.PathLike[str] | int) -> bool:
    """Whether both name one file, by links or otherwise; pipes and devices, which many may share, are none."""
    with suppress(OSError, ValueError):
        try:
            here, there = os.stat(path), os.stat(other)
        except FileNotFoundError:
            return not isinstance(other, int) and os.path.realpath(path) == os.path.realpath(other)
        return stat.S_ISREG(here.st_mode) and os.path.samestat(here, there)
    return False


def leads_out(path: str, folder: str) -> bool:
    """Whether links on the way to a path below a folder lead to a place that is not below it."""
    base = os.path.realpath(folder)
    try:
        return os.path.commonpath([base, os.path.realpath(path)]) != base
    except ValueError:
        return True  # another drive of Windows


def _suffix(path: str) -> str:
    return os.path.splitext(path)[1]
