"""A caption in a text file beside its image: photo.jpg -> photo.txt, one caption a line, in UTF-8.

Programs that train image generators read captions from such files. Knows nothing of models; of images only that a
sidecar must not be written over one. A sidecar that is a symbolic link is left alone: it leads to somebody's file.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path

from capcli.errors import OutputError, UsageError
from capcli.outputs.destinations import Destination
from capcli.outputs.files import Draft, why
from capcli.outputs.outcomes import Outcome
from capcli.outputs.rows import Row
from capcli.outputs.spared import is_picture, is_same_file, leads_out

# What programs read as plain text beside a photo. Others, .json or .xmp, are files of some form that a sentence is not.
SUFFIXES = (".txt", ".caption")


class Sidecars(Destination):
    """Writes the sidecars of one run and remembers which image has which.

    Two images that differ only in their suffix, a.jpg and a.png, want the same sidecar: the first one gets it. To know
    this it keeps about 200 bytes for each image.

    Args:
        suffix: what takes the place of the image's suffix: one of `SUFFIXES`.
        overwrite: replace sidecars of earlier runs; never those of this one.
        output: the file that the run's rows go to, which no sidecar replaces.
        reads: what the run is reading besides images, such as descriptors of open files; no sidecar replaces it.
        dry_run: write nothing, and tell what would be written as if it were.
        links: of images that a link in a walked folder leads to, that folder (`InputItem.linked_in`); may grow while
            sidecars are written. No sidecar is written outside that folder.
    Raises:
        UsageError: the suffix is another one.
    """

    def __init__(
        self,
        suffix: str = ".txt",
        *,
        overwrite: bool = False,
        dry_run: bool = False,
        output: Path | None = None,
        reads: Sequence[str | int] = (),
        links: Mapping[str, str] | None = None,
    ) -> None:
        if suffix not in SUFFIXES:
            raise UsageError(f"{suffix!r} is no suffix for sidecars; use {' or '.join(SUFFIXES)}")
        self._suffix = suffix
        self._overwrite = overwrite
        self._dry_run = dry_run
        self._reads = reads
        self._output = None if output is None else os.path.realpath(output)
        self._output_key = None if self._output is None else _key(self._output)
        self._links = {} if links is None else links
        self._owners: dict[bytes, str] = {}

    def path_for(self, image: str) -> str:
        """The sidecar's path, beside the image as it was named: not beside what a symbolic link points to."""
        return os.path.splitext(image)[0] + self._suffix

    def wants(self, path: str) -> bool:
        """False where an image has a sidecar from before this run that stays as it is."""
        sidecar = self.path_for(path)
        try:
            # What is none, a link or the output file, only `write` can tell the user.
            if self._overwrite or not os.path.lexists(sidecar) or self._refused(path, sidecar) is not None:
                return True
            # It is this image's from now on. Where it is another's, `write` has to tell the user.
            suffix = sys.intern(os.path.splitext(path)[1])
            return self._owners.setdefault(_key(sidecar), suffix) != suffix
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
            Whether it was written; if not, because one exists or belongs to another image of this run, why. `same` if
            it says just this already.
        Raises:
            OutputError: it cannot be written. The message does not name the image.
        """
        sidecar = self.path_for(image)
        name = os.path.basename(sidecar)
        content = "".join(" ".join(caption.split()) + "\n" for caption in captions).encode("utf-8")
        try:
            refused = self._refused(image, sidecar)
            if refused is not None:
                raise OutputError(f"{name} is not written: {refused}")
            key, suffix = _key(sidecar), sys.intern(os.path.splitext(image)[1])
            owner = self._owners.get(key)
            if owner is not None and owner != suffix:
                return Outcome(False, _taken(image, name, owner), failed=True)
            same = _holds(sidecar, content)
            # One of this image that this run has written, or found, stays.
            written = owner is None and not same and self._put(sidecar, name, content)
            self._owners[key] = suffix
            return Outcome(True, place=sidecar) if written else Outcome(False, f"{name} exists", same=same)
        except OSError as error:
            raise OutputError(f"{name} cannot be written: {why(error)}") from error
        except ValueError as error:
            raise OutputError(f"{name} cannot be written: it is no valid path ({error})") from error

    def _refused(self, image: str, sidecar: str) -> str | None:
        """Why a sidecar is left alone, whatever `overwrite` says."""
        if os.path.islink(sidecar):
            return "it is a symbolic link, and no link is followed"
        if self._output is not None and (_key(sidecar) == self._output_key or is_same_file(sidecar, self._output)):
            return "it is the output file"
        if any(is_same_file(sidecar, read) for read in self._reads):
            return "it is the list of paths that is being read"
        if os.path.lexists(sidecar) and not os.path.isfile(sidecar):
            return "it is a folder" if os.path.isdir(sidecar) else "it is not a regular file"
        folder = self._links.get(image)
        if folder is not None and leads_out(os.path.dirname(image), folder):
            return f"a link leads out of {folder} to it; name the folder itself"
        return None

    def _put(self, target: str, name: str, content: bytes) -> bool:
        exists = os.path.lexists(target)
        # Asked before the temporary file is made: a second run over a large folder mostly finds sidecars.
        if exists and not self._overwrite:
            return False
        if exists:
            _check_replaceable(target, name)
        if self._dry_run:
            return True
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


def _holds(sidecar: str, content: bytes) -> bool:
    """Whether a file has just this content."""
    if not os.path.isfile(sidecar) or os.path.getsize(sidecar) != len(content):
        return False
    with open(sidecar, "rb") as file:
        return file.read() == content


def _taken(image: str, name: str, owner: str) -> str:
    other = os.path.splitext(os.path.basename(image))[0] + owner
    return f"{name} holds the caption of {other}, which has the same name but for its suffix"


def _check_replaceable(target: str, name: str) -> None:
    """Raises OutputError where overwriting would destroy what is no sidecar."""
    mode = os.stat(target).st_mode
    if not mode & 0o222 or not os.access(target, os.W_OK):
        raise OutputError(f"{name} cannot be written: it is read-only")
    # An image may have any suffix, and may be the very one that was captioned.
    if is_picture(target):
        raise OutputError(f"{name} cannot be written: it is an image")
