"""A training run on disk: its settings, its checkpoints, its log.

    config.json      all settings that decide the result
    tokenizer.json   the vocabulary
    words.json       how the captions' writers use words (habits)
    start.pt         encoder and decoder configuration and the encoder's first weights
    last.pt          trained tensors, optimiser, random state, position: where to go on
    best.pt          trained tensors of the best epoch so far and its scores
    log.jsonl        one line an epoch

Every file is written whole under another name and then renamed. Checkpoints hold tensors and plain values only and
are loaded with `weights_only`. Knows nothing of how training works.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch

from capcli.errors import DataError, OutputError
from capcli.habits import Habits
from capcli.tokens import Tokenizer
from capcli.training.config import TrainConfig


class RunFolder:
    """The files of one run under `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def create(self) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{self.path}: the run folder cannot be made ({error.strerror})") from error

    @property
    def has_config(self) -> bool:
        return (self.path / "config.json").is_file()

    def has(self, name: str) -> bool:
        """Whether the checkpoint `name` ("start", "last" or "best") exists."""
        return (self.path / f"{name}.pt").is_file()

    def write_config(self, config: TrainConfig) -> None:
        self._write_text("config.json", json.dumps(config.as_dict(), indent=1, ensure_ascii=False))

    def read_config(self) -> TrainConfig:
        """The settings; one that is newer than the run has its default."""
        return TrainConfig.from_dict(self._read_json("config.json"), str(self.path))

    def write_vocabulary(self, tokenizer: Tokenizer, habits: Habits) -> None:
        partial = self.path / "tokenizer.json.part"
        tokenizer.save(partial)
        partial.replace(self.path / "tokenizer.json")
        self._write_text("words.json", json.dumps(habits.as_dict(), indent=1, ensure_ascii=False))

    def read_tokenizer(self) -> Tokenizer:
        return Tokenizer.load(self.path / "tokenizer.json")

    def read_habits(self) -> Habits:
        return Habits.from_dict(self._read_json("words.json"))

    def save(self, name: str, checkpoint: dict[str, Any]) -> None:
        """Writes a checkpoint so that a kill at any moment leaves the old or the new one."""
        partial, final = self.path / f"{name}.pt.part", self.path / f"{name}.pt"
        try:
            with partial.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(final)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise OutputError(f"{final}: the checkpoint cannot be written ({error.strerror})") from error

    def load(self, name: str) -> dict[str, Any]:
        path = self.path / f"{name}.pt"
        try:
            checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except FileNotFoundError as error:
            raise DataError(f"{path}: not found; is {self.path} a run of capcli train?") from error
        except Exception as error:  # torch's reader raises anything on damaged bytes
            raise DataError(f"{path}: damaged checkpoint; start the run again in another folder") from error
        return checkpoint

    def append_log(self, entry: dict[str, Any]) -> None:
        """Adds an epoch's line; an epoch that a resumed run repeats replaces its old line."""
        kept = [line for line in self.read_log() if line["epoch"] < entry["epoch"]]
        self._write_text("log.jsonl", "".join(json.dumps(line) + "\n" for line in [*kept, entry]))

    def read_log(self) -> list[dict[str, Any]]:
        path = self.path / "log.jsonl"
        if not path.is_file():
            return []
        return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]

    def _write_text(self, name: str, text: str) -> None:
        partial = self.path / f"{name}.part"
        try:
            partial.write_text(text, "utf-8")
            partial.replace(self.path / name)
        except OSError as error:
            raise OutputError(f"{self.path / name}: cannot be written ({error.strerror})") from error

    def _read_json(self, name: str) -> dict[str, Any]:
        path = self.path / name
        try:
            values: dict[str, Any] = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: not readable; is {self.path} a run of capcli train?") from error
        return values
