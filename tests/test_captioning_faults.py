"""What a run may meet: a folder that changes, a clock that jumps, another run, a full disk, a folder without rights."""

from __future__ import annotations

import itertools
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from PIL import Image

from capcli import Captioner, OutputError
from capcli.caption_settings import CaptionSettings
from capcli.captioning import CaptioningRun
from capcli.inputs.ages import Newer
from capcli.inputs.paths import FolderRules, InputItem, find_inputs
from capcli.outputs import Destinations, Existing, RowFile, Sidecars, read_rows, row_format
from capcli.outputs.destinations import Destination
from capcli.outputs.outcomes import Outcome
from capcli.outputs.output_file import OutputFile
from capcli.outputs.rows import Row
from capcli.pipeline import PipelineSettings
from capcli.run_report import Report
from tests.conftest import RunCommand, python
from tests.rights import like_anybody
from tests.shapes import draw

pyexiv2 = pytest.importorskip("pyexiv2", reason="needs the metadata extra")

from capcli.outputs.metadata import PhotoMetadata, write_description  # noqa: E402
from capcli.outputs.text_edits import Wording  # noqa: E402
from capcli.outputs.xmp_sidecars import XmpSidecars  # noqa: E402

SAID, OTHER = "A red circle on a white ground.", "A green square on a black ground."

pytestmark = pytest.mark.usefixtures("no_memory_of_other_runs")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(1, 5):
        draw("circle", "red", "white", 1000, 64).save(folder / f"{number}.jpg", quality=95)
    return folder


def run(captioner: Captioner, out: Path, items: Iterator[InputItem], photos: Sequence[Destination] = ()) -> Report:
    rows = RowFile(out, row_format("csv", ranked=False), existing=Existing.RESUME)
    return CaptioningRun(
        lambda: captioner, CaptionSettings(), Destinations(rows, photos), PipelineSettings(batch_size=2)
    ).run(items)


def told(out: Path) -> dict[str, str | None]:
    """What the rows say of each photo, by its name; each is there once."""
    rows = list(read_rows(out, "csv"))
    assert len({row.path for row in rows}) == len(rows)
    return {os.path.basename(row.path): row.caption or row.error for row in rows}


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_a_folder_that_changes_under_the_walk_loses_and_doubles_nothing(
    captioner: Captioner, photos: Path, tmp_path: Path
) -> None:
    """Listed files and folders vanish or become others before they are opened; what is new waits for the next run."""
    for folder in ("sub", "tub"):
        shutil.copytree(photos, tmp_path / folder)
    for folder in ("sub", "tub"):
        shutil.move(tmp_path / folder, photos)
    out = tmp_path / "x.csv"

    def changing() -> Iterator[InputItem]:
        for place, item in enumerate(find_inputs([str(photos)], FolderRules())):
            if place == 1:
                (photos / "2.jpg").unlink()
                draw("square", "green", "black", 1000, 64).save(tmp_path / "new.jpg", quality=95)
                (tmp_path / "new.jpg").replace(photos / "3.jpg")
                (photos / "4.jpg").write_bytes((photos / "1.jpg").read_bytes()[:500])
                shutil.rmtree(photos / "sub")
                shutil.rmtree(photos / "tub")
                (photos / "tub").write_text("no folder any more")
                shutil.copy(photos / "1.jpg", photos / "0.jpg")
            yield item

    report = run(captioner, out, changing())
    found = told(out)
    assert (found["1.jpg"], found["3.jpg"]) == (SAID, OTHER)
    assert found["2.jpg"] == "no such file"
    assert "damaged" in str(found["4.jpg"])
    assert all("the folder cannot be read" in str(found[name]) for name in ("sub", "tub"))
    assert len(found) == 6 and report.failed == 4
    run(captioner, out, find_inputs([str(photos)], FolderRules()))
    assert told(out) == found | {"0.jpg": SAID}


