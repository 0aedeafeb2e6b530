"""The folder that a job's parts go to: never one of photos, and only what capcli wrote there is ever removed.

A small JSON beside the parts names the runs that wrote there, by the beginning of their parts' names, before Ray writes
the first one; and what made the rows. Of a run that has ended it names the parts: what a worker that outlived its run
writes later is no part, and is moved aside. Knows nothing of Ray.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import Any

from capcli.errors import OutputError, UsageError
from capcli.messages import printable
from capcli.outputs.file_lock import try_lock
from capcli.outputs.files import Draft, cannot_be_written
from capcli.outputs.output_file import Existing
from capcli.outputs.path_keys import PathKeys
from capcli.outputs.provenance import Provenance
from capcli.scale_out.parts import PartRow, TornPartError, drop_rows, read_part

_STATE, _LOCK = "_capcli.json", "_capcli.lock"
# Readers of such folders pass by what begins with an underscore or a dot.
_PART = re.compile(r"captions-([0-9a-f]{12})_[0-9a-f]{32}_\d{6,}(?:-\d+)?\.(parquet|csv|jsonl)")
_ASIDE = re.compile(rf"_{_PART.pattern}\.torn")
_DRAFT = re.compile(r"\.capcli-.*\.tmp")
_NAME_ANOTHER = "; name another folder, which may be missing or empty"


@dataclass
class _State:
    """What the JSON says. `runs`: the parts of each run that has ended; None for one that has not."""

    format: str
    provenance: Provenance | None = None
    runs: dict[str, list[str] | None] = field(default_factory=dict)


@dataclass
class Done:
    """What earlier runs have left: the keys of paths with captions, and of those that failed."""

    captioned: set[bytes] = field(default_factory=set)
    failed: set[bytes] = field(default_factory=set)


class OutputFolder:
    """A folder of parts.

    Args:
        path: the folder; made when the job begins.
        form: one of `formats.FORMATS`.
        existing: what to do with one that is not empty.
    Raises:
        UsageError: it is a file, holds what capcli did not write there, or is not empty and nothing says what to do.
        OutputError: it cannot be looked into.
    """

    def __init__(self, path: Path, form: str, existing: Existing) -> None:
        self.path = Path(os.path.abspath(path))
        self._shown = path
        self._existing = existing
        self.key = PathKeys().key
        # Ray takes paths for URLs, which lose some characters.
        if not str(self.path).isprintable():
            raise UsageError(f"{printable(str(path))}: Ray cannot write to a folder of that name{_NAME_ANOTHER}")
        self._state = self._check(form)
        self.run = secrets.token_hex(6)

    @property
    def form(self) -> str:
        """The format of its parts."""
        return self._state.format

    @property
    def prefix(self) -> str:
        """What the names of this run's parts begin with."""
        return f"captions-{self.run}"

    def check_apart(self, given: str) -> None:
        """Refuses an input that lies in the folder, or in which the folder lies.

        Raises:
            UsageError: it does.
        """
        here, there = os.path.realpath(self.path), os.path.realpath(given)
        for inner, outer in ((here, there), (there, here)):
            if inner == outer or inner.startswith(outer.rstrip(os.sep) + os.sep):
                raise UsageError(
                    f"{self._shown}: the folder for captions must not hold photos, or lie among them: it does with "
                    f"{printable(given)}{_NAME_ANOTHER}"
                )

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """A context in which no other job writes to the folder.

        Raises:
            OutputError: another one does, or the folder cannot be made.
        """
        made = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock: FileIO = (self.path / _LOCK).open("ab", buffering=0)
        except OSError as error:
            raise cannot_be_written(self._shown, error) from error
        with lock:
            try:
                taken = try_lock(lock)
            except OSError:  # a disk that knows no locks
                taken = True
            if not taken:
                raise OutputError(f"{self._shown}: is being written by another run of capcli")
            # What was there may have changed before the lock was taken.
            self._state = self._check(self._state.format)
            try:
                yield
            finally:
                if made and os.listdir(self.path) == [_LOCK]:
                    (self.path / _LOCK).unlink()
                    with contextlib.suppress(OSError):  # somebody has put something there
                        for folder in made:
                            folder.rmdir()

    def check_columns(self, captions: int) -> None:
        """Refuses to go on with rows that have a rank, or none, where the new ones have none, or one.

        Args:
            captions: for each image, in this run.
        Raises:
            UsageError: one table cannot hold both.
        """
        before = self._state.provenance
        if self._existing is Existing.RESUME and before is not None and (before.captions > 1) != (captions > 1):
            raise UsageError(
                f"{self._shown}: holds {before.captions} captions for each image, and rows with other columns than "
                f"these; add --captions {before.captions}"
            )

    def begin(self, provenance: Provenance) -> str | None:
        """Makes the folder ready for this run: removes what is to be replaced, and names the run.

        Returns:
            A line for the user, where rows that stay were made differently.
        Raises:
            OutputError: it cannot be written.
        """
        before = self._state.provenance
        try:
            if self._existing is Existing.REPLACE:
                for name in self._ours():
                    (self.path / name).unlink()
                self._state, before = _State(self._state.format), None
            self._state.provenance = provenance
            self._state.runs[self.run] = None
            self._save()
        except OSError as error:
            raise cannot_be_written(self._shown, error) from error
        changed = [] if before is None else provenance.differences(before)
        if not changed:
            return None
        return f"{self._shown}: its rows were written with other settings ({'; '.join(changed)}); they stay as they are"

    def done(self) -> tuple[Done, list[str]]:
        """Reads what earlier runs have left, and moves aside what was torn off or came late.

        Returns:
            It; and lines for the user.
        Raises:
            OutputError: a part cannot be read or moved.
        """
        done, notes = Done(), list[str]()
        if self._existing is not Existing.RESUME:
            return done, notes
        try:
            for run, parts in self._state.runs.items():
                kept = []
                for name in self._parts_of(run):
                    rows = self._rows(name) if parts is None or name in parts else None
                    if rows is None:
                        os.replace(self.path / name, self.path / f"_{name}.torn")
                        if parts is None or name in parts:
                            notes.append(f"{self._shown / name}: was not written to its end; its photos are done again")
                        continue
                    kept.append(name)
                    for row in rows:
                        (done.captioned if row.error is None else done.failed).add(self.key(row.path))
                self._state.runs[run] = kept
        except OSError as error:
            raise cannot_be_written(self._shown, error) from error
        done.failed -= done.captioned
        return done, notes

    def forget(self, keys: set[bytes]) -> None:
        """Takes the rows of failed photos out of the parts of earlier runs, since they are tried again.

        Raises:
            OutputError: a part cannot be written.
        """
        try:
            for names in self._state.runs.values():
                for name in list(names or ()):
                    if any(row.error is not None and self.key(row.path) in keys for row in read_part(self.path / name)):
                        drop_rows(self.path / name, lambda path: self.key(path) in keys)
        except (OSError, TornPartError) as error:
            raise OutputError(f"{self._shown}: its rows cannot be replaced ({error})") from error

    def written(self) -> Iterator[PartRow]:
        """The rows of this run, which has ended; moves aside what late workers of earlier ones have written.

        Raises:
            OutputError: a part cannot be read, or the folder be written.
        """
        try:
            for run, parts in self._state.runs.items():
                for name in self._parts_of(run):
                    if parts is not None and name not in parts:
                        os.replace(self.path / name, self.path / f"_{name}.torn")
            names = self._parts_of(self.run)
            for name in names:
                yield from read_part(self.path / name)
            self._state.runs[self.run] = names
            self._save()
        except (OSError, TornPartError) as error:
            raise OutputError(f"{self._shown}: cannot be read back ({error})") from error

    def _rows(self, name: str) -> list[PartRow] | None:
        """A part's rows; None for a torn one."""
        try:
            return list(read_part(self.path / name))
        except TornPartError:
            return None

    def _parts_of(self, run: str) -> list[str]:
        return sorted(name for name in os.listdir(self.path) if (found := _PART.fullmatch(name)) and found[1] == run)

    def _ours(self) -> list[str]:
        """Parts of the runs that the JSON names, torn ones too."""
        found = ((name, _PART.fullmatch(name) or _ASIDE.fullmatch(name)) for name in os.listdir(self.path))
        return [name for name, match in found if match is not None and match[1] in self._state.runs]

    def _check(self, form: str) -> _State:
        try:
            if not self.path.exists():
                return _State(form)
            if not self.path.is_dir():
                raise UsageError(f"{self._shown}: is no folder{_NAME_ANOTHER}")
            names = sorted(os.listdir(self.path))
            state = self._load(form)
        except OSError as error:
            raise cannot_be_written(self._shown, error) from error
        for name in names:
            part = _PART.fullmatch(name) or _ASIDE.fullmatch(name)
            known = part[1] in state.runs if part is not None else name in (_STATE, _LOCK) or _DRAFT.fullmatch(name)
            if not known:
                raise UsageError(
                    f"{self._shown}: holds {printable(name)}, which capcli ray did not write{_NAME_ANOTHER}"
                )
        if set(names) - {_LOCK} and self._existing is Existing.REFUSE:
            raise UsageError(
                f"{self._shown}: is not empty; use --resume to go on with it, --overwrite to replace its rows, or name "
                "another folder"
            )
        if state.format != form and self._existing is Existing.RESUME:
            raise UsageError(f"{self._shown}: holds rows as {state.format}; add --format {state.format}")
        return state if self._existing is Existing.RESUME else _State(form, state.provenance, state.runs)

    def _load(self, form: str) -> _State:
        try:
            values: dict[str, Any] = json.loads((self.path / _STATE).read_text("utf-8"))
            made = values["provenance"]
            runs = {str(run): None if parts is None else list(map(str, parts)) for run, parts in values["runs"].items()}
            return _State(str(values["format"]), None if made is None else Provenance(**made), runs)
        except FileNotFoundError:
            return _State(form)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(f"{self._shown / _STATE}: is not what capcli wrote ({error}){_NAME_ANOTHER}") from error

    def _save(self) -> None:
        made = None if self._state.provenance is None else dataclasses.asdict(self._state.provenance)
        values = {"format": self._state.format, "provenance": made, "runs": self._state.runs}
        with Draft(str(self.path / _STATE), (json.dumps(values, indent=1) + "\n").encode()) as draft:
            draft.replace()
