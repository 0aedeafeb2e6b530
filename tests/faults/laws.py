"""What holds after every kill, and what holds once the run was gone on with. Each broken law is one line.

A folder is known by what each of its files holds. A file of rows grows row by row; every other file is as it was before
the run, or as a run that nobody disturbs leaves it.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from capcli.outputs.replaced import UNFINISHED, replaced_in

# Scores of other batches are other ones, by this at most.
_SCORES_DIFFER = 1e-3
Files = Mapping[str, bytes]


@dataclass(frozen=True)
class Told:
    """One row, as anybody's reader of its format has it."""

    path: str
    rank: str
    caption: str
    score: float | None
    error: str
    note: str


@dataclass(frozen=True)
class Course:
    """What a command does to a folder: what was there before, what is there after it, and which file has its rows."""

    before: Files
    after: Files
    rows: str | None

    def broken_by_fault(self, found: Files, earlier: Files, *, told: str | None = None) -> list[str]:
        """Laws broken in a folder right after a kill, or another fault.

        Args:
            found: what is there.
            earlier: what was there as the run began.
            told: what rows of photos have in their error that the fault has kept from being written.
        """
        broken = []
        for name in sorted({*self.before, *self.after, *found} - {self.rows}):
            if is_draft(name):
                continue
            now, states = found.get(name), (self.before.get(name), self.after.get(name))
            if now is None and earlier.get(name) is not None and name in self.after:
                broken.append(f"lost: {name} is gone")
            elif now not in states:
                broken.append(f"half: {name} is neither old nor new ({len(now or b'')} bytes)")
        return broken + self._broken_bundles(found) + self._broken_rows(found, earlier, told)

    def broken_in_the_end(self, found: Files) -> list[str]:
        """Laws broken in a folder once the command has been repeated to its end."""
        broken = [f"left behind: {name}" for name in sorted(found) if name not in self.after]
        for name in sorted(self.after):
            if name != self.rows and found.get(name) != self.after[name]:
                broken.append(f"lost: {name} is other than without a kill")
        if self.rows is None:
            return broken
        wanted, rows = (rows_in(self.rows, files.get(self.rows, b"")) for files in (self.after, found))
        times = Counter((row.path, row.rank) for row in rows)
        broken += [f"doubled: {path} {rank}" for (path, rank), count in times.items() if count > 1]
        broken += [f"lost: no row of {path} {rank}" for path, rank in {(r.path, r.rank) for r in wanted} - {*times}]
        broken += [f"other row: {row}" for row in rows if not any(_same(row, each) for each in wanted)]
        return broken

    def _broken_rows(self, found: Files, earlier: Files, fault: str | None) -> list[str]:
        if self.rows is None:
            return []
        wanted, old, rows, ago = (
            rows_in(self.rows, files.get(self.rows, b"")) for files in (self.after, self.before, found, earlier)
        )
        finished = [row for row in rows if row.error != UNFINISHED and not (fault and fault in row.error)]
        broken = [f"other row: {row}" for row in finished if not any(_same(row, each) for each in [*wanted, *old])]
        for row in finished:
            if row.error or not any(_same(row, each) for each in wanted) or any(_same(row, each) for each in old):
                continue
            for file in (row.path, f"{row.path}.xmp", f"{Path(row.path).with_suffix('.txt')}"):
                if found.get(file) != self.after.get(file) and self.after.get(file) != self.before.get(file):
                    broken.append(f"not done: {file} lacks what its row tells")
        known = {row.path for row in rows}
        broken += [f"lost: no row of {row.path} any more" for row in ago if row.path not in known and not self._anew]
        told = {row.path: replaced_in(row.note) for row in rows if replaced_in(row.note) is not None}
        for row in wanted:
            replaced = replaced_in(row.note)
            for place, file in (("metadata", row.path), ("xmp", f"{row.path}.xmp")):
                is_new = found.get(file) == self.after.get(file) != self.before.get(file)
                if replaced is None or place not in replaced or not is_new:
                    continue
                if (told.get(row.path) or {}).get(place) != replaced[place]:
                    broken.append(f"lost: no row tells what {file} said")
        return broken

    def _broken_bundles(self, found: Files) -> list[str]:
        """A folder with a manifest is old or new as a whole."""
        broken = []
        for folder in {str(Path(name).parent) for name in self.after if Path(name).name == "manifest.json"}:
            states = [
                {name: content for name, content in files.items() if str(Path(name).parent) == folder}
                for files in (found, self.before, self.after)
            ]
            if states[0] not in states[1:]:
                broken.append(f"half: {folder} is neither old nor new")
        return broken

    @property
    def _anew(self) -> bool:
        """Whether the command replaces its file of rows as a whole."""
        olds = {row.caption for row in rows_in(str(self.rows), self.before.get(str(self.rows), b""))}
        return "Of long ago." in olds


def is_draft(name: str) -> bool:
    """Whether a file is temporary: a draft, or what an export works with beside its bundle."""
    is_file = Path(name).name.startswith(".capcli-") and name.endswith(".tmp")
    return is_file or ".capcli-new" in name or name.endswith(".capcli-lock")


def read_folder(folder: Path) -> dict[str, bytes]:
    """What each file in a folder holds, by its path there.

    A bundle that an export had moved aside, and that nothing is in the place of, counts as being in its place, where
    the next export puts it.
    """
    files = {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    folders = {path.parts[0] for path in files}
    return {
        str(Path(name, *path.parts[1:]) if aside and name not in folders else path): content
        for path, content in files.items()
        for aside, name in [_moved_aside(path.parts[0])]
    }


def _moved_aside(name: str) -> tuple[bool, str]:
    aside = name.startswith(".") and name.endswith(".capcli-old")
    return aside, name[1:].removesuffix(".capcli-old") if aside else name


def rows_in(name: str, content: bytes) -> list[Told]:
    """The whole rows of a file; what a kill has torn off its end is none."""
    if name.endswith(".jsonl"):
        lines = content.decode().split("\n")[:-1]
        return [_told(json.loads(line)) for line in lines]
    text = content.decode()
    if not text.endswith("\n"):
        text = text[: text.rfind("\n") + 1]
    return [_told(values) for values in csv.DictReader(io.StringIO(text, newline=""), strict=True)]


def _told(values: Mapping[str, object]) -> Told:
    score = values.get("score")
    return Told(
        str(values.get("path", values.get("file_name"))),
        str(values.get("rank") or ""),
        str(values.get("caption", values.get("text")) or ""),
        float(str(score)) if score not in (None, "") else None,
        str(values.get("error") or ""),
        str(values.get("note") or ""),
    )


def _same(one: Told, other: Told) -> bool:
    def plain(row: Told) -> Iterable[str]:
        return row.path, row.rank, row.caption, row.error, row.note

    if plain(one) != plain(other) or (one.score is None) != (other.score is None):
        return False
    return one.score is None or abs(one.score - (other.score or 0)) <= _SCORES_DIFFER
