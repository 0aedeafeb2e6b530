"""Captions files as people have them -> rows of image name and captions. Looks for no image.

CSV with a header, Flickr token files, COCO and Karpathy JSON, JSON Lines, and text files beside the images. The
content decides which it is, never the file's name.
"""

from __future__ import annotations

import re
from pathlib import Path

from capcli.dataset.csv_format import read_csv
from capcli.dataset.json_format import read_json
from capcli.dataset.lookup import folder_files, is_photo
from capcli.dataset.rows import CaptionRow, CaptionRows
from capcli.dataset.text import lines_of, read_text
from capcli.errors import DataError

_NUMBER = re.compile(r"#\d+$")


def read_caption_file(path: Path) -> CaptionRows:
    """Reads a captions file of any known format.

    Raises:
        DataError: it cannot be read, or its format is not understood.
    """
    text = read_text(path)
    if text.lstrip()[:1] in ("{", "["):
        return read_json(path, text)
    line = next((line for line in lines_of(text) if line.strip()), None)
    if line is None:
        raise DataError(f"{path}: the file is empty")
    name, tab, _ = line.partition("\t")
    if tab and (_NUMBER.search(name) or is_photo(name)):
        return _read_tokens(text)
    return read_csv(path, text)


def read_caption_folder(images: Path, texts: Path) -> CaptionRows:
    """Reads NAME.txt for each image below `images`, one caption a line.

    Args:
        images: the folder of images.
        texts: the folder of text files, `images` itself or one laid out like it.
    """
    rows, unreadable = [], []
    known = set(folder_files(texts))
    for name in sorted(filter(is_photo, folder_files(images))):
        text_name = f"{name.rpartition('.')[0]}.txt"
        captions: tuple[str, ...] = ()
        if text_name in known:
            try:
                captions = tuple(line for line in lines_of(read_text(texts / text_name)) if line.strip())
            except DataError:
                unreadable.append(text_name)
        rows.append(CaptionRow(name, captions))
    return CaptionRows(rows, unreadable=unreadable)


def _read_tokens(text: str) -> CaptionRows:
    rows, skipped = [], []
    for number, line in enumerate(lines_of(text), 1):
        name, tab, caption = line.partition("\t")
        name = _NUMBER.sub("", name)
        if tab and name.strip():
            rows.append(CaptionRow(name, (caption,)))
        elif line.strip():
            skipped.append(f"line {number}")
    return CaptionRows(rows, skipped)
