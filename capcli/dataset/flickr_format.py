"""Flickr8k's and Flickr30k's token files -> rows of image name and captions: name.jpg#0, a tab, the caption."""

from __future__ import annotations

from pathlib import Path

from capcli.dataset.lookup import without_caption_number
from capcli.dataset.rows import CaptionRow, CaptionRows
from capcli.dataset.text import first_line, lines_of
from capcli.inputs.paths import is_photo


def is_flickr(text: str) -> bool:
    """Whether the first line has a tab, and before it an image's name or a caption number."""
    line = first_line(text)
    name, tab, _ = line.text.partition("\t") if line else ("", "", "")
    return bool(tab) and (without_caption_number(name) != name or is_photo(name))


def read_flickr(path: Path, text: str) -> CaptionRows:
    """Reads the text of a token file. Lines that hold no image's name are counted as skipped."""
    rows, skipped = [], []
    for number, line in enumerate(lines_of(text), 1):
        name, tab, caption = line.partition("\t")
        name = without_caption_number(name)
        if tab and name.strip():
            rows.append(CaptionRow(name, (caption,)))
        elif line.strip():
            skipped.append(f"line {number}")
    return CaptionRows(rows, skipped)
