"""Files that are written beside photos: whose each of them is, and which are left alone whatever the user said.

Knows nothing of what they say.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path

from capcli.errors import OutputError
from capcli.outputs.path_table import KEY_BYTES, PathTable
from capcli.outputs.spared import is_picture, is_same_file, leads_out

# Of so many folders it is remembered what links on the way to them lead to.
_FOLDERS = 1024


class Beside:
    """Remembers which photo of a run has which file.

    Two photos that differ only in their suffix, a.jpg and a.png, may want the same one: the first one gets it. To know
    this it keeps what a `PathTable` keeps of each photo.

    Args:
        output: the file that the run's rows go to, which nothing replaces.
        reads: what the run is reading besides photos, such as descriptors of open files; nothing replaces it.
        links: of photos that a link in a walked folder leads to, that folder (`InputItem.linked_in`); may grow while
            files are written. None is written outside that folder.
    """

    def __init__(self, output: Path | None, reads: Sequence[str | int], links: Mapping[str, str] | None) -> None:
        # What each of its folders is called takes longer to find out than all else about a file.
        self._real: Callable[[str], str] = lru_cache(_FOLDERS)(os.path.realpath)
        self._reads = reads
        self._output = None if output is None else os.path.realpath(output)
        self._output_key = None if self._output is None else self._key(self._output)
        self._links = {} if links is None else links
        # By the key of a file, its photo's suffix: the place of that among all, from 1 on.
        self._owners = PathTable()
        self._suffixes: dict[str, int] = {}

    def is_claimed(self, file: str) -> bool:
        """Whether a photo of this run has a file, be it that one was there."""
        return bool(self._owners.get(self._key(file)))

    def taken(self, image: str, file: str) -> str | None:
        """Why a file cannot be a photo's: it is that of another one of this run; None where it is not."""
        owner = self._owners.get(self._key(file))
        stem, suffix = os.path.splitext(os.path.basename(image))
        if owner in (0, self._suffixes.get(suffix)):
            return None
        other = stem + list(self._suffixes)[owner - 1]
        return f"{os.path.basename(file)} holds the caption of {other}, which has the same name but for its suffix"

    def claim(self, image: str, file: str) -> None:
        """Makes a file a photo's own for the rest of the run, unless it is another's."""
        suffix = os.path.splitext(image)[1]
        self._owners.add(self._key(file), self._suffixes.setdefault(suffix, len(self._suffixes) + 1))

    def check(self, image: str, file: str) -> None:
        """Refuses a file that is left alone, even where others are replaced.

        Raises:
            OutputError: it is refused.
            OSError, ValueError: that cannot be known.
        """
        reason = self.refused(image, file)
        if reason is not None:
            raise OutputError(f"{os.path.basename(file)} is not written: {reason}")

    def refused(self, image: str, file: str) -> str | None:
        """Why a file is left alone, even where others are replaced; None where it is not.

        Raises:
            OSError, ValueError: that cannot be known.
        """
        if os.path.islink(file):
            return "it is a symbolic link, and no link is followed"
        if self._output is not None and (self._key(file) == self._output_key or is_same_file(file, self._output)):
            return "it is the output file"
        if any(is_same_file(file, read) for read in self._reads):
            return "it is the list of paths that is being read"
        if os.path.lexists(file) and not os.path.isfile(file):
            return "it is a folder" if os.path.isdir(file) else "it is not a regular file"
        folder = self._links.get(image)
        if folder is not None and leads_out(os.path.dirname(image), folder):
            return f"a link leads out of {folder} to it; name the folder itself"
        return None

    def _key(self, file: str) -> bytes:
        """Names a file briefly, however its folder was spelled."""
        folder, name = os.path.split(file)
        path = os.path.normcase(os.path.join(self._real(folder), name))
        # Most Macs take a.TXT and a.txt for one file.
        path = path.casefold() if sys.platform == "darwin" else path
        return blake2b(os.fsencode(path), digest_size=KEY_BYTES).digest()


def check_replaceable(file: str, name: str) -> None:
    """Refuses to replace what is not for programs to write, or a photo.

    Args:
        file: one that is there.
        name: what to call it.
    Raises:
        OutputError: it is refused.
    """
    mode = os.stat(file).st_mode
    if not mode & 0o222 or not os.access(file, os.W_OK):
        raise OutputError(f"{name} cannot be written: it is read-only")
    # A photo may have any suffix, and may be the very one that was captioned.
    if is_picture(file):
        raise OutputError(f"{name} cannot be written: it is an image")
