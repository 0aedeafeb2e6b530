"""A captioning run without any command: what it delivers, what it reports, and when it loads the model."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from capcli import BundleError, Captioner, UsageError
from capcli.caption_settings import CaptionSettings
from capcli.captioning import CaptioningRun, provenance_of, rows_of
from capcli.inputs.paths import InputItem
from capcli.outputs import Destinations, Existing, RowFile, Sidecars, read_rows, row_format
from capcli.outputs.rows import Row
from capcli.pipeline import PipelineSettings, Result
from capcli.run_report import Observer, Report
from tests.shapes import draw

SAID = "A red circle on a white ground."


pytestmark = pytest.mark.usefixtures("no_memory_of_other_runs")


@pytest.fixture
def photos(tmp_path: Path) -> list[str]:
    """Three photos, and among them a file that is none."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("1.png", "3.png", "4.png"):
        draw("circle", "red", "white", 1000, 64).save(folder / name)
    (folder / "2.png").write_text("no photo")
    return [str(folder / f"{number}.png") for number in (1, 2, 3, 4)]


class Watching(Observer):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def opened(self) -> None:
        self.told.append("opened")

    def loaded(self) -> None:
        self.told.append("loaded")

    def noted(self, message: str) -> None:
        self.told.append(f"noted {message}")

    def skipped(self, path: str) -> None:
        self.told.append(f"skipped {Path(path).name}")

    def captioned(self, path: str) -> None:
        self.told.append(f"captioned {Path(path).name}")

    def failed(self, path: str, reason: str) -> None:
        self.told.append(f"failed {Path(path).name}: {reason}")


def no_model() -> Captioner:
    raise BundleError("no model is needed here")


def run_of(
    load: Callable[[], Captioner], destinations: Destinations, observer: Observer | None = None, **settings: bool | int
) -> CaptioningRun:
    return CaptioningRun(load, CaptionSettings(**settings), destinations, PipelineSettings(batch_size=2), observer)  # type: ignore[arg-type]


def items(paths: Iterable[str]) -> Iterator[InputItem]:
    return (InputItem(path) for path in paths)


def row_file(path: Path, existing: Existing = Existing.REFUSE, captions: int = 1) -> RowFile:
    return RowFile(path, row_format("csv", ranked=captions > 1), existing=existing, captions=captions)


def test_every_input_is_delivered_told_and_counted(captioner: Captioner, photos: list[str], tmp_path: Path) -> None:
    out, watching = tmp_path / "x.csv", Watching()
    run = run_of(lambda: captioner, Destinations(row_file(out), [Sidecars(".txt")]), watching)
    report = run.run(items([*photos, photos[0]]))
    assert report == run.report == Report(captioned=3, skipped=1, failed=1, found_any=True)
    rows = list(read_rows(out, "csv"))
    assert [row.path for row in rows] == photos
    assert [row.caption for row in rows] == [SAID, None, SAID, SAID]
    assert sorted(path.name for path in (tmp_path / "photos").glob("*.txt")) == ["1.txt", "3.txt", "4.txt"]
    assert watching.told[:2] == ["opened", "loaded"]
    # What is skipped is told as soon as it is known, by the thread that takes the inputs.
    assert [line for line in watching.told if "skipped" not in line][2:] == [
        "captioned 1.png",
        f"failed 2.png: {rows[1].error}",
        "captioned 3.png",
        "captioned 4.png",
    ]
    assert watching.told.count("skipped 1.png") == 1
    # What has ended has nothing on its way.
    assert not run.stop()


def test_nothing_given_opens_nothing_and_loads_nothing(tmp_path: Path) -> None:
    watching = Watching()
    report = run_of(no_model, Destinations(row_file(tmp_path / "x.csv")), watching).run([])
    assert report == Report() and not report.found_any
    assert watching.told == [] and list(tmp_path.iterdir()) == []


