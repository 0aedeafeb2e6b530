"""The way back: what a row's note tells as replaced is put back, where capcli's text still is.

Destinations like others: their rows are those of a run that replaced something. Knows nothing of models or terminals.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from capcli.outputs.beside import Beside
from capcli.outputs.destinations import Destination
from capcli.outputs.exiv2 import WHAT, Metadata, library
from capcli.outputs.metadata import PLACE, edit_photo
from capcli.outputs.outcomes import Outcome
from capcli.outputs.replaced import replaced_in
from capcli.outputs.rows import Row
from capcli.outputs.text_edits import Edit, put_back
from capcli.outputs.xmp_sidecars import edit_xmp, xmp_path, xmp_place

Back = Callable[[Metadata], Edit]


class _Undoing(Destination):
    """One place of those that a note tells of; what it does not tell of stays."""

    def __init__(self, place: str, dry_run: bool) -> None:
        library()
        self._place = place
        self._dry_run = dry_run

    def wants(self, path: str) -> bool:
        return True

    def put(self, rows: Sequence[Row]) -> Outcome:
        path, caption = rows[0].path, rows[0].caption or ""
        told: Any = (replaced_in(rows[0].note) or {}).get(self._place)
        if not isinstance(told, dict):
            return Outcome(False, same=True)
        what = self._what(path)
        return self._edit(path, lambda before: put_back(before, told, caption, what=what))

    @abstractmethod
    def _what(self, path: str) -> str:
        """How messages call the place."""

    @abstractmethod
    def _edit(self, path: str, back: Back) -> Outcome: ...


class UndoneMetadata(_Undoing):
    """Gives photos back what captions replaced in their own metadata.

    Args:
        dry_run: write nothing, and tell what would be written as if it were.
        links: as `PhotoMetadata` takes them.
    Raises:
        DependencyError: pyexiv2 is not installed.
    """

    def __init__(self, *, dry_run: bool = False, links: Mapping[str, str] | None = None) -> None:
        super().__init__(PLACE, dry_run)
        self._links = {} if links is None else links

    def _what(self, path: str) -> str:
        return WHAT

    def _edit(self, path: str, back: Back) -> Outcome:
        return edit_photo(path, back, dry_run=self._dry_run, links_within=self._links.get(path))


class UndoneXmp(_Undoing):
    """Gives XMP files back what captions replaced in them.

    Args:
        stem: as `XmpSidecars` takes it, when they were written.
        dry_run: write nothing, and tell what would be written as if it were.
        output, reads, links: as `Beside` takes them.
    Raises:
        DependencyError: pyexiv2 is not installed.
    """

    def __init__(
        self,
        *,
        stem: bool = False,
        dry_run: bool = False,
        output: Path | None = None,
        reads: Sequence[str | int] = (),
        links: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(xmp_place(stem), dry_run)
        self._stem = stem
        self._beside = Beside(output, reads, links)

    def _what(self, path: str) -> str:
        return os.path.basename(xmp_path(path, self._stem))

    def _edit(self, path: str, back: Back) -> Outcome:
        file = xmp_path(path, self._stem)
        if not os.path.lexists(file):
            return Outcome(False, f"{os.path.basename(file)} is not there any more")
        self._beside.check(path, file)
        return edit_xmp(file, back, dry_run=self._dry_run)
