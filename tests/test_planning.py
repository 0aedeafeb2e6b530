"""What a run would do, told without doing it: the same inputs, places and limit as the run's own."""

from __future__ import annotations

from pathlib import Path

from capcli.inputs.paths import InputItem
from capcli.outputs.earlier_file import EarlierFile, Existing
from capcli.outputs.output_file import OutputFile
from capcli.outputs.rows import Row, row_format
from capcli.outputs.sidecars import Sidecars
from capcli.planning import PlannedInput, plan


def test_a_limit_counts_what_would_be_captioned_and_nothing_else(tmp_path: Path) -> None:
    paths = [str(tmp_path / f"{number}.jpg") for number in range(5)]
    (tmp_path / "0.txt").write_text("by hand")
    items = [InputItem(path) for path in paths]
    items[1] = InputItem(paths[1], error="is a link within the tar")
    found = list(
        plan([InputItem("x.tar", finished=True), *items], rows=None, earlier=None, photos=[Sidecars()], limit=2)
    )
    assert found == [
        PlannedInput(paths[0], ()),
        PlannedInput(paths[1], (), error="is a link within the tar"),
        PlannedInput(paths[2], (str(tmp_path / "2.txt"),)),
        PlannedInput(paths[3], (str(tmp_path / "3.txt"),)),
    ]


def test_what_an_earlier_run_has_done_is_known(tmp_path: Path) -> None:
    captioned, failed, new = (str(tmp_path / f"{name}.jpg") for name in ("captioned", "failed", "new"))
    out, form = tmp_path / "x.csv", row_format("csv", ranked=False)
    with OutputFile(out, form) as output:
        output.write([Row(captioned, "A dog.", -0.5, None)])
        output.write([Row(failed, None, None, "is empty")])
    before = out.read_bytes()
    earlier = EarlierFile(out, form, existing=Existing.RESUME)
    items = map(InputItem, (captioned, failed, new))
    found = list(plan(items, rows=str(out), earlier=earlier, photos=[Sidecars()], limit=1))
    assert found == [
        PlannedInput(captioned, (str(tmp_path / "captioned.txt"),), captioned=True),
        # A failure that is kept has nothing to give to a photo.
        PlannedInput(failed, ()),
        PlannedInput(new, (str(tmp_path / "new.txt"), str(out))),
    ]
    assert out.read_bytes() == before and [path.name for path in tmp_path.iterdir()] == ["x.csv"]
