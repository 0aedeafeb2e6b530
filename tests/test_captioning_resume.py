"""A run gone on with: a path is done when every place asked for has it, and only what lacks its words needs a model."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from capcli import BundleError, Captioner
from capcli.caption_settings import CaptionSettings
from capcli.captioning import CaptioningRun
from capcli.inputs.paths import InputItem
from capcli.outputs import Destination, Destinations, Existing, Outcome, RowFile, Sidecars, read_rows, row_format
from capcli.outputs.rows import Row
from capcli.run_report import Observer, Report
from tests.shapes import draw

pytestmark = pytest.mark.usefixtures("no_memory_of_other_runs")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    draw("circle", "red", "white", 1000, 64).save(folder / "a.jpg", quality=95)
    draw("square", "blue", "white", 1000, 64).save(folder / "b.png")
    (folder / "c.png").write_text("no photo")
    return folder


def no_model() -> Captioner:
    raise BundleError("no model is needed here")


class Told(Observer):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def noted(self, message: str) -> None:
        self.lines.append(message)

    def failed(self, path: str, reason: str) -> None:
        self.lines.append(f"{Path(path).name}: {reason}")


def items(folder: Path) -> list[InputItem]:
    found = sorted(path for path in folder.iterdir() if path.suffix in (".jpg", ".png"))
    return [InputItem(str(path)) for path in found]


def run(
    load: Callable[[], Captioner],
    out: Path,
    inputs: Sequence[InputItem],
    *photos: Destination,
    retry_failed: bool = False,
    name: str = "csv",
    captions: int = 1,
) -> tuple[Report, list[str]]:
    told = Told()
    rows = RowFile(
        out,
        row_format(name, ranked=captions > 1),
        existing=Existing.RESUME,
        retry_failed=retry_failed,
        captions=captions,
    )
    settings = CaptionSettings(captions=captions)
    report = CaptioningRun(load, settings, Destinations(rows, photos), observer=told).run(inputs)
    return report, told.lines


def texts(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text("utf-8") for path in sorted(folder.glob("*.txt"))}


@pytest.mark.parametrize("captions", [1, 2])
@pytest.mark.parametrize("name", ["csv", "tsv", "jsonl", "text"])
def test_a_new_place_gets_its_words_from_the_rows(
    captioner: Captioner, photos: Path, tmp_path: Path, name: str, captions: int
) -> None:
    out = tmp_path / "out"
    run(lambda: captioner, out, items(photos), name=name, captions=captions)
    before = out.read_bytes()
    # In text a failure leaves no row, so that photo is looked at again.
    inputs = items(photos)[:2] if name == "text" else items(photos)
    report, told = run(no_model, out, inputs, Sidecars(".txt"), name=name, captions=captions)
    failures = 0 if name == "text" else 1
    assert report == Report(captioned=2, skipped=failures, kept_failures=failures, found_any=True)
    assert told == [] and out.read_bytes() == before
    rows = [row for row in read_rows(out, name) if row.caption is not None]
    wanted = {
        f"{Path(path).stem}.txt": "".join(f"{row.caption}\n" for row in group)
        for path, group in itertools.groupby(rows, key=lambda row: row.path)
    }
    assert texts(photos) == wanted and all(text.count("\n") == captions for text in wanted.values())
    report, _ = run(no_model, out, inputs, Sidecars(".txt"), name=name, captions=captions)
    assert report == Report(skipped=2 + failures, kept_failures=failures, found_any=True)


def test_words_that_a_person_corrected_are_the_ones_that_go_on(
    captioner: Captioner, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "x.csv"
    run(lambda: captioner, out, items(photos))
    out.write_bytes(out.read_bytes().replace(b"A red circle on a white ground.", b"My cat"))
    run(no_model, out, items(photos), Sidecars(".txt"))
    assert texts(photos)["a.txt"] == "My cat\n"


def test_metadata_gets_its_words_from_the_rows(captioner: Captioner, photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyexiv2")
    from PIL import Image

    from capcli.outputs import PhotoMetadata

    out = tmp_path / "x.csv"
    run(lambda: captioner, out, items(photos))
    for captioned in (2, 0):
        report, told = run(no_model, out, items(photos), PhotoMetadata())
        assert (report.captioned, told) == (captioned, [])
    with Image.open(photos / "a.jpg") as image:
        assert image.getexif()[0x010E] == "A red circle on a white ground."


def test_new_photos_are_captioned_and_the_others_delivered_in_the_order_of_the_inputs(
    captioner: Captioner, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "x.csv"
    run(lambda: captioner, out, items(photos)[1:2])
    order: list[str] = []
    read: list[str] = []
    load = captioner.load

    def watched(image: str, **how: Any) -> np.ndarray:
        read.append(Path(image).name)
        return load(image, **how)

    monkeypatch.setattr(captioner, "load", watched)

    class Watching(Sidecars):
        def put(self, rows: Sequence[Row]) -> Outcome:
            order.append(Path(rows[0].path).name)
            return super().put(rows)

    report, _ = run(lambda: captioner, out, items(photos), Watching(".txt"))
    assert report == Report(captioned=2, failed=1, found_any=True)
    assert order == ["a.jpg", "b.png"] and sorted(read) == ["a.jpg", "c.png"]
    assert [Path(row.path).name for row in read_rows(out, "csv")] == ["b.png", "a.jpg", "c.png"]


def test_a_path_given_twice_is_delivered_once(captioner: Captioner, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.csv"
    twice = [item for item in items(photos)[:2] for _ in range(2)]
    run(lambda: captioner, out, twice)
    report, told = run(no_model, out, twice, Sidecars(".txt"))
    assert (report.captioned, report.skipped, told) == (2, 2, [])


def test_what_a_place_keeps_is_told(captioner: Captioner, photos: Path, tmp_path: Path) -> None:
    (photos / "a.txt").write_text("old words")
    (photos / "b.txt").write_text("old words, too")
    out = tmp_path / "x.csv"
    _, told = run(lambda: captioner, out, items(photos), Sidecars(".txt"))
    assert told[-1] == f"other captions than this run's are kept: {photos / 'a.jpg'}: a.txt exists, and 1 more like it"
    assert texts(photos)["a.txt"] == "old words"
    # Rows and sidecars are there: nothing is to be done, or to be told.
    report, told = run(no_model, out, items(photos), Sidecars(".txt"))
    assert (report.skipped, told) == (3, [])


class Killed(BaseException):
    pass


class Counting:
    """Ends a run, as a kill would, at the n-th moment between two writes."""

    def __init__(self, moment: int) -> None:
        self._left = moment

    def pass_by(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise Killed


@pytest.mark.parametrize("by_hand", [False, True])
@pytest.mark.parametrize("moment", range(9))
def test_two_photos_that_want_one_sidecar_end_alike_wherever_the_run_was_killed(
    captioner: Captioner, photos: Path, tmp_path: Path, moment: int, by_hand: bool
) -> None:
    draw("circle", "blue", "white", 1000, 64).save(photos / "a.png")
    if by_hand:
        (photos / "a.txt").write_text("old words")
    out = tmp_path / "x.csv"
    kill = Counting(moment)

    class Dying(Sidecars):
        def put(self, rows: Sequence[Row]) -> Outcome:
            kill.pass_by()
            outcome = super().put(rows)
            kill.pass_by()
            return outcome

    def inputs() -> Iterator[InputItem]:
        return iter(items(photos))

    died = False
    try:
        run(lambda: captioner, out, list(inputs()), Dying(".txt"))
    except Killed:
        died = True
    assert died == (moment < 6)
    for retry_failed in (False, True, True):
        report, told = run(lambda: captioner, out, list(inputs()), Sidecars(".txt"), retry_failed=retry_failed)
        assert report.failed + report.kept_failures == 2
    assert told[:1] == ["a.png: a.txt holds the caption of a.jpg, which has the same name but for its suffix"]
    errors = {Path(row.path).name: (row.caption is not None, row.error) for row in read_rows(out, "csv")}
    assert errors["a.jpg"] == errors["b.png"] == (True, None)
    assert errors["a.png"][0] and "a.txt holds the caption of a.jpg" in str(errors["a.png"][1])
    assert errors["c.png"][1] is not None and len(errors) == 4
    said = "old words" if by_hand else "A red circle on a white ground.\n"
    assert texts(photos)["a.txt"] == said and set(texts(photos)) == {"a.txt", "b.txt"}


def test_without_rows_a_second_run_tells_of_the_shared_sidecar_too(captioner: Captioner, photos: Path) -> None:
    draw("circle", "blue", "white", 1000, 64).save(photos / "a.png")
    for _ in range(2):
        told = Told()
        report = CaptioningRun(
            lambda: captioner, CaptionSettings(), Destinations(None, [Sidecars(".txt")]), observer=told
        ).run(items(photos))
        assert report.failed == 2
        assert told.lines[0].startswith("a.png: a.txt holds the caption of a.jpg")


def test_a_failed_delivery_is_retried_without_the_model(captioner: Captioner, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.csv"
    (photos / "a.txt").mkdir()
    inputs = items(photos)[:2]
    report, _ = run(lambda: captioner, out, inputs, Sidecars(".txt", overwrite=True))
    assert (report.captioned, report.failed) == (1, 1)
    # Kept failures are left alone, in all places.
    report, _ = run(no_model, out, inputs, Sidecars(".caption"))
    assert (report.captioned, report.kept_failures) == (1, 1)
    assert not (photos / "a.caption").exists()
    (photos / "a.txt").rmdir()
    report, told = run(no_model, out, inputs, Sidecars(".txt"), retry_failed=True)
    assert (report.captioned, report.kept_failures, told) == (1, 0, [])
    assert {Path(row.path).name: row.error for row in read_rows(out, "csv")} == {"a.jpg": None, "b.png": None}
    assert texts(photos)["a.txt"] == "A red circle on a white ground.\n"


def test_a_place_that_cannot_be_written_is_told_and_leaves_the_rows(
    captioner: Captioner, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "x.csv"
    run(lambda: captioner, out, items(photos)[:2])
    before = out.read_bytes()

    class Full(Sidecars):
        def put(self, rows: Sequence[Row]) -> Outcome:
            return Outcome(False, "no space", failed=True)

    for _ in range(2):
        report, told = run(no_model, out, items(photos)[:2], Full(".txt"))
        assert (report.failed, told) == (2, ["a.jpg: no space", "b.png: no space"])
        assert out.read_bytes() == before


def test_a_run_stopped_while_it_delivers_rows_finishes_the_one_on_its_way(
    captioner: Captioner, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "x.csv"
    run(lambda: captioner, out, items(photos))
    answers: list[bool] = []

    class Stopping(Observer):
        def captioned(self, path: str) -> None:
            answers.append(again.stop())

    rows = RowFile(out, row_format("csv", ranked=False), existing=Existing.RESUME)
    again = CaptioningRun(no_model, CaptionSettings(), Destinations(rows, [Sidecars(".txt")]), observer=Stopping())
    report = again.run(items(photos))
    assert (answers, report.stopped, report.captioned) == ([True], True, 1)
    assert set(texts(photos)) == {"a.txt"}


SPELLINGS = [
    "photos",
    "./photos",
    "photos/",
    "photos//",
    "photos/../photos",
    "./photos/.",
    "{here}/photos",
    "{link}/photos",
]


@pytest.mark.skipif(os.name == "nt", reason="links")
@pytest.mark.parametrize("again", SPELLINGS)
@pytest.mark.parametrize("first", ["photos", "./photos", "{here}/photos"])
def test_a_folder_spelled_otherwise_is_not_captioned_twice(
    captioner: Captioner, photos: Path, tmp_path: Path, first: str, again: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the shell came to the folder by a link, and calls it so."""
    link = tmp_path.parent / f"link to {tmp_path.name}"
    link.symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PWD", str(link))
    first, again = (spelling.format(here=tmp_path, link=link) for spelling in (first, again))
    out = tmp_path / "x.csv"
    names = ("a.jpg", "b.png")
    run(lambda: captioner, out, [InputItem(os.path.join(first, name)) for name in names])
    before = out.read_bytes()
    report, told = run(no_model, out, [InputItem(os.path.join(again, name)) for name in names], Sidecars(".txt"))
    assert (report.captioned, out.read_bytes()) == (2, before)
    was, now = os.path.join(first, "a.jpg"), os.path.join(again, "a.jpg")
    note = f"{out}: has {now} as {was}; photos count as done however their paths are spelled"
    assert told == ([note] if was != now else [])
    assert set(texts(photos)) == {"a.txt", "b.txt"}


def test_links_to_a_photo_are_inputs_of_their_own(
    captioner: Captioner, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").symlink_to(photos)
    out = tmp_path / "x.csv"
    paths = [str(folder / "a.jpg") for folder in (photos, tmp_path / "other")]
    report, _ = run(lambda: captioner, out, [InputItem(path) for path in paths])
    assert report.captioned == 2 and [row.path for row in read_rows(out, "csv")] == paths
