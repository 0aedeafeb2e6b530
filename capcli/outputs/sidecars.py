"""A caption in a text file beside its image: photo.jpg -> photo.txt, one caption a line, in UTF-8.

Programs that train image generators read captions from such files. Knows nothing of models; of images only that a
sidecar must not be written over one.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Sequence
from hashlib import blake2b

from capcli.errors import OutputError, UsageError
from capcli.inputs.kinds import sniff
from capcli.inputs.paths import PHOTO_SUFFIXES
from capcli.outputs.destinations import Destination, Outcome
from capcli.outputs.files import Draft, why
from capcli.outputs.rows import Row

_HEAD_BYTES = 64


class Sidecars(Destination):
    """Writes the sidecars of one run and remembers which image has which.

    Two images that differ only in their suffix, a.jpg and a.png, want the same sidecar: the first one gets it. To know
    this it keeps about 200 bytes for each image.

    Args:
        suffix: what takes the place of the image's suffix, such as ".txt".
        overwrite: replace sidecars of earlier runs; never those of this one.
    Raises:
        UsageError: the suffix is none, or belongs to other files than captions.
    """

    def __init__(self, suffix: str = ".txt", *, overwrite: bool = False) -> None:
        if len(suffix) < 2 or not suffix.startswith(".") or any(char in suffix for char in "/\\\0\r\n"):
            raise UsageError(f"{suffix!r} is no suffix for sidecars; use one such as .txt or .caption")
        if suffix.lower() in PHOTO_SUFFIXES:
            raise UsageError(f"sidecars cannot end in {suffix}: they would take the photos' own names; use .txt")
        if suffix.lower() == ".xmp":
            raise UsageError("sidecars are plain text, and .xmp files hold photo editors' settings; use .txt")
        self._suffix = suffix
        self._overwrite = overwrite
        self._owners: dict[bytes, str] = {}

    def path_for(self, image: str) -> str:
        """The sidecar's path, beside the image as it was named: not beside what a symbolic link points to."""
        return os.path.splitext(image)[0] + self._suffix

    def wants(self, path: str) -> bool:
        """False where an image has a sidecar from before this run that stays as it is."""
        sidecar = self.path_for(path)
        try:
            if self._overwrite or not os.path.lexists(sidecar):
                return True
            target = os.path.realpath(sidecar) if os.path.islink(sidecar) else sidecar
            # It is this image's from now on. Where it is another's, `write` has to tell the user.
            suffix = sys.intern(os.path.splitext(path)[1])
            return self._owners.setdefault(_key(target), suffix) != suffix
        except (OSError, ValueError):
            return True

    def put(self, rows: Sequence[Row]) -> Outcome:
        return self.write(rows[0].path, [row.caption for row in rows if row.caption is not None])

    def write(self, image: str, captions: Sequence[str]) -> Outcome:
        """Writes an image's captions into its sidecar, one a line, whole or not at all.

        Args:
            image: the image's path.
            captions: one or more, best first.
        Returns:
            Whether it was written; if not, because one exists or belongs to another image of this run, why.
        Raises:
            OutputError: it cannot be written. The message does not name the image.
        """
        sidecar = self.path_for(image)
        name = os.path.basename(sidecar)
        content = "".join(" ".join(caption.split()) + "\n" for caption in captions).encode("utf-8")
        try:
            # A link stays a link; what it points to is written.
            target = os.path.realpath(sidecar) if os.path.islink(sidecar) else sidecar
            key, suffix = _key(target), sys.intern(os.path.splitext(image)[1])
            owner = self._owners.get(key)
            if owner is not None:
                failed = owner != suffix
                return Outcome(False, _taken(image, name, owner, suffix), failed=failed, same=not failed)
            written = self._put(target, name, content)
            self._owners[key] = suffix
            return Outcome(True) if written else Outcome(False, f"{name} exists", same=_holds(target, content))
        except OSError as error:
            raise OutputError(f"{name} cannot be written: {why(error)}") from error
        except ValueError as error:
            raise OutputError(f"{name} cannot be written: it is no valid path ({error})") from error

    def _put(self, target: str, name: str, content: bytes) -> bool:
        exists = os.path.lexists(target)
        # Asked before the temporary file is made: a second run over a large folder mostly finds sidecars.
        if exists and not self._overwrite:
            return False
        if exists:
            _check_replaceable(target, name)
        with Draft(target, content) as draft:
            if not self._overwrite:
                return draft.publish()
            if exists:
                draft.copy_access(os.stat(target))
            draft.replace()
            return True


def _key(target: str) -> bytes:
    """Names a file briefly, however its folder was spelled."""
    folder, name = os.path.split(target)
    path = os.path.normcase(os.path.join(os.path.realpath(folder), name))
    # Most Macs take a.TXT and a.txt for one file.
    path = path.casefold() if sys.platform == "darwin" else path
    return blake2b(os.fsencode(path), digest_size=16).digest()


def _holds(target: str, content: bytes) -> bool:
    """Whether a file has just this content."""
    if not os.path.isfile(target) or os.stat(target).st_size != len(content):
        return False
    with open(target, "rb") as file:
        return file.read() == content


def _taken(image: str, name: str, owner: str, suffix: str) -> str:
    if owner == suffix:
        return f"{name} was written already in this run"
    other = os.path.splitext(os.path.basename(image))[0] + owner
    return f"{name} holds the caption of {other}, which has the same name but for its suffix"


def _check_replaceable(target: str, name: str) -> None:
    """Raises OutputError where overwriting would destroy what is no sidecar."""
    mode = os.stat(target).st_mode
    if stat.S_ISDIR(mode):
        raise OutputError(f"{name} cannot be written: it is a folder")
    if not stat.S_ISREG(mode):
        raise OutputError(f"{name} cannot be written: it is not a regular file")
    if not mode & 0o222 or not os.access(target, os.W_OK):
        raise OutputError(f"{name} cannot be written: it is read-only")
    with open(target, "rb") as file:
        # An image may have any suffix, and may be the very one that was captioned.
        if sniff(file.read(_HEAD_BYTES)) is not None:
            raise OutputError(f"{name} cannot be written: it is an image")
