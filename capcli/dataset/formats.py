"""Captions files of any format -> rows of image name and captions. Looks for no image.

The content decides which format a file has, never its name. A new format is a new file beside this one and a line in
`FORMATS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from capcli.dataset.csv_format import header_line, is_csv, read_csv
from capcli.dataset.flickr_format import is_flickr, read_flickr
from capcli.dataset.json_format import is_json, is_json_lines, read_json, read_json_lines
from capcli.dataset.rows import CaptionRows
from capcli.dataset.text import first_line, read_text
from capcli.errors import DataError


@dataclass(frozen=True)
class CaptionFormat:
    """A format of captions files.

    `name` is what a message calls it; `fits` tells it by a file's text, which is not blank; `read` takes the file's
    path, for messages, and its text.
    """

    name: str
    fits: Callable[[str], bool]
    read: Callable[[Path, str], CaptionRows]


# The first that fits is taken.
FORMATS = (
    CaptionFormat("JSON Lines", is_json_lines, read_json_lines),
    CaptionFormat("COCO or Karpathy JSON", is_json, read_json),
    CaptionFormat("Flickr lines (name.jpg#0, a tab, the caption)", is_flickr, read_flickr),
    CaptionFormat("CSV with a header such as image,caption", is_csv, read_csv),
)


def read_caption_file(path: Path) -> CaptionRows:
    """Reads a captions file of any known format.

    Raises:
        DataError: it cannot be read, or its format is not understood.
    """
    text = read_text(path)
    first = first_line(text)
    if first is None:
        raise DataError(f"{path}: the file is empty")
    for each in FORMATS:
        if each.fits(text):
            return each.read(path, text)
    # The commonest format is the last to be tried and the first to be named.
    last, *others = (each.name for each in FORMATS)
    known = ", ".join(reversed(others))
    # Below Excel's sep=; it is the next line that is no header.
    line = header_line(text) or first
    raise DataError(f"{path}: line {line.number}: not understood; captions are {known}, or {last}")
