"""An output file as a destination of a run, new or gone on with. `OutputFile` does the writing.

Says so when a run goes on with rows that were made by another model or with other settings. Knows nothing of models
or terminals.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from capcli.outputs.destinations import Destination
from capcli.outputs.outcomes import Outcome
from capcli.outputs.output_file import Existing, OutputFile
from capcli.outputs.provenance import Provenance, ProvenanceMemory
from capcli.outputs.replaced import NOT_TOLD
from capcli.outputs.rows import RAW_BYTES_NOTE, Row, RowFormat, holds_raw_bytes
from capcli.outputs.spared import check_output_file


class RowFile(Destination):
    """The file named with `-o`: each path is in it once, and what it has already is left alone.

    Args:
        path, rows, existing, retry_failed, captions: as `OutputFile` takes them. The file is touched only when it is
            opened.
        tells_replaced: photos are to have texts replaced that only their rows tell from then on.
        memory: where it is kept what made the rows; by default the user's state folder.
    """

    def __init__(
        self,
        path: Path,
        rows: RowFormat,
        *,
        existing: Existing = Existing.REFUSE,
        retry_failed: bool = False,
        captions: int = 1,
        tells_replaced: bool = False,
        memory: ProvenanceMemory | None = None,
    ) -> None:
        self._path = path
        self._rows = rows
        self._memory = memory
        self._tells_replaced = tells_replaced
        self._open = partial(OutputFile, path, rows, existing=existing, retry_failed=retry_failed, captions=captions)
        self._file: OutputFile | None = None
        self._news: list[str] = []
        self._compared = False
        self._told_of_bytes = False

    @contextmanager
    def opened(self) -> Iterator[None]:
        check_output_file(self._path)
        with self._open() as self._file:
            self._news += self._file.notes
            if self._tells_replaced and "note" not in self.columns:
                self._news.append(f"{self._path}: {NOT_TOLD}")
            yield

    def wants(self, path: str) -> bool:
        """True once for each path that has no rows yet, however it is spelled."""
        file = self._opened_file
        if file.claim(path):
            return True
        if not self._compared and file.has_captions(path):
            self._compared = True
            before = file.captions_of(path)[0].path
            if before != path:
                self._news.append(
                    f"{self._path}: has {path} as {before}; photos count as done however their paths are spelled"
                )
        return False

    def has_captions(self, path: str) -> bool:
        return self._opened_file.has_captions(path)

    def captions_of(self, path: str) -> Sequence[Row]:
        return self._opened_file.captions_of(path)

    def recovered(self, path: str) -> None:
        self._opened_file.drop_failure(path)

    def news(self) -> list[str]:
        news, self._news = self._news, []
        return news

    def begin(self, provenance: Provenance) -> str | None:
        form, around = self._rows, self._rows.affixes
        now = replace(provenance, spreadsheet_safe=form.spreadsheet_safe, prefix=around.prefix, suffix=around.suffix)
        memory = self._memory or ProvenanceMemory()
        before = memory.recall(self._path) if self._opened_file.kept else None
        memory.remember(self._path, now)
        changed = now.differences(before) if before is not None else []
        if not changed:
            return None
        return f"{self._path}: its rows were written with other settings ({'; '.join(changed)}); they stay as they are"

    def put(self, rows: Sequence[Row]) -> Outcome:
        self._opened_file.write(rows)
        if not self._told_of_bytes and holds_raw_bytes(self._rows, rows):
            self._told_of_bytes = True
            self._news.append(f"{self._path} {RAW_BYTES_NOTE}")
        return Outcome(True)

    def put_first(self, rows: Sequence[Row]) -> None:
        self._opened_file.write_first(rows)

    @property
    def columns(self) -> Sequence[str]:
        return self._rows.columns if self._file is None else self._file.columns

    @property
    def kept_failures(self) -> int:
        return 0 if self._file is None else self._file.kept_failures

    @property
    def _opened_file(self) -> OutputFile:
        if self._file is None:
            raise RuntimeError(f"{self._path}: rows were put before it was opened")
        return self._file