def test_a_clock_that_jumps_and_times_that_cannot_be_change_nothing(
    captioner: Captioner, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing goes by the order of times of the clock; how long something takes is measured by another one."""
    for number, seconds in enumerate([0, 1, 4_000_000_000, 253_000_000_000], 1):
        os.utime(photos / f"{number}.jpg", (seconds, seconds))
    # As the disk has kept them.
    times = [os.stat(photos / f"{number}.jpg").st_mtime_ns for number in range(1, 5)]
    newer = Newer("2d")
    assert [newer.takes(time_ / 1e9) for time_ in times] == [False, False, True, True]
    jumps = itertools.cycle([1e9, 0.0, 3e9, -5.0, 2.5e9])
    monkeypatch.setattr(time, "time", lambda: next(jumps))

    def again() -> Report:
        places = [PhotoMetadata(), XmpSidecars(), Sidecars()]
        return run(captioner, tmp_path / "x.csv", find_inputs([str(photos)], FolderRules()), places)

    assert again().captioned == 4
    assert [os.stat(photos / f"{number}.jpg").st_mtime_ns for number in range(1, 5)] == times
    before = {name: (photos / name).read_bytes() for name in names(photos)}
    report = again()
    assert (report.captioned, report.skipped) == (0, 4) and len(before) == 12
    assert {name: (photos / name).read_bytes() for name in names(photos)} == before


class _Meanwhile:
    """Has another run write a photo as this one is about to replace what the photo says."""

    def __init__(self, other: Callable[[], object]) -> None:
        self._other = other

    def __call__(self, rows: Sequence[Row], outcome: Outcome) -> None:
        self._other()


@pytest.mark.parametrize("kind", [PhotoMetadata, XmpSidecars])
def test_of_two_runs_that_write_a_photo_at_once_one_is_refused(
    kind: type[PhotoMetadata] | type[XmpSidecars], photos: Path
) -> None:
    photo = str(photos / "1.jpg")
    write_description(photo, "By hand.")
    XmpSidecars().put([Row(photo, "By hand.", None, None)])
    before = names(photos)
    one, other = kind(Wording(overwrite=True, told=True)), kind(Wording(overwrite=True, told=True))
    outcomes: list[Outcome] = []
    one.tell_before_replacing(_Meanwhile(lambda: outcomes.append(other.put([Row(photo, "Of the other.", None, None)]))))
    with pytest.raises(Exception, match="another program"):
        one.put([Row(photo, "Of the one.", None, None)])
    # What it said before is told once, by the one that replaced it, and a third run finds no draft.
    assert [outcome.replaced is not None for outcome in outcomes] == [True] and names(photos) == before
    content = Path(photo if kind is PhotoMetadata else f"{photo}.xmp").read_bytes()
    with pyexiv2.ImageData(content) as image:
        assert image.read_xmp()["Xmp.dc.description"] == {'lang="x-default"': "Of the other."}


LIMITED = """
import resource, sys
from capcli import cli
# As on a disk or a quota that gets full: a write takes what there is room for, and the next one fails.
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
sys.exit(cli.run(sys.argv[2:]))
"""


@pytest.mark.skipif(os.name == "nt", reason="limits of POSIX")
@pytest.mark.parametrize(("room", "code"), [(150, 4), (700, 1)])
def test_what_finds_no_room_is_told_and_made_good_by_the_next_run(
    room: int, code: int, photos: Path, tiny: Path, tmp_path: Path, capcli: RunCommand
) -> None:
    out = tmp_path / "x.csv"
    arguments = [
        *("caption", "photos", "-o", "x.csv", "--model", str(tiny)),
        *("--sidecar", ".txt", "--xmp", "--write-metadata", "-q"),
    ]
    before = {name: (photos / name).read_bytes() for name in names(photos)}
    done = python(f"import os; os.chdir({str(tmp_path)!r})\n" + LIMITED, str(room), *arguments)
    assert (done.code, done.errors.count("\n")) == (code, code == 4), done.errors
    assert {name: (photos / name).read_bytes() for name in before} == before
    assert not any(name.startswith(".") for name in names(photos))
    # What is there of rows is whole.
    assert out.read_bytes().endswith(b"\n") and set(told(out)) <= {*before}
    again = capcli(*arguments, "--resume", "--retry-failed", cwd=tmp_path)
    assert again.code == 0, again.errors
    assert told(out) == dict.fromkeys(before, SAID)
    assert len(names(photos)) == 12
    for name in before:
        with Image.open(photos / name) as image:
            image.load()


def test_where_rows_cannot_tell_what_is_replaced_the_run_ends_and_nothing_is(
    captioner: Captioner, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of rows that finds no room is no failure of one photo after the other."""
    for number in (1, 2):
        write_description(photos / f"{number}.jpg", "By hand.")
    before = {name: (photos / name).read_bytes() for name in names(photos)}

    def full(file: OutputFile, rows: Sequence[Row]) -> None:
        raise OutputError("no space is left")

    monkeypatch.setattr(OutputFile, "write_first", full)
    places = [PhotoMetadata(Wording(overwrite=True, told=True)), Sidecars()]
    with pytest.raises(OutputError, match="no space is left"):
        run(captioner, tmp_path / "x.csv", find_inputs([str(photos)], FolderRules()), places)
    assert {name: (photos / name).read_bytes() for name in names(photos)} == before
    assert not (tmp_path / "x.csv").exists()


CLOSED = """
import sys
from capcli import cli
for line in sys.stdin.read().splitlines():
    print(cli.run(line.split()), flush=True)
"""


def test_a_folder_that_may_not_be_written_keeps_all_and_is_told(photos: Path, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("path,caption\nphotos/1.jpg,A dog.\n")
    before = names(photos)
    commands = {
        f"caption photos -o photos/y.csv --model {tiny}": 4,
        f"caption photos --sidecar .txt --xmp --write-metadata -o z.csv --model {tiny}": 1,
        "apply x.csv --sidecar .txt --xmp --write-metadata": 1,
        "apply x.csv --sidecar .txt -o photos/y.csv": 4,
        "review x.csv -o photos/page.html": 4,
    }
    photos.chmod(0o555)
    done = like_anybody(CLOSED, "\n".join(commands), folder=tmp_path)
    photos.chmod(0o755)
    assert done.stdout.split() == [str(code) for code in commands.values()], done.stderr
    assert "internal error" not in done.stderr and done.stderr.count("permission denied") >= len(commands)
    assert names(photos) == before
    rows = list(read_rows(tmp_path / "z.csv", "csv"))
    assert [(row.caption, "permission denied" in str(row.error)) for row in rows] == [(SAID, True)] * 4
