"""A caption in an XMP file beside its photo, in which photo managers keep what they do not write into photos.

`beach.jpg.xmp`, as darktable and digiKam name it, or `beach.xmp`, as Lightroom and Capture One do. What another program
has put into it stays. It works for photos of every kind, and no photo is touched.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

from capcli.inputs.paths import RAW_SUFFIXES
from capcli.outputs.beside import Beside, check_replaceable
from capcli.outputs.destinations import Destination
from capcli.outputs.drafts import discard_left_over
from capcli.outputs.exiv2 import XMP_FILE, Metadata, changed, library, refusals, refused
from capcli.outputs.files import Draft, is_unchanged
from capcli.outputs.outcomes import Outcome
from capcli.outputs.rows import Row
from capcli.outputs.text_edits import Edit, Wording

# Some hold the history of a photo's every brush stroke; a file that is larger is something else.
MAX_BYTES = 1 << 28
# Of so many folders it is remembered which raw photos they hold.
_FOLDERS = 64
# XMP Specification Part 1, 7.3.2: a packet without a property.
_EMPTY = (
    b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>\n<x:xmpmeta xmlns:x="adobe:ns:meta/">\n'
    b' <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/>\n</x:xmpmeta>\n<?xpacket end="w"?>\n'
)


class XmpSidecars(Destination):
    """Writes a run's XMP files, new ones and into those that are there.

    Args:
        wording: which fields, and with what.
        stem: the file is named by the photo's name without its suffix. Of two photos of one stem the first one gets it,
            and where a raw photo of that stem lies, it is the raw photo's.
        dry_run: write nothing, and tell what would be written as if it were.
        output, reads, links: as `Beside` takes them.
    Raises:
        DependencyError: pyexiv2 is not installed.
    """

    def __init__(
        self,
        wording: Wording | None = None,
        *,
        stem: bool = False,
        dry_run: bool = False,
        output: Path | None = None,
        reads: Sequence[str | int] = (),
        links: Mapping[str, str] | None = None,
    ) -> None:
        library()
        self._wording = wording or Wording()
        self._stem = stem
        self._dry_run = dry_run
        self._beside = Beside(output, reads, links)
        self._raws = _RawPhotos()
        self._tell: Callable[[Sequence[Row], Outcome], object] | None = None

    def path_for(self, image: str) -> str:
        """The file's path, beside the photo as it was named: not beside what a symbolic link points to."""
        return xmp_path(image, self._stem)

    def place_of(self, path: str) -> str:
        return self.path_for(path)

    def wants(self, path: str) -> bool:
        return self.keeps(path) is None

    def keeps(self, path: str) -> str | None:
        file = self.path_for(path)
        try:
            # What else is wrong with it, only `put` can tell the user.
            if self._beside.refused(path, file) is not None or self._others(path, file) is not None:
                return None
            kept = self._wording.kept(_read(file)[1], os.path.basename(file))
        except Exception:  # there is none; or Exiv2, which raises anything for odd metadata
            return None
        if kept is not None:
            self._beside.claim(path, file)
        return kept

    def tell_before_replacing(self, told: Callable[[Sequence[Row], Outcome], object]) -> None:
        self._tell = told

    def put(self, rows: Sequence[Row]) -> Outcome:
        image, file = rows[0].path, self.path_for(rows[0].path)
        name = os.path.basename(file)
        with refusals(name, name):
            self._beside.check(image, file)
            others = self._others(image, file)
            if others is not None:
                return Outcome(False, others, failed=True)
            place = xmp_place(self._stem)
            edit = partial(self._wording.edit, rows=rows, what=name, place=place, tell=self._tell)
            outcome = edit_xmp(file, edit, dry_run=self._dry_run)
            self._beside.claim(image, file)
            return outcome

    def _others(self, image: str, file: str) -> str | None:
        """Why a file is not this photo's; None if it is, or may be."""
        raw = self._raws.beside(image) if self._stem else None
        if raw is not None:
            name = os.path.basename(file)
            return f"{name} is that of {raw}, a raw photo of the same name; --xmp-name full writes another"
        return self._beside.taken(image, file)


def xmp_path(image: str, stem: bool) -> str:
    """The path of a photo's XMP file, named by the whole of its name or by its stem."""
    return (os.path.splitext(image)[0] if stem else image) + ".xmp"


def xmp_place(stem: bool) -> str:
    """How such a file is called in what is told as replaced."""
    return "xmp stem" if stem else "xmp"


def edit_xmp(file: str, edit: Callable[[Metadata], Edit], *, dry_run: bool = False) -> Outcome:
    """Changes an XMP file, or makes one; what else is in it stays.

    Args:
        file: its path.
        edit: what to change, told what it holds.
        dry_run: do all but write it.
    Returns:
        What `edit` says of it.
    Raises:
        OutputError: it cannot be written, or not without losing something; it is as it was.
    """
    name = os.path.basename(file)
    with refusals(name, name):
        exists = os.path.lexists(file)
        if exists:
            check_replaceable(file, name)
        status = os.stat(file) if exists else None
        content, before = _read(file) if exists else (_EMPTY, Metadata.of(_EMPTY, XMP_FILE))
        decided = edit(before)
        if not decided.changes:
            if not dry_run:
                discard_left_over(file)
            return decided.outcome
        new = changed(content, before, decided.changes, what=name)
        if not dry_run:
            with Draft(file, new, mode=None if status is None else 0o600) as draft:
                if status is not None:
                    draft.copy_access(status)
                draft.to_disk()
                decided.about_to_happen()
                if status is not None and is_unchanged(file, status):
                    draft.replace()
                elif status is not None or not draft.publish():
                    raise refused("another program has changed it meanwhile", name)
        return replace(decided.outcome, place=file)


def _read(file: str) -> tuple[bytes, Metadata]:
    """The content of an XMP file, and what it holds.

    Raises:
        OutputError: it holds nothing that Exiv2 can read, and would lose what it holds.
        OSError, Exception: it cannot be read.
    """
    name = os.path.basename(file)
    if os.path.getsize(file) > MAX_BYTES:
        raise refused("it is too large for XMP", name)
    content = Path(file).read_bytes()
    with library().ImageData(content) as image:
        is_xmp = image.get_mime_type() == "application/rdf+xml"
    found = Metadata.of(content, XMP_FILE)
    if not is_xmp or not found.xmp:
        raise refused("it holds no XMP that can be read", name)
    return content, found


class _RawPhotos:
    """Which raw photos lie in a folder, by stem. Some folders are remembered: a list of paths may go to and fro."""

    def __init__(self) -> None:
        self._in = lru_cache(_FOLDERS)(_raw_photos)

    def beside(self, image: str) -> str | None:
        """The name of a raw photo that has a photo's stem, other than itself."""
        folder, name = os.path.split(image)
        stem, suffix = os.path.splitext(name)
        return None if suffix.lower() in RAW_SUFFIXES else self._in(folder).get(stem.casefold())


def _raw_photos(folder: str) -> dict[str, str]:
    """The names of a folder's raw photos, by stem; the first one of each."""
    names: dict[str, str] = {}
    for entry in os.listdir(folder or os.curdir):
        stem, suffix = os.path.splitext(entry)
        if suffix.lower() in RAW_SUFFIXES:
            names.setdefault(stem.casefold(), entry)
    return names
