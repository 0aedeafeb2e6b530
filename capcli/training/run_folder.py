"""A training run on disk: its settings, its models, its checkpoints, its log.

    run.json         what it was made with and from: digests of the data, machine, versions; the first file there is
    tokenizer.json   the vocabulary
    words.json       how the captions' writers use words (habits)
    start.pt         encoder and decoder configuration and first weights
    config.json      all settings that decide the result; with it the run can be resumed
    last.pt          trained tensors, optimiser, random state, position: where to resume
    best.pt          trained tensors of the best epoch so far and its scores
    log.jsonl        one line an epoch, and one for what changed when the run was resumed

Every file appears whole or not at all. Checkpoints hold tensors and plain values only and are loaded with
`weights_only`. Knows nothing of how training works.
"""

from __future__ import annotations

import fnmatch
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from capcli.bundle.habits import Habits
from capcli.bundle.tokens import Tokenizer
from capcli.errors import DataError, OutputError
from capcli.outputs.file_lock import locked_by
from capcli.outputs.files import Draft, why
from capcli.training.config import TrainConfig
from capcli.training.config_paths import with_absolute_paths
from capcli.training.model import CaptioningModel
from capcli.training.network.caption_network import CaptionNetwork
from capcli.training.network.decoder import Dropout
from capcli.training.run_record import RunRecord

# Of checkpoints. Format 1, which had no number, differs in `last.pt` alone, as `Trainer` says.
_FORMAT = 2
_RECORD = "run.json"
_OF_A_START = frozenset((_RECORD, "tokenizer.json", "words.json", "start.pt"))
_LOCK = ".capcli-lock"
_TEMPORARY = (".capcli-*.tmp", "*.json.part", "*.pt.part", _LOCK)


