"""Captions that a person looks at before anything is written: a file of them as pages to correct it in.

Knows nothing of models, of where captions go afterwards, or of terminals.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from capcli.lazy import lazy_names

if TYPE_CHECKING:
    from capcli.reviewing.captions_file import CaptionsFile, read_captions_file
    from capcli.reviewing.page import review_pages
    from capcli.reviewing.thumbnails import Thumbnails

__all__ = ["CaptionsFile", "Thumbnails", "read_captions_file", "review_pages"]

__getattr__ = lazy_names(
    __name__,
    {
        "CaptionsFile": "captions_file",
        "Thumbnails": "thumbnails",
        "read_captions_file": "captions_file",
        "review_pages": "page",
    },
)
