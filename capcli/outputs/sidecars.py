"""A caption in a text file beside its image: photo.jpg -> photo.txt, one caption a line, in UTF-8.

Programs that train image generators read captions from such files, with a word of their own before or after each, or
among what the file says already. Knows nothing of models; of images only that a sidecar must not be written over one. A
sidecar that is a symbolic link is left alone: it leads to somebody's file.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from capcli.errors import OutputError, UsageError
from capcli.outputs.affixes import Affixes
from capcli.outputs.beside import Beside, check_replaceable
from capcli.outputs.destinations import Destination
from capcli.outputs.drafts import discard_left_over
from capcli.outputs.files import Draft, is_unchanged, why
from capcli.outputs.joining import Joining
from capcli.outputs.outcomes import Outcome
from capcli.outputs.rows import Row
from capcli.outputs.spared import is_picture

# What programs read as plain text beside a photo. Others, .json or .xmp, are files of some form that a sentence is not.
SUFFIXES = (".txt", ".caption")
# Of a file that captions are added to; somebody's log beside a photo of its name is longer.
_MOST_BYTES = 1 << 20


class Sidecars(Destination):
    """Writes the sidecars of one run. Of two images that differ only in their suffix the first one gets it.

    Args:
        suffix: what takes the place of the image's suffix: one of `SUFFIXES`.
        overwrite: replace sidecars of earlier runs; never those of this one.
        joining: how the best caption is added to what sidecars of earlier runs say; None adds nothing.
        affixes: what goes around each caption.
        dry_run: write nothing, and tell what would be written as if it were.
        output, reads, links: as `Beside` takes them.
    Raises:
        UsageError: the suffix is another one, or `overwrite` would replace what `joining` adds to.
    """

    def __init__(
        self,
        suffix: str = ".txt",
        *,
        overwrite: bool = False,
        joining: Joining | None = None,
        affixes: Affixes | None = None,
        dry_run: bool = False,
        output: Path | None = None,
        reads: Sequence[str | int] = (),
        links: Mapping[str, str] | None = None,
    ) -> None:
        if suffix not in SUFFIXES:
            raise UsageError(f"{suffix!r} is no suffix for sidecars; use {' or '.join(SUFFIXES)}")
        if overwrite and joining is not None:
            raise UsageError("sidecars are either replaced or added to")
        self._suffix = suffix
        self._overwrite = overwrite
        self._joining = joining
        self._affixes = affixes or Affixes()
        self._dry_run = dry_run
        self._beside = Beside(output, reads, links)

    def path_for(self, image: str) -> str:
        """The sidecar's path, beside the image as it was named: not beside what a symbolic link points to."""
        return os.path.splitext(image)[0] + self._suffix

    def place_of(self, path: str) -> str:
        return self.path_for(path)

    def wants(self, path: str) -> bool:
        """False where an image has a sidecar from before this run that stays as it is."""
        sidecar = self.path_for(path)
        try:
            # What is none, a link or the output file, only `write` can tell the user.
            changed = self._overwrite or self._joining is not None
            if changed or not os.path.lexists(sidecar) or self._beside.refused(path, sidecar) is not None:
                return True
            # It is this image's from now on. Where it is another's, `write` has to tell the user.
            self._beside.claim(path, sidecar)
            return self._beside.taken(path, sidecar) is not None
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
        try:
            self._beside.check(image, sidecar)
            taken = self._beside.taken(image, sidecar)
            if taken is not None:
                return Outcome(False, taken, failed=True)
            status = os.stat(sidecar) if os.path.lexists(sidecar) else None
            lines = [self._affixes.around(caption) for caption in captions]
            joining = None if status is None else self._joining
            text = "".join(f"{line}\n" for line in lines) if joining is None else _joined(joining, sidecar, lines[0])
            content = text.encode("utf-8")
            same = _holds(sidecar, content)
            if same and not self._dry_run:
                # A run that was killed just before its row leaves one on disks where `publish` takes two steps.
                discard_left_over(sidecar)
            # One of this image that this run has written, or found, stays.
            written = not self._beside.is_claimed(sidecar) and not same and self._put(sidecar, name, content, status)
            self._beside.claim(image, sidecar)
            told = " ".join(text.split())
            return Outcome(True, place=sidecar, text=told) if written else Outcome(False, f"{name} exists", same=same)
        except OSError as error:
            raise OutputError(f"{name} cannot be written: {why(error)}") from error
        except UnicodeEncodeError as error:
            raise OutputError(f"{name} cannot be written: the caption is not UTF-8") from error
        except ValueError as error:
            raise OutputError(f"{name} cannot be written: it is no valid path ({error})") from error

    def _put(self, target: str, name: str, content: bytes, status: os.stat_result | None) -> bool:
        # Asked before the temporary file is made: a second run over a large folder mostly finds sidecars.
        if status is not None and not self._overwrite and self._joining is None:
            return False
        if status is not None:
            check_replaceable(target, name)
        if self._dry_run:
            return True
        with Draft(target, content) as draft:
            if status is None and not self._overwrite:
                return draft.publish()
            if status is not None:
                draft.copy_access(status)
            draft.to_disk()
            if status is not None and self._joining is not None and not is_unchanged(target, status):
                raise OutputError(f"{name} cannot be written: another program has changed it meanwhile")
            draft.replace()
            return True


def _joined(joining: Joining, sidecar: str, caption: str) -> str:
    """What a sidecar is to say that says something already.

    Raises:
        OutputError: it holds no captions, or not in UTF-8, and is left as it is.
        OSError: it cannot be read.
    """
    name = os.path.basename(sidecar)
    if is_picture(sidecar):
        raise OutputError(f"{name} cannot be written: it is an image")
    if os.path.getsize(sidecar) > _MOST_BYTES:
        raise OutputError(f"{name} cannot be added to: it is too long for captions")
    try:
        return joining.joined(Path(sidecar).read_bytes().decode("utf-8"), caption)
    except UnicodeDecodeError as error:
        raise OutputError(f"{name} cannot be added to: it is not UTF-8; save it as UTF-8") from error


def _holds(sidecar: str, content: bytes) -> bool:
    """Whether a file has just this content."""
    if not os.path.isfile(sidecar) or os.path.getsize(sidecar) != len(content):
        return False
    with open(sidecar, "rb") as file:
        return file.read() == content
