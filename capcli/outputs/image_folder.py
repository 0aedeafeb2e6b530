"""Hugging Face's image folder: captions in the `metadata.jsonl` of a folder of photos, by their names there.

`{"file_name": "sub/beach.jpg", "text": "A beach."}`, as `datasets.load_dataset("imagefolder", data_dir=...)` reads it.
A format of rows that has one for each captioned photo and none for a failure. Knows nothing of models.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from capcli.errors import OutputError
from capcli.outputs.affixes import Affixes
from capcli.outputs.path_keys import PathKeys
from capcli.outputs.rows import Row, RowFormat

# What it is called where formats are, and how its file has to be called.
NAME, FILE = "imagefolder", "metadata.jsonl"
_PHOTO, _TEXT = _COLUMNS = ("file_name", "text")


@dataclass(frozen=True)
class ImageFolder:
    """The format of the rows of one such file, which is written and read back as JSON Lines.

    Args:
        file: its path.
        affixes: what goes around each caption.
    """

    file: Path
    affixes: Affixes = field(default_factory=Affixes)
    columns: Sequence[str] = _COLUMNS
    spreadsheet_safe: bool = False
    name: str = "jsonl"
    _keys: PathKeys = field(default_factory=PathKeys, repr=False, compare=False)

    def with_columns(self, columns: Sequence[str]) -> RowFormat:
        return self

    def header(self) -> bytes:
        return b""

    def record(self, row: Row) -> bytes:
        """A caption's line; nothing for a photo that has failed, which is no part of a training set.

        Raises:
            OutputError: the file cannot name the photo.
        """
        if row.caption is None or row.error is not None:
            return b""
        refused = self.why_not(row.path)
        if refused is not None:
            raise OutputError(f"{row.path}: {refused}")
        values = {_PHOTO: self._name_of(row.path), _TEXT: self.affixes.around(row.caption)}
        return (json.dumps(values, ensure_ascii=False) + "\n").encode("utf-8")

    def named(self, values: Mapping[str, object]) -> Mapping[str, object]:
        found = named_in(values, os.path.dirname(self.file))
        return {**found, "caption": self.affixes.bare(str(found["caption"] or ""))}

    def why_not(self, path: str) -> str | None:
        """Why the file cannot name a photo; None where it can.

        Links are not followed: the name has to lead there from the folder.
        """
        name = self._name_of(path)
        if name is None:
            return f"is not in {os.path.dirname(self.file) or os.curdir}, the folder of {self.file}"
        if any(0xD800 <= ord(char) <= 0xDFFF for char in name):
            return f"its name is not UTF-8, and {self.file.name} cannot hold it; rename it"
        return None

    def _name_of(self, path: str) -> str | None:
        folder, name = os.path.split(path)
        base = self._keys.one_spelling(os.path.dirname(self.file)).rstrip(os.sep) + os.sep
        whole = os.path.join(self._keys.one_spelling(folder), name)
        return whole.removeprefix(base).replace(os.sep, "/") if whole.startswith(base) else None


def is_image_folder(first: object) -> bool:
    """Whether an object of JSON Lines, the first of a file, is such a line."""
    return isinstance(first, dict) and set(_COLUMNS) <= first.keys() and not {"path", "caption"} & first.keys()


def named_in(values: Mapping[str, object], folder: str) -> dict[str, object]:
    """What a line says by the names of a row's columns; what else it says stays.

    Args:
        values: what the line holds.
        folder: that of the file, in which the photo's name begins; "" for the current one.
    Raises:
        KeyError, ValueError: it is no such line.
    """
    name, text = values[_PHOTO], values[_TEXT]
    if not isinstance(name, str) or not (text is None or isinstance(text, str)):
        raise ValueError(f"{_PHOTO} and {_TEXT} are no texts")
    others = {key: value for key, value in values.items() if key not in _COLUMNS}
    return {"path": os.path.join(folder, *name.split("/")), "caption": text, **others}
