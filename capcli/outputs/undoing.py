"""The way back: what a row's note tells as replaced in a photo's metadata is put back, where capcli's text still is.

A destination like others: its rows are those of a run that replaced something. Knows nothing of models or terminals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from capcli.outputs.destinations import Destination
from capcli.outputs.exiv2 import library, refused
from capcli.outputs.metadata import PLACE, WHAT, edit_photo
from capcli.outputs.outcomes import Outcome
from capcli.outputs.replaced import replaced_in
from capcli.outputs.rows import Row
from capcli.outputs.text_edits import put_back


class ReplacedTexts(Destination):
    """Gives photos back what captions replaced.

    Args:
        dry_run: write nothing, and tell what would be written as if it were.
        links: as `PhotoMetadata` takes them.
    Raises:
        DependencyError: pyexiv2 is not installed.
    """

    def __init__(self, *, dry_run: bool = False, links: Mapping[str, str] | None = None) -> None:
        library()
        self._dry_run = dry_run
        self._links = {} if links is None else links

    def wants(self, path: str) -> bool:
        return True

    def put(self, rows: Sequence[Row]) -> Outcome:
        path, caption = rows[0].path, rows[0].caption or ""
        told: dict[str, Any] = replaced_in(rows[0].note) or {}
        old = told.get(PLACE)
        if not isinstance(old, dict):
            raise refused("the note of its row tells nothing of what was replaced in it")
        edit = partial(put_back, told=old, caption=caption, what=WHAT)
        return edit_photo(path, edit, dry_run=self._dry_run, links_within=self._links.get(path))
