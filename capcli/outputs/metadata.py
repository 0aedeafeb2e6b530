"""A caption in a photo's own metadata: which fields is for `text_fields` to say, how they are changed for `exiv2`.

The photo is replaced by a new file in one step, so that a crash leaves the old or the new one. A symbolic link stays
one, and what it points to is rewritten. Further hard links keep the photo as it was: they are how snapshots and backups
keep an earlier state.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from capcli.inputs.kinds import sniff
from capcli.outputs.destinations import Destination
from capcli.outputs.exiv2 import WHAT, Metadata, changed, library, refusals, refused
from capcli.outputs.files import Draft, is_unchanged
from capcli.outputs.image_data import KINDS, image_data
from capcli.outputs.outcomes import Outcome
from capcli.outputs.rows import Row
from capcli.outputs.spared import leads_out
from capcli.outputs.text_edits import Edit, Wording

# The whole file is held in memory, and pyexiv2 counts its bytes with 32 bits.
MAX_BYTES = 1 << 30
# How it is called in what is told as replaced.
PLACE = "metadata"


class PhotoMetadata(Destination):
    """The photos' own descriptions, alt texts, or both, which get the best of several captions.

    Args:
        wording: which fields, and with what.
        overwrite: short for a wording that replaces descriptions.
        dry_run: write nothing, and tell what would be written as if it were.
        links: of photos that a link in a walked folder leads to, that folder (`InputItem.linked_in`); may grow while
            captions are written. Links are followed within that folder; those of photos that were named, anywhere.
    Raises:
        DependencyError: pyexiv2 is not installed.
    """

    def __init__(
        self,
        wording: Wording | None = None,
        *,
        overwrite: bool = False,
        dry_run: bool = False,
        links: Mapping[str, str] | None = None,
    ) -> None:
        library()
        self._wording = wording or Wording(overwrite=overwrite)
        self._dry_run = dry_run
        self._links = {} if links is None else links
        # `keeps` is asked right after `wants`, and a photo is read as a whole for the answer.
        self._asked: tuple[str, str | None] = ("", None)
        self._tell: Callable[[Sequence[Row], Outcome], object] | None = None

    def wants(self, path: str) -> bool:
        # Known before a model is loaded for photos that would keep what they have.
        self._asked = (path, self._kept(path))
        return self._asked[1] is None

    def keeps(self, path: str) -> str | None:
        asked, kept = self._asked
        return kept if asked == path else self._kept(path)

    def _kept(self, path: str) -> str | None:
        """What a photo would keep, if all of it; None also where only `put` can tell what is wrong with it."""
        try:
            status = os.stat(path)
            unknown = path in self._links or not stat.S_ISREG(status.st_mode) or status.st_size > MAX_BYTES
            if unknown or self._wording.overwrite:
                return None
            with open(path, "rb") as file:
                content = file.read()
            kind = sniff(content[:64])
            if kind not in KINDS:
                return None
            return self._wording.kept(Metadata.of(content, kind), WHAT)
        except Exception:  # Exiv2 raises anything for odd metadata
            return None

    def tell_before_replacing(self, told: Callable[[Sequence[Row], Outcome], object]) -> None:
        self._tell = told

    def put(self, rows: Sequence[Row]) -> Outcome:
        path = rows[0].path
        return edit_photo(
            path,
            lambda before: self._wording.edit(before, rows, what=WHAT, place=PLACE, tell=self._tell),
            dry_run=self._dry_run,
            links_within=self._links.get(path),
        )


def write_description(
    path: str | os.PathLike[str], caption: str, *, overwrite: bool = False, links_within: str | None = None
) -> Outcome:
    """Writes a caption into a photo's description; pixels, other metadata, times and permissions stay.

    Args:
        path: a JPEG, PNG, WebP or TIFF file.
        caption: the text, in any language; white space becomes single spaces.
        overwrite: replace a description that the photo has.
        links_within: as `edit_photo` takes it.
    Returns:
        Whether it was written; if not, because the photo has a description, which one. `same` if it is this very
        caption.
    Raises:
        DependencyError: pyexiv2 is not installed.
        OutputError: as `edit_photo`.
    """
    library()
    name, wording = os.fspath(path), Wording(overwrite=overwrite)
    rows = [Row(name, caption, None, None)]
    return edit_photo(
        name, lambda before: wording.edit(before, rows, what=WHAT, place=PLACE), links_within=links_within
    )


def edit_photo(
    path: str, edit: Callable[[Metadata], Edit], *, dry_run: bool = False, links_within: str | None = None
) -> Outcome:
    """Changes a photo's metadata, and nothing else of it.

    Args:
        path: a JPEG, PNG, WebP or TIFF file.
        edit: what to change, told what the photo holds.
        dry_run: do all but replace the photo.
        links_within: a folder above the photo that links on the way to it may not lead out of.
    Returns:
        What `edit` says of it.
    Raises:
        OutputError: it cannot be written, or not without changing more than was asked for; the photo is as it was. The
            message does not name the photo.
    """
    with refusals("the photo or its metadata"):
        target = os.path.realpath(path)
        if links_within is not None and leads_out(target, links_within):
            raise refused(f"a link leads out of {links_within} to the photo; name the photo itself")
        outcome = _rewrite(target, edit, dry_run)
        return replace(outcome, place=path) if outcome.written else outcome


def _rewrite(target: str, edit: Callable[[Metadata], Edit], dry_run: bool) -> Outcome:
    status = os.stat(target)
    if not stat.S_ISREG(status.st_mode):
        raise refused("it is not a regular file")
    # Root may write to anything, and a folder's permission is enough to replace a file: the photo's own is asked.
    if not status.st_mode & 0o222 or not os.access(target, os.W_OK):
        raise refused("the photo is read-only")
    if status.st_size > MAX_BYTES:
        raise refused("the photo is larger than 1 GB")
    with open(target, "rb") as file:
        content = file.read()
    new, decided = _edited(content, edit)
    if new is None or dry_run:
        return decided.outcome
    # Others may not look into the new file before it has the permissions of the old one.
    with Draft(target, new, mode=0o600) as draft:
        draft.copy_access(status)
        shutil.copystat(target, draft.path)
        # The photo was read since, which may have moved its time of access.
        os.utime(draft.path, ns=(status.st_atime_ns, status.st_mtime_ns))
        draft.to_disk()
        decided.about_to_happen()
        if not is_unchanged(target, status):
            raise refused("another program changed the photo meanwhile")
        draft.replace()
    return decided.outcome


def _edited(content: bytes, edit: Callable[[Metadata], Edit]) -> tuple[bytes | None, Edit]:
    """The photo with its new metadata, None if it stays as it is; and what was decided."""
    kind = sniff(content[:64])
    if kind not in KINDS:
        raise refused(f"{kind or 'such'} files are left alone; JPEG, PNG, WebP and TIFF can be written")
    parts = image_data(content, kind)
    before = Metadata.of(content, kind)
    decided = edit(before)
    return (changed(content, before, decided.changes, parts) if decided.changes else None), decided