class RunFolder:
    """The files of one run under `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def locked(self) -> Iterator[None]:
        """A context in which no other process trains here. The folder is made if missing; one that stays empty goes.

        Raises:
            OutputError: another one does, or the folder cannot be made.
        """
        with ExitStack() as stack:
            try:
                taken = stack.enter_context(locked_by(self.path / _LOCK))
            except OSError as error:
                raise OutputError(f"{self.path}: the run folder cannot be made: {why(error)}") from error
            if not taken:
                raise OutputError(f"{self.path}: is being trained in by another capcli train; choose another --out")
            yield

    @property
    def has_config(self) -> bool:
        return (self.path / "config.json").is_file()

    @property
    def is_free(self) -> bool:
        """Whether a run may start here: there is nothing yet, or only what a killed start has left."""
        if not self.path.exists():
            return True
        if not self.path.is_dir():
            return False
        names = {path.name for path in self.path.iterdir()}
        names -= {name for name in names if any(fnmatch.fnmatchcase(name, pattern) for pattern in _TEMPORARY)}
        # Without the record, a tokenizer.json may be anybody's.
        return not names or (_RECORD in names and names <= _OF_A_START)

    def has(self, name: str) -> bool:
        """Whether the checkpoint `name` ("start", "last" or "best") exists."""
        return (self.path / f"{name}.pt").is_file()

    def write_config(self, config: TrainConfig) -> None:
        """Keeps the settings, with absolute paths."""
        self._write_json("config.json", with_absolute_paths(config).as_dict())

    def read_config(self) -> TrainConfig:
        """The settings; those that are newer than the run have their defaults."""
        return TrainConfig.from_dict(self._read_json("config.json"), str(self.path / "config.json"))

    def write_record(self, record: RunRecord) -> None:
        self._write_json(_RECORD, record.as_dict())

    def read_record(self) -> RunRecord | None:
        """What the run was made with and from; None in a folder of an earlier capcli, which kept no record."""
        if not (self.path / _RECORD).is_file():
            return None
        try:
            return RunRecord.from_dict(self._read_json(_RECORD))
        except ValueError as error:
            raise DataError(f"{self.path / _RECORD}: damaged ({error}); delete it to go on without") from error

    def write_vocabulary(self, tokenizer: Tokenizer, habits: Habits) -> None:
        target = self.path / "tokenizer.json"
        try:
            with Draft(str(target), b"") as draft:
                tokenizer.save(Path(draft.path))
                draft.replace()
        except OSError as error:
            raise OutputError(f"{target}: cannot be written: {why(error)}") from error
        self._write_json("words.json", habits.as_dict())

    def write_start(self, config: TrainConfig, model: CaptioningModel) -> None:
        """Makes the folder that of a run: the model before the first update, and the settings.

        Raises:
            OutputError: it cannot be written.
        """
        self.write_vocabulary(model.tokenizer, model.habits)
        self.save("start", model.network.as_checkpoint())
        # Last, so that a run folder with a config is one that can be resumed.
        self.write_config(config)

    def read_start(self, dropout: Dropout | None = None) -> CaptioningModel:
        """The model before the first update, in float32 on the CPU.

        Raises:
            DataError: a file is missing or damaged.
        """
        network = CaptionNetwork.from_checkpoint(self.load("start"), dropout)
        return CaptioningModel(network, self.read_tokenizer(), self.read_habits(), self.read_config().input_size)

    def read_tokenizer(self) -> Tokenizer:
        return Tokenizer.load(self.path / "tokenizer.json")

    def read_habits(self) -> Habits:
        try:
            return Habits.from_dict(self._read_json("words.json"))
        except ValueError as error:
            raise DataError(f"{self.path / 'words.json'}: damaged ({error})") from error

    def save(self, name: str, checkpoint: dict[str, Any]) -> None:
        """Writes a checkpoint so that a kill at any moment leaves the old or the new one."""
        # Always under one name: a run that is killed in every save leaves one large file behind, not many.
        partial, final = self.path / f"{name}.pt.part", self.path / f"{name}.pt"
        try:
            with partial.open("wb") as file:
                torch.save({"format": _FORMAT, **checkpoint}, file)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(final)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise OutputError(f"{final}: the checkpoint cannot be written: {why(error)}") from error

    def load(self, name: str) -> dict[str, Any]:
        """Reads a checkpoint.

        Raises:
            DataError: it is not there, damaged, or of a later version of capcli.
        """
        path = self.path / f"{name}.pt"
        try:
            checkpoint: Any = torch.load(path, map_location="cpu", weights_only=True)
            found = checkpoint.pop("format", 1)
        except FileNotFoundError as error:
            raise DataError(f"{path}: not found; is {self.path} a run of capcli train?") from error
        except Exception as error:  # torch's reader raises anything on damaged bytes
            raise DataError(f"{path}: damaged checkpoint; start the run again in another folder") from error
        if found not in range(1, _FORMAT + 1):
            raise DataError(f"{path}: a checkpoint of format {found}; this capcli reads up to {_FORMAT}; upgrade it")
        return dict(checkpoint)

    def append_log(self, entry: dict[str, Any]) -> None:
        """Adds an epoch's line; an epoch that a resumed run repeats replaces its old line."""
        kept = [line for line in self._read_lines() if "epoch" not in line or line["epoch"] < entry["epoch"]]
        self._write_log([*kept, entry])

    def log_changes(self, changes: Sequence[str]) -> None:
        """Adds a line on what has changed, now that the run is resumed."""
        lines = self._read_lines()
        after = max((line["epoch"] for line in lines if "epoch" in line), default=0)
        self._write_log([*lines, {"resumed_after_epoch": after, "changes": list(changes)}])

    def read_log(self) -> list[dict[str, Any]]:
        """The epochs' lines.

        Raises:
            DataError: the log is damaged.
        """
        return [line for line in self._read_lines() if "epoch" in line]

    def read_changes(self) -> list[str]:
        """All that changed when the run was resumed."""
        return [change for line in self._read_lines() for change in line.get("changes", ())]

    def _read_lines(self) -> list[dict[str, Any]]:
        path = self.path / "log.jsonl"
        if not path.is_file():
            return []
        try:
            return [dict(json.loads(line)) for line in path.read_text("utf-8").splitlines() if line.strip()]
        except (OSError, TypeError, ValueError) as error:
            raise DataError(f"{path}: not readable as a log ({error}); move it away to go on without") from error

    def _write_log(self, lines: Sequence[dict[str, Any]]) -> None:
        self._write_text("log.jsonl", "".join(json.dumps(line) + "\n" for line in lines))

    def _write_json(self, name: str, values: dict[str, Any]) -> None:
        self._write_text(name, json.dumps(values, indent=1, ensure_ascii=False))

    def _write_text(self, name: str, text: str) -> None:
        path = self.path / name
        try:
            # Bytes of a path that are no UTF-8 stay what they are.
            with Draft(str(path), text.encode("utf-8", "surrogateescape")) as draft:
                draft.replace()
        except OSError as error:
            raise OutputError(f"{path}: cannot be written: {why(error)}") from error

    def _read_json(self, name: str) -> dict[str, Any]:
        path = self.path / name
        try:
            values: Any = json.loads(path.read_text("utf-8", "surrogateescape"))
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: not readable; is {self.path} a run of capcli train?") from error
        if not isinstance(values, dict):
            raise DataError(f"{path}: damaged: it holds no settings")
        return values


@dataclass(frozen=True)
class TrainedRun:
    """A run with a finished epoch: its settings, its model after the best one, and that epoch's line of the log."""

    path: Path
    config: TrainConfig
    model: CaptioningModel
    result: Mapping[str, Any]


def load_trained_run(path: Path, dropout: Dropout | None = None) -> TrainedRun:
    """What a run has come to so far.

    Args:
        path: the run's folder.
        dropout: for a network that is trained on.
    Raises:
        DataError: not a run, one without a finished epoch, or one that is damaged or whose weights are not finite.
    """
    folder = RunFolder(path)
    if not folder.has_config:
        raise DataError(f"{path}: not a run of capcli train: it has no config.json")
    if not folder.has("best"):
        raise DataError(f"{path}: no epoch of this run is finished yet; let it train on")
    model, best = folder.read_start(dropout), folder.load("best")
    model.network.load_trained(best["model"])
    if not all(bool(torch.isfinite(tensor).all()) for tensor in model.network.state_dict().values()):
        raise DataError(f"{path}: its best weights are not finite numbers; train again with a lower --learning-rate")
    return TrainedRun(path, folder.read_config(), model, best["result"])


def load_run(path: Path, dropout: Dropout | None = None) -> CaptioningModel:
    """The best model of a run, in float32 on the CPU; see `load_trained_run`."""
    return load_trained_run(path, dropout).model
