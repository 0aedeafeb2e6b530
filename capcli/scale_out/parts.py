"""The files that Ray writes, its "parts": which rows one holds, whether it was torn off, and one without some rows.

Ray writes each of them under its final name, so a kill may leave the beginning of one. Knows nothing of folders.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet

from capcli.outputs.files import Draft
from capcli.outputs.records import RecordError, Records
from capcli.outputs.unsure import tells_unsure


class TornPartError(Exception):
    """A part does not end as it should."""


@dataclass(frozen=True, slots=True)
class PartRow:
    """A row as far as a job needs it: its path, and its error, which None takes for captioned; whether it is unsure."""

    path: str
    error: str | None
    unsure: bool = False


def read_part(path: Path) -> Iterator[PartRow]:
    """The rows of a part.

    Raises:
        TornPartError: it was not written to its end.
        OSError: it cannot be read.
    """
    if path.suffix == ".parquet":
        try:
            with pyarrow.parquet.ParquetFile(path) as part:
                for batch in part.iter_batches(columns=["path", "error", "note"]):
                    for row in batch.to_pylist():
                        yield PartRow(row["path"], row["error"], tells_unsure(row.get("note")))
        except (pa.ArrowException, KeyError) as error:
            raise TornPartError(str(error)) from error
        return
    with path.open("rb") as file:
        records = Records(file, path.suffix[1:])
        try:
            for record in records:
                yield PartRow(record.row.path, record.row.error, tells_unsure(record.row.note))
        except RecordError as error:
            raise TornPartError(str(error)) from error
        if records.tail or records.end == 0:
            raise TornPartError("its last row has no end")


def drop_rows(path: Path, drops: Callable[[str], bool]) -> None:
    """Puts a part without some of its rows in its place, whole or not at all; none at all if nothing is left of it.

    Args:
        path: of a part that is not torn.
        drops: whether the row of a path goes.
    Raises:
        OSError: it cannot be written.
    """
    if path.suffix == ".parquet":
        table = pyarrow.parquet.read_table(path)
        kept = table.filter(pa.array([not drops(each) for each in table.column("path").to_pylist()], pa.bool_()))
        sink = pa.BufferOutputStream()
        pyarrow.parquet.write_table(kept, sink)
        content, left = sink.getvalue().to_pybytes(), kept.num_rows
    else:
        whole = path.read_bytes()
        with path.open("rb") as file:
            records = list(Records(file, path.suffix[1:]))
        pieces = [whole[record.start : record.end] for record in records if not drops(record.row.path)]
        content, left = b"".join([whole[: records[0].start] if records else b"", *pieces]), len(pieces)
    if not left:
        path.unlink()
        return
    with Draft(str(path), content) as draft:
        draft.replace()
