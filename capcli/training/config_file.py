"""Settings from a TOML file, as they stand there. Knows nothing of what they mean, but for those that are paths."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from capcli.errors import UsageError


def read_toml(path: Path) -> dict[str, Any]:
    """The settings of a TOML file; paths in its [[data]] tables are relative to the file.

    Raises:
        UsageError: the file cannot be read or is not TOML.
    """
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path}: not readable as a TOML file ({error})") from error
    sources = values.get("data", [])
    if not isinstance(sources, list) or not all(isinstance(entry, dict) for entry in sources):
        raise UsageError(f"{path}: data sets are given as [[data]] tables with images and captions")
    for entry in sources:
        for key in ("images", "captions", "train_split", "val_split"):
            if isinstance(entry.get(key), str):
                entry[key] = str(path.parent / entry[key])
    for key in ("init", "encoder"):
        if isinstance(values.get(key), str):
            values[key] = _beside(path, values[key])
        elif isinstance(values.get(key), list):
            values[key] = [_beside(path, each) if isinstance(each, str) else each for each in values[key]]
    return values


def _beside(file: Path, name: str) -> str:
    """A file's name for a bundle or a run: a path beside the file if there is one, else the name."""
    return str(file.parent / name) if (file.parent / name).exists() else name
