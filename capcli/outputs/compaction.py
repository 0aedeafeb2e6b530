"""A file without some of its bytes: those that newer ones further down have replaced. Knows nothing of rows."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from io import FileIO
from pathlib import Path

from capcli.outputs.files import Draft, cannot_be_written

_COPY_BYTES = 1 << 20


def put_copy_without(gaps: Sequence[tuple[int, int]], path: Path, opened: FileIO) -> None:
    """Puts a copy without the gaps in a file's place, whole or not at all.

    Args:
        gaps: starts and ends, in any order.
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
            for start, end in _between(sorted(gaps), status.st_size):
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


def _between(gaps: Sequence[tuple[int, int]], end: int) -> list[tuple[int, int]]:
    """What is left of 0 to `end` without the gaps, which are in order."""
    starts = [0, *(gap[1] for gap in gaps)]
    ends = [*(gap[0] for gap in gaps), end]
    return [(start, stop) for start, stop in zip(starts, ends, strict=True) if start < stop]
