"""The paths in a run's settings: written down so that they mean the same from every folder, and compared as places.

Knows nothing of what lies there.
"""

from __future__ import annotations

import os
from dataclasses import fields, replace
from pathlib import Path

from capcli.bundle.bundle import find_bundle
from capcli.errors import BundleError
from capcli.training.config import DataSource, TrainConfig


def with_absolute_paths(config: TrainConfig) -> TrainConfig:
    """The settings as they are kept with a run, which may be resumed or exported from another folder."""
    return replace(
        config,
        data=tuple(
            DataSource(
                os.path.abspath(source.images),
                _absolute(source.captions),
                _absolute(source.train_split),
                _absolute(source.val_split),
            )
            for source in config.data
        ),
        encoder=_absolute(config.encoder),
        init=tuple(_absolute_model(name) for name in config.init),
    )


def same_data(one: tuple[DataSource, ...], other: tuple[DataSource, ...]) -> bool:
    """Whether both name the same folders and files."""
    return [_places(source) for source in one] == [_places(source) for source in other]


def same_path(one: str | None, other: str | None) -> bool:
    """Whether both are the same file or folder, or the same name of a bundle."""
    return one == other or _place(one) == _place(other)


def _places(source: DataSource) -> list[str | None]:
    return [_place(getattr(source, item.name)) for item in fields(source)]


def _place(path: str | None) -> str | None:
    return None if path is None else os.path.realpath(os.path.expanduser(path))


def _absolute(path: str | None) -> str | None:
    return None if path is None else os.path.abspath(path)


def _absolute_model(name: str) -> str:
    """A run's or a bundle's folder; the name of an installed bundle stays a name, for it is found from everywhere."""
    folder = Path(name).expanduser()
    try:
        is_folder = (folder / "config.json").is_file() or find_bundle(name) == folder
    except BundleError:
        is_folder = False
    return os.path.abspath(folder) if is_folder else name
