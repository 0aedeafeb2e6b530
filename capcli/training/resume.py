"""Whether a run can be resumed: with the same settings, but for those that may change, and the same data.

What has changed is told and kept in the log; what would have made the updates so far other ones is refused.
Knows nothing of networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from capcli.errors import UsageError
from capcli.training.config import OF_NETWORK, TrainConfig, flag_of
from capcli.training.config_paths import same_data, same_path
from capcli.training.run_folder import RunFolder
from capcli.training.run_record import RunRecord


@dataclass(frozen=True)
class EarlierRun:
    """A run that a folder holds.

    `config`: its settings so far; `record`: what it was made with and from, None if an earlier capcli made it.
    """

    config: TrainConfig
    record: RunRecord | None

    def complete(self, config: TrainConfig) -> TrainConfig:
        """The settings of now; those that they leave to the network are the run's."""
        left_open = [name for name in OF_NETWORK if getattr(config, name) is None]
        left_open += [] if config.input_size else ["input_size"]
        return replace(config, **{name: getattr(self.config, name) for name in left_open})

    def changes(self, config: TrainConfig, record: RunRecord) -> list[str]:
        """A line for each setting and each fact of machine and versions that is another now.

        Args:
            config: complete settings.
            record: of this machine.
        """
        lines = {name: _changed(name, self.config, config) for name in _differing(self.config, config)}
        # Of device, precision, threads and workers, what they came to says more than what was asked for.
        lines |= {} if self.record is None else record.changes_since(self.record)
        return list(lines.values())

    def resume(
        self, folder: RunFolder, config: TrainConfig, record: RunRecord, changes: Sequence[str], updates_per_epoch: int
    ) -> None:
        """Checks what only the data can tell, then keeps what has changed.

        Args:
            folder: the run's.
            config, record: of now, complete.
            changes: from `changes`.
            updates_per_epoch: of the data.
        Raises:
            UsageError: the data has changed, or the end of the run lies behind.
        """
        self.check_data(folder, config, record)
        self.check_epochs(folder, config, updates_per_epoch)
        if changes:
            # The log first: a change that is logged twice is better than one that is not.
            folder.log_changes(changes)
            folder.write_config(config)
        if record != self.record:
            folder.write_record(record)

    def check_data(self, folder: RunFolder, config: TrainConfig, record: RunRecord) -> None:
        """Refuses data that has changed since the run started.

        Raises:
            UsageError: training or validation images or captions are others.
        """
        if self.record is None:
            return
        same_validation = config.val_images == self.config.val_images
        changed = [
            what
            for what, before, now, counts in (
                ("training", self.record.train, record.train, True),
                ("validation", self.record.validation, record.validation, same_validation),
            )
            if counts and before is not None and before != now
        ]
        if changed:
            raise UsageError(
                f"{folder.path}: its {' and '.join(changed)} images or captions have changed since it started; put "
                f"them back, or start another run with another --out (--init {folder.path} takes its network)"
            )

    def check_epochs(self, folder: RunFolder, config: TrainConfig, updates_per_epoch: int) -> None:
        """Refuses an end that lies behind.

        Raises:
            UsageError: the run has trained for as many epochs already.
        """
        if config.epochs >= self.config.epochs or not folder.has("last"):
            return
        done = int(folder.load("last")["update"])
        if done >= config.epochs * updates_per_epoch:
            raise UsageError(
                f"--epochs {config.epochs}: {folder.path} has trained for {done / updates_per_epoch:.3g} epochs "
                "already; give more, or export it as it is"
            )


def earlier_run(folder: RunFolder, config: TrainConfig) -> EarlierRun | None:
    """The run that `folder` holds, None where one may start.

    Raises:
        UsageError: it holds something else, or a run that these settings cannot resume.
        DataError: its files are damaged.
    """
    if not folder.has_config:
        if not folder.is_free:
            raise UsageError(f"{folder.path}: not empty and not a run of capcli train; choose another --out")
        return None
    run = EarlierRun(folder.read_config(), folder.read_record())
    may_change = set(run.config.may_change())
    if run.record is not None and run.record.train is not None:
        # Data may have moved: what it holds is compared once it is read.
        may_change.add("data")
    changed = [name for name in _differing(run.config, run.complete(config)) if name not in may_change]
    if changed:
        raise UsageError(
            f"{folder.path}: holds a run with other settings ({', '.join(changed)}); "
            "use the same ones to go on with it, or choose another --out"
        )
    return run


def _differing(before: TrainConfig, now: TrainConfig) -> list[str]:
    return sorted(item.name for item in fields(before) if not _same(item.name, before, now))


def _same(name: str, before: TrainConfig, now: TrainConfig) -> bool:
    one: Any = getattr(before, name)
    other: Any = getattr(now, name)
    if name == "data":
        return same_data(one, other)
    if name == "encoder":
        return same_path(one, other)
    if name == "init":
        return len(one) == len(other) and all(map(same_path, one, other))
    return bool(one == other)


def _changed(name: str, before: TrainConfig, now: TrainConfig) -> str:
    if name == "data":
        return f"the data lies in {_folders(now)} now, was in {_folders(before)}"
    return f"{flag_of(name)} is {getattr(now, name)} now, was {getattr(before, name)}"


def _folders(config: TrainConfig) -> str:
    names: Sequence[str] = [source.images for source in config.data]
    return " and ".join(names)
