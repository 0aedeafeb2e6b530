"""Which model and settings wrote an output file, so that a run that goes on with it can say when they differ.

Kept in the user's state folder, one small JSON file for each output file: none of the formats has a place for it, and
nobody wants more files beside their photos. Where it cannot be kept, runs work all the same, without the comparison.
Knows nothing of models or formats.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from capcli.outputs.files import Draft
from capcli.user_folders import state_folder


@dataclass(frozen=True)
class Provenance:
    """What rows depend on besides the images. `weights` is a fingerprint of the bundle's files."""

    model: str
    weights: str
    beam: int
    max_length: int
    length_penalty: float
    captions: int
    raw: bool
    spreadsheet_safe: bool = False
    mirror_average: bool = False
    prefix: str = ""
    suffix: str = ""

    def differences(self, before: Provenance) -> list[str]:
        """What is not as it was before, in words."""
        if self.weights != before.weights and self.model == before.model:
            changed = [f"another version of model {self.model}"]
        else:
            changed = []
        for item in dataclasses.fields(self):
            was, now = getattr(before, item.name), getattr(self, item.name)
            if item.name != "weights" and was != now:
                told = "{!r}, now {!r}" if item.name in ("prefix", "suffix") else "{}, now {}"
                changed.append(f"{item.name.replace('_', ' ')} {told.format(was, now)}")
        return changed


class ProvenanceMemory:
    """Remembers the provenance of output files.

    Args:
        folder: where; made when something is remembered.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or state_folder() / "capcli" / "outputs"

    def remember(self, output: Path, provenance: Provenance) -> None:
        """Keeps what makes a file's rows from now on."""
        place = self._place(output)
        # Without a home nothing is remembered: a relative folder would be made wherever the run was started.
        if not self._folder.is_absolute():
            return
        # A home folder that cannot be written is no reason not to caption.
        with contextlib.suppress(OSError):
            place.parent.mkdir(parents=True, exist_ok=True)
            # Whole or not at all, as a run may be killed here too.
            with Draft(str(place), json.dumps(dataclasses.asdict(provenance)).encode()) as draft:
                draft.replace()

    def recall(self, output: Path) -> Provenance | None:
        """What made a file's rows, if that is known."""
        try:
            return Provenance(**json.loads(self._place(output).read_text("utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def _place(self, output: Path) -> Path:
        digest = hashlib.blake2b(os.fsencode(os.path.realpath(output)), digest_size=16)
        return self._folder / f"{digest.hexdigest()}.json"
