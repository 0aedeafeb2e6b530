"""The optional parts of capcli: what each brings, what for, and whether it is there.

Looks for installed packages and never imports them: torch alone takes seconds. Knows nothing of what is done with
them.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from importlib import metadata

from capcli.errors import DependencyError
from capcli.runtime.installation import Distribution


@dataclass(frozen=True)
class Extra:
    """What `pip install 'capcli[NAME]'` brings, and what for.

    `modules` must be there before any of it is used.
    """

    name: str
    distributions: tuple[str, ...]
    modules: tuple[str, ...]
    use: str

    def installed(self) -> tuple[Distribution, ...]:
        """Those of its distributions that are there."""
        versions = ((name, distribution_version(name)) for name in self.distributions)
        return tuple(Distribution(name, version) for name, version in versions if version is not None)


# As in pyproject.toml, but for `cuda`: whether its libraries work is for capcli.runtime.cuda to say.
EXTRAS = (
    Extra("heic", ("pillow-heif",), ("pillow_heif",), "HEIC photos need it"),
    Extra("metadata", ("pyexiv2",), ("pyexiv2",), "--write-metadata and --xmp need it"),
    Extra(
        "train",
        ("torch", "onnx", "onnxscript", "pycocoevalcap"),
        # pycocoevalcap is for scores: a run that validates nothing does without.
        ("torch", "onnx", "onnxscript"),
        "capcli train and export need it",
    ),
    Extra("pages", ("jinja2",), ("jinja2",), "the pages of capcli review, explain and evaluate need it"),
    Extra("eval", ("pycocoevalcap",), ("pycocoevalcap",), "capcli evaluate needs it"),
    Extra("ray", ("ray", "pyarrow"), ("ray", "pyarrow"), "capcli ray needs it"),
)


def need(name: str, user: str) -> None:
    """Asks for an extra before it is used.

    Args:
        name: of the extra, as in `EXTRAS`.
        user: who needs it, the subject of the message: "capcli train".
    Raises:
        DependencyError: one of its modules is not installed; the message says how to install the extra.
    """
    (extra,) = (each for each in EXTRAS if each.name == name)
    for module in extra.modules:
        if importlib.util.find_spec(module) is None:
            raise DependencyError(f"{user} needs {module}: pip install 'capcli[{name}]'")


def distribution_version(name: str) -> str | None:
    """The version of an installed distribution; None where none is recorded."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
