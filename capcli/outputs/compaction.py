"""A file without some of its bytes: those that newer ones further down have replaced. Knows nothing of rows."""

from __future__ import annotations

import os
import sys
from array import array
from collections.abc import Iterator
from io import FileIO
from itertools import chain
from pathlib import Path

from capcli.outputs.files import Draft, cannot_be_written

_COPY_BYTES = 1 << 20


class Gaps:
    """Stretches of a file that are to go, 16 bytes for each; such as follow one another are one."""

    def __init__(self) -> None:
        self._starts, self._ends = array("Q"), array("Q")

    def __bool__(self) -> bool:
        return bool(self._starts)

    def add(self, start: int, end: int) -> None:
        """From one byte to before another; it may lie across others."""
        if self._ends and self._ends[-1] == start:
            self._ends[-1] = end
        else:
            self._starts.append(start)
            self._ends.append(end)

    def between(self, end: int) -> Iterator[tuple[int, int]]:
        """What is left of 0 to `end`, in order."""
        # Also where gaps lie across each other: each end is where one fewer is open.
        starts, ends = array("Q", sorted(self._starts)), array("Q", sorted(self._ends))
        for start, stop in zip(chain([0], ends), chain(starts, [end]), strict=True):
            if start < stop:
                yield start, stop


def put_copy_without(gaps: Gaps, path: Path, opened: FileIO) -> None:
    """Puts a copy without the gaps in a file's place, whole or not at all.

    Args:
        gaps: what is left out.
        path: of the file, which nobody else writes.
        opened: the same, open; closed where a system cannot replace open files.
    Raises:
        OutputError: it cannot be written.
    """
    target = os.path.realpath(path)
    # A run that was killed just here left its copy behind, and the outdated rows that bring this one here too, whose
    # copy takes the other's place.
    try:
        # Others may not look into the copy before it has the permissions of the file.
        with open(target, "rb") as old, Draft(target, b"", mode=0o600) as copy:
            status = os.fstat(old.fileno())
            for start, end in gaps.between(status.st_size):
                old.seek(start)
                while start < end:
                    content = old.read(min(_COPY_BYTES, end - start))
                    copy.write(content)
                    start += len(content)
            copy.copy_access(status)
            if sys.platform == "win32":
                old.close()
                opened.close()
            copy.replace()
    except OSError as error:
        raise cannot_be_written(path, error) from error
