"""Everything capcli refuses, as one small family.

Raised where the fact is known, with a message that says which file, what is wrong and what to do.
Turned into one line on stderr and an exit code in exactly one place: `capcli.cli`. Knows nothing
else of the package.
"""

from __future__ import annotations


class CapcliError(Exception):
    """Base of all errors capcli raises on purpose. `str(error)` is one line meant for a person.

    `exit_code` is what the command line ends with when the error reaches it.
    """

    exit_code = 1


class UsageError(CapcliError):
    """Nothing was started: wrong options, no image found, an output file that already exists."""

    exit_code = 2


class DataError(UsageError):
    """Training or evaluation data cannot be used: unreadable captions, no image left."""


class TrainingError(CapcliError):
    """A training run cannot go on: its loss is no longer finite."""

    exit_code = 1


class ImageError(CapcliError):
    """One image cannot be read. Never ends a run over many images.

    `source` is the image as it was given (a path, bytes, ...), where whoever raised the error knew it.
    """

    exit_code = 1

    def __init__(self, message: str, source: object = None) -> None:
        super().__init__(message)
        self.source = source


class BundleError(CapcliError):
    """A bundle is missing, damaged, or not understood by this version."""

    exit_code = 3


class ProviderError(CapcliError):
    """The execution provider that was asked for cannot be used, or ONNX Runtime is broken."""

    exit_code = 3


class DependencyError(CapcliError):
    """An optional part of capcli (an extra, Java) is not installed."""

    exit_code = 3


class OutputError(CapcliError):
    """The output cannot be written: full disk, read-only folder, locked by another run."""

    exit_code = 4
