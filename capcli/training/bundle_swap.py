"""Replaces a folder by a new one as a whole; the old one is kept until the new one is in place.

The old folder is renamed aside, to `.NAME.capcli-old` beside it; the new one is renamed in; the old one is removed
last. A failure in between puts the old one back. A kill in between leaves it aside, whole, for `put_back` to find.
Knows nothing of what the folders hold.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from capcli.errors import OutputError
from capcli.outputs.files import why


def aside_of(target: Path) -> Path:
    """Where the old folder is while a new one takes its place; hidden, so that nobody takes it for a bundle."""
    return target.with_name(f".{target.name}.capcli-old")


def put_back(target: Path) -> bool:
    """Undoes a replacement that ended between its two renames.

    Returns:
        Whether there was an old folder to put back.
    Raises:
        OutputError: it cannot be renamed.
    """
    aside = aside_of(target)
    if os.path.lexists(target) or not aside.is_dir():
        return False
    try:
        os.rename(aside, target)
    except OSError as error:
        raise OutputError(f"{target}: its old content is in {aside}; rename it back ({why(error)})") from error
    return True


def swap_in(new: Path, target: Path) -> Path | None:
    """Renames a finished folder to `target`, over what is there.

    Whatever fails, `target` holds the old folder or the new one afterwards; where even putting the old one back fails,
    the message says where it is.

    Args:
        new: a folder of files on the same disk as `target`.
        target: free, or a folder that may be replaced; not a link.
    Returns:
        The old folder, where it could not be removed.
    Raises:
        OutputError: the new folder is not in place; it is left where it was.
    """
    aside = aside_of(target)
    try:
        _to_disk(new)
        if not os.path.lexists(target):
            os.rename(new, target)
            return None
        # Left by a kill after the new folder was in place, so no longer needed.
        if os.path.lexists(aside):
            shutil.rmtree(aside)
        os.rename(target, aside)
        os.rename(new, target)
    except BaseException as error:
        put_back(target)
        if isinstance(error, OSError):
            raise OutputError(f"{target}: cannot be written ({why(error)})") from error
        raise
    try:
        shutil.rmtree(aside)
    except OSError:
        return aside
    return None


def _to_disk(folder: Path) -> None:
    """Without this, a power cut after the renaming could leave empty files where the old ones are removed already."""
    for path in folder.iterdir():
        with path.open("rb+") as file:
            os.fsync(file.fileno())
