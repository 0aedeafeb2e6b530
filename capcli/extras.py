"""The optional parts of capcli: what each brings, what for, and whether it is there.

Reads what is recorded of installed packages and never imports them: torch alone takes seconds. Knows nothing of what
is done with them.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata

from capcli.runtime.installation import Distribution


@dataclass(frozen=True)
class Extra:
    """What `pip install 'capcli[NAME]'` brings, and what for."""

    name: str
    distributions: tuple[str, ...]
    use: str

    def installed(self) -> tuple[Distribution, ...]:
        """Those of its distributions that are there."""
        versions = ((name, distribution_version(name)) for name in self.distributions)
        return tuple(Distribution(name, version) for name, version in versions if version is not None)


# As in pyproject.toml, but for `cuda`: whether its libraries work is for capcli.runtime.cuda to say.
EXTRAS = (
    Extra("heic", ("pillow-heif",), "HEIC photos need it"),
    Extra("metadata", ("pyexiv2",), "--write-metadata needs it"),
    Extra("train", ("torch", "onnx", "onnxscript", "pycocoevalcap"), "capcli train and export need it"),
    Extra("eval", ("pycocoevalcap",), "capcli evaluate needs it"),
)


def distribution_version(name: str) -> str | None:
    """The version of an installed distribution; None where none is recorded."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
