"""What a run was made with and from, beside its settings: data, machine, versions.

Kept in `run.json`, to tell on resume what has changed since. Knows nothing of settings or files.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch

from capcli import __version__
from capcli.bundle.tokens import Tokenizer
from capcli.training.data import ValidationSet
from capcli.training.device import Machine
from capcli.training.inputs.examples import EncodedImage

FORMAT = 1
# Fields whose changes are told on resume, in words.
_SAID = {
    "device": "the device",
    "precision": "the precision",
    "threads": "the number of CPU threads",
    "workers": "the number of worker processes",
    "capcli": "capcli's version",
    "torch": "PyTorch's version",
    "python": "Python's version",
}


@dataclass(frozen=True)
class RunRecord:
    """The data by its digests, the machine as it was found, the versions.

    `train`, `validation`: SHA-256 of captions and images, None before the data is ready.
    """

    train: str | None
    validation: str | None
    device: str
    precision: str
    threads: int
    workers: int
    capcli: str = __version__
    torch: str = str(torch.__version__)
    python: str = platform.python_version()

    @classmethod
    def of(cls, machine: Machine, train: str | None = None, validation: str | None = None) -> RunRecord:
        """The record of a run on this machine, by this program."""
        return cls(train, validation, machine.device.type, machine.precision, machine.threads, machine.workers)

    def as_dict(self) -> dict[str, Any]:
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> RunRecord:
        """Reads what `as_dict` gave; what a later format adds is ignored.

        Raises:
            ValueError: a value is missing.
        """
        known = [item.name for item in fields(cls)]
        missing = [name for name in known if name not in values]
        if missing:
            raise ValueError(f"{', '.join(missing)} missing")
        return cls(**{name: values[name] for name in known})

    def changes_since(self, earlier: RunRecord) -> dict[str, str]:
        """A line for each fact of machine and versions that is another now, under its field's name."""
        pairs = ((name, what, getattr(earlier, name), getattr(self, name)) for name, what in _SAID.items())
        return {name: f"{what} is {now} now, was {before}" for name, what, before, now in pairs if before != now}


def digest_of_training(images: Sequence[EncodedImage], keys: Mapping[Path, str]) -> str:
    """SHA-256 of what training sees: token ids of the captions, and the images' content, in order.

    Not their names or places: data that moved is the same data.

    Args:
        images: the training images.
        keys: the content key of each.
    """
    return _digest((image.data_set, image.captions, image.cut, keys[image.path]) for image in images)


def digest_of_validation(sets: Sequence[ValidationSet], tokenizer: Tokenizer, keys: Mapping[Path, str]) -> str:
    """SHA-256 of what validation sees, as `digest_of_training`."""
    return _digest(
        (number, [tokenizer.encode(caption) for caption in image.captions], keys[image.path])
        for number, held in enumerate(sets)
        for image in held.images
    )


def _digest(rows: Any) -> str:
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps(row).encode() + b"\n")
    return digest.hexdigest()
