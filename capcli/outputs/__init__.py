"""Where captions go: rows in a file, text files beside photos, photos' own metadata; nothing is ever half written.

Knows nothing of models, of how captions are made, or of terminals.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from capcli.lazy import lazy_names

if TYPE_CHECKING:
    from capcli.outputs.affixes import Affixes
    from capcli.outputs.destinations import Destination, Destinations
    from capcli.outputs.image_folder import ImageFolder
    from capcli.outputs.joining import Joining
    from capcli.outputs.metadata import PhotoMetadata
    from capcli.outputs.outcomes import Outcome
    from capcli.outputs.output_file import Existing
    from capcli.outputs.records import read_rows
    from capcli.outputs.row_file import RowFile
    from capcli.outputs.rows import Row, row_format
    from capcli.outputs.sidecars import Sidecars
    from capcli.outputs.xmp_sidecars import XmpSidecars

__all__ = [
    "Affixes",
    "Destination",
    "Destinations",
    "Existing",
    "ImageFolder",
    "Joining",
    "Outcome",
    "PhotoMetadata",
    "Row",
    "RowFile",
    "Sidecars",
    "XmpSidecars",
    "read_rows",
    "row_format",
]

# The modules that look at photos load NumPy and Pillow; who only reads rows need not wait for them.
__getattr__ = lazy_names(
    __name__,
    {
        "Affixes": "affixes",
        "Destination": "destinations",
        "Destinations": "destinations",
        "Existing": "output_file",
        "ImageFolder": "image_folder",
        "Joining": "joining",
        "Outcome": "outcomes",
        "PhotoMetadata": "metadata",
        "Row": "rows",
        "RowFile": "row_file",
        "Sidecars": "sidecars",
        "XmpSidecars": "xmp_sidecars",
        "read_rows": "records",
        "row_format": "rows",
    },
)
