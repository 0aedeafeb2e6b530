"""The folder of a job's rows: what is refused, what is removed, and what is gone on with."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

pa = pytest.importorskip("pyarrow", reason="needs the ray extra")

from capcli import OutputError, UsageError  # noqa: E402
from capcli.outputs import Existing  # noqa: E402
from capcli.outputs.provenance import Provenance  # noqa: E402
from capcli.scale_out.formats import FORMATS  # noqa: E402
from capcli.scale_out.output_folder import OutputFolder  # noqa: E402
from capcli.scale_out.parts import TornPartError, drop_rows, read_part  # noqa: E402

MADE = Provenance("m", "w", 3, 20, 0.7, 1, False)


def write_part(path: Path, rows: list[tuple[str, str | None, str | None]]) -> Path:
    """As Ray writes one: path, caption, error."""
    import pyarrow.csv
    import pyarrow.parquet

    names = ("path", "caption", "error")
    table = pa.table({name: pa.array([row[n] for row in rows], pa.string()) for n, name in enumerate(names)})
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(table, path)
    elif path.suffix == ".csv":
        pyarrow.csv.write_csv(table, path)
    else:
        path.write_text("".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows))
    return path


def part_of(out: OutputFolder, number: int = 0) -> Path:
    end = "-0" if out.form == "parquet" else ""
    return out.path / f"{out.prefix}_{'0' * 32}_{number:06}{end}.{out.form}"


ROWS = [("a.jpg", 'A, "b"\nc', None), ("b.jpg", None, "is empty"), ("é.jpg", "D", None)]


def folder(path: Path, existing: Existing = Existing.REFUSE, form: str = "parquet") -> OutputFolder:
    return OutputFolder(path, form, existing)


def earlier_run(path: Path, form: str, *, ended: bool) -> Path:
    out = folder(path, form=form)
    with out.locked():
        out.begin(MADE)
        part = write_part(part_of(out), ROWS)
        if ended:
            assert [row.path for row in out.written()] == ["a.jpg", "b.jpg", "é.jpg"]
    return part


@pytest.mark.parametrize("form", FORMATS)
def test_a_part_cut_anywhere_is_torn_or_tells_no_row_that_is_not_whole(tmp_path: Path, form: str) -> None:
    part = write_part(tmp_path / f"x.{form}", ROWS)
    whole = list(read_part(part))
    assert [(row.path, row.error) for row in whole] == [(path, error) for path, _, error in ROWS]
    content = part.read_bytes()
    torn = 0
    for cut in range(len(content)):
        part.write_bytes(content[:cut])
        try:
            rows = list(read_part(part))
        except TornPartError:
            torn += 1
        else:
            assert rows == whole[: len(rows)]
    assert torn >= len(content) - len(ROWS) - 1


@pytest.mark.parametrize("form", FORMATS)
def test_rows_are_dropped_from_a_part(tmp_path: Path, form: str) -> None:
    part = write_part(tmp_path / f"x.{form}", ROWS)
    drop_rows(part, lambda path: path == "b.jpg")
    assert [row.path for row in read_part(part)] == ["a.jpg", "é.jpg"]
    drop_rows(part, lambda path: True)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("ended", [False, True])
@pytest.mark.parametrize("form", FORMATS)
def test_what_is_done_is_read_and_what_is_torn_or_late_is_moved_aside(tmp_path: Path, form: str, ended: bool) -> None:
    part = earlier_run(tmp_path / "out", form, ended=ended)
    torn = part.with_name(part.name.replace("_000000", "_000001"))
    torn.write_bytes(part.read_bytes()[:-3])
    out = folder(tmp_path / "out", Existing.RESUME, form)
    with out.locked():
        done, notes = out.done()
        assert done.captioned == {out.key("a.jpg"), out.key("./é.jpg")} and done.failed == {out.key("b.jpg")}
        # What came after a run had ended was counted by nobody: the one torn here is no news then.
        assert len(notes) == (not ended)
        assert not torn.exists() and torn.with_name(f"_{torn.name}.torn").exists()
        out.forget({out.key("b.jpg")})
        assert [row.path for row in read_part(part)] == ["a.jpg", "é.jpg"]
        out.check_columns(1)
        with pytest.raises(UsageError, match=r"holds 1 captions for each image.*add --captions 1"):
            out.check_columns(2)
        assert "beam 3, now 5" in (out.begin(Provenance("m", "w", 5, 20, 0.7, 1, False)) or "")
        write_part(part_of(out), [("b.jpg", "B", None)])
        # A worker of the run before, which was killed, writes after all.
        late = write_part(part.with_name(part.name.replace("_000000", "_000007")), ROWS)
        assert [row.path for row in out.written()] == ["b.jpg"]
        assert not late.exists()
    again = folder(tmp_path / "out", Existing.RESUME, form)
    with again.locked():
        done, notes = again.done()
        assert done.captioned == {again.key(name) for name in ("a.jpg", "b.jpg", "é.jpg")} and not done.failed
        assert notes == []


def test_overwriting_removes_the_parts_it_knows_and_nothing_else(tmp_path: Path) -> None:
    part = earlier_run(tmp_path / "out", "parquet", ended=True)
    for name in ("b.jpg", "notes.txt", part.name.replace("captions-", "captions-0"), "captions-0123456789ab.parquet"):
        (tmp_path / "out" / name).write_text("somebody's")
        for existing in Existing:
            with pytest.raises(UsageError, match="which capcli ray did not write"):
                folder(tmp_path / "out", existing)
        (tmp_path / "out" / name).unlink()
    out = folder(tmp_path / "out", Existing.REPLACE, "csv")
    with out.locked():
        assert part.exists()
        out.begin(MADE)
        assert not part.exists()


def test_a_folder_of_photos_is_never_written_to(tmp_path: Path) -> None:
    photos = tmp_path / "b"
    photos.mkdir()
    (photos / "1.jpg").touch()
    for existing in Existing:
        # With OUT forgotten, the last folder of photos would be it.
        with pytest.raises(UsageError, match=r"holds 1\.jpg, which capcli ray did not write"):
            folder(photos, existing)
    out = folder(photos / "new" / "out")
    for given in (
        photos,
        photos / "new",
        photos / "new" / "out",
        photos / "new" / "out" / "a.jpg",
        tmp_path / "c/../b",
    ):
        with pytest.raises(UsageError, match="must not hold photos, or lie among them"):
            out.check_apart(str(given))
    out.check_apart(str(photos / "1.jpg"))
    out.check_apart(str(photos / "new" / "out2"))


def test_what_is_there_is_left_alone_unless_told(tmp_path: Path) -> None:
    part = earlier_run(tmp_path / "out", "csv", ended=True)
    with pytest.raises(UsageError, match="is not empty; use --resume"):
        folder(tmp_path / "out", form="csv")
    with pytest.raises(UsageError, match="holds rows as csv; add --format csv"):
        folder(tmp_path / "out", Existing.RESUME)
    with pytest.raises(UsageError, match="is no folder"):
        folder(part)
    with pytest.raises(UsageError, match="Ray cannot write to a folder of that name"):
        folder(tmp_path / "two\nlines")
    (tmp_path / "out" / "_capcli.json").write_text('{"runs": []}')
    with pytest.raises(UsageError, match="is not what capcli wrote"):
        folder(tmp_path / "out", Existing.RESUME)


def test_two_jobs_do_not_write_to_one_folder(tmp_path: Path) -> None:
    first, second = folder(tmp_path / "out"), folder(tmp_path / "out")
    with first.locked(), pytest.raises(OutputError, match="is being written by another run"), second.locked():
        pass
    # What was never begun leaves nothing behind.
    assert not (tmp_path / "out").exists()