def test_a_model_is_loaded_only_when_something_is_left_to_do(
    captioner: Captioner, photos: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "x.csv"
    run_of(lambda: captioner, Destinations(row_file(out))).run(items(photos))
    before = out.read_bytes()
    watching = Watching()
    again = run_of(no_model, Destinations(row_file(out, Existing.RESUME)), watching).run(items(photos))
    assert again == Report(skipped=4, kept_failures=1, found_any=True)
    assert watching.told == ["opened", *(f"skipped {number}.png" for number in (1, 2, 3, 4))]
    assert out.read_bytes() == before

    beside = Destinations(None, [Sidecars(".txt")])
    run_of(lambda: captioner, beside).run(items(photos))
    del photos[1]
    again = run_of(no_model, Destinations(None, [Sidecars(".txt")])).run(items(photos))
    assert again == Report(skipped=3, found_any=True)


def test_a_model_that_cannot_be_loaded_leaves_no_file(photos: list[str], tmp_path: Path) -> None:
    run = run_of(no_model, Destinations(row_file(tmp_path / "x.csv")))
    with pytest.raises(BundleError):
        run.run(items(photos))
    assert not (tmp_path / "x.csv").exists()
    assert run.report == Report(found_any=True)


def test_a_destination_that_refuses_is_asked_before_the_model_is_loaded(photos: list[str], tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("somebody's own")
    watching = Watching()
    with pytest.raises(UsageError, match="exists"):
        run_of(no_model, Destinations(row_file(tmp_path / "x.csv")), watching).run(items(photos))
    assert watching.told == []
    assert (tmp_path / "x.csv").read_text() == "somebody's own"


def test_settings_reach_the_captions(captioner: Captioner, photos: list[str], tmp_path: Path) -> None:
    out = tmp_path / "x.csv"
    destinations = Destinations(row_file(out, captions=2), [Sidecars(".txt")])
    run_of(lambda: captioner, destinations, captions=2, beam=3, raw=True).run(items(photos[:1]))
    best, second = read_rows(out, "csv")
    assert (best.caption, best.rank, second.rank) == ("a red circle on a white ground", 1, 2)
    assert Path(photos[0]).with_suffix(".txt").read_text() == f"{best.caption}\n{second.caption}\n"
    with pytest.raises(UsageError, match="beam"):
        run_of(lambda: captioner, Destinations(row_file(tmp_path / "y.csv")), beam=0).run(items(photos))


def test_a_row_tells_what_was_asked_for(captioner: Captioner, photos: list[str]) -> None:
    image = draw("circle", "red", "white", 1000, 64)
    found = Result("a", tuple(captioner.candidates(image, 2, details=True)), None)
    (first, second) = rows_of("a", found, CaptionSettings(captions=2, words=True))
    assert (first.rank, second.rank) == (1, 2) and first.words is not None and first.words[-1][0] == ""
    (alone,) = rows_of("a", Result("a", found.captions[:1], None), CaptionSettings())
    assert (alone.rank, alone.words, alone.caption, alone.score) == (None, None, SAID, found.captions[0].score)
    (failed,) = rows_of("a", Result("a", (), "is empty"), CaptionSettings())
    assert failed == Row("a", None, None, "is empty")
    made = provenance_of(captioner.bundle, captioner.settings(captions=2), CaptionSettings(raw=True))
    assert (made.model, made.weights) == (captioner.bundle.manifest.name, captioner.bundle.fingerprint)
    assert (made.captions, made.raw, made.beam) == (2, True, captioner.bundle.manifest.search.beam)


def test_other_settings_than_before_are_noted(captioner: Captioner, photos: list[str], tmp_path: Path) -> None:
    out = tmp_path / "x.csv"
    run_of(lambda: captioner, Destinations(row_file(out)), beam=2).run(items(photos[:1]))
    watching = Watching()
    run_of(lambda: captioner, Destinations(row_file(out, Existing.RESUME)), watching, beam=1).run(items(photos))
    told = f"{out}: its rows were written with other settings (beam 2, now 1); they stay as they are"
    assert watching.told[:4] == ["opened", "skipped 1.png", f"noted {told}", "loaded"]


def test_bytes_and_errors_of_the_inputs_are_inputs_too(captioner: Captioner, photos: list[str], tmp_path: Path) -> None:
    # A text file lies where the folder's sidecar would; the folder failed all the same.
    (tmp_path / "d.txt").write_text("by hand")
    given = [
        InputItem("-", Path(photos[0]).read_bytes()),
        InputItem(str(tmp_path / "d"), error="the folder cannot be read"),
    ]
    watching = Watching()
    report = run_of(lambda: captioner, Destinations(None, [Sidecars(".txt")]), watching).run(given)
    assert report == Report(captioned=1, failed=1, found_any=True)
    assert watching.told[2:] == ["captioned -", "failed d: the folder cannot be read"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d.txt", "photos"]


def test_a_stopped_run_finishes_what_is_on_its_way(captioner: Captioner, photos: list[str], tmp_path: Path) -> None:
    out = tmp_path / "x.csv"
    answers: list[bool] = []

    class Stopping(Observer):
        def captioned(self, path: str) -> None:
            answers.append(run.stop())

    def endless() -> Iterator[InputItem]:
        for number in range(10**9):
            yield InputItem(photos[0] if number == 0 else f"/no/such/photo {number}")

    run = run_of(lambda: captioner, Destinations(row_file(out)), Stopping())
    report = run.run(endless())
    assert answers == [True]
    assert report.stopped and report.captioned == 1
    assert len(list(read_rows(out, "csv"))) == report.captioned + report.failed < 100


def test_a_run_stopped_before_it_began_does_nothing(captioner: Captioner, photos: list[str], tmp_path: Path) -> None:
    run = run_of(no_model, Destinations(row_file(tmp_path / "x.csv")))
    assert not run.stop()
    report = run.run(items(photos))
    assert report == Report(stopped=True, found_any=True)


def test_a_run_stopped_while_the_model_loads_captions_nothing_more(
    captioner: Captioner, photos: list[str], tmp_path: Path
) -> None:
    def load() -> Captioner:
        assert not run.stop()
        return captioner

    run = run_of(load, Destinations(row_file(tmp_path / "x.csv")))
    assert run.run(items(photos)) == Report(stopped=True, found_any=True)


def test_an_error_leaves_what_was_delivered_and_no_thread(
    captioner: Captioner, photos: list[str], tmp_path: Path
) -> None:
    class Failing(Observer):
        def captioned(self, path: str) -> None:
            raise KeyboardInterrupt

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        run_of(lambda: captioner, Destinations(row_file(tmp_path / "x.csv")), Failing()).run(items(photos))
    assert [row.path for row in read_rows(tmp_path / "x.csv", "csv")] == photos[:1]
    for thread in threading.enumerate():
        if thread.name.startswith("capcli-"):
            thread.join(5)
    assert threading.active_count() <= before
