"""A folder of text files, NAME.txt for each image -> rows of image name and captions."""

from __future__ import annotations

from pathlib import Path

from capcli.dataset.lookup import folder_files
from capcli.dataset.rows import CaptionRow, CaptionRows
from capcli.dataset.text import lines_of, read_text
from capcli.errors import DataError
from capcli.inputs.paths import is_photo


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
