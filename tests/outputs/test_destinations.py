"""What a run's destinations have in common, and how they are joined: photos first, rows last, each asked by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from capcli.errors import OutputError, UsageError
from capcli.outputs.destinations import Destination, Destinations
from capcli.outputs.outcomes import Outcome
from capcli.outputs.output_file import Existing
from capcli.outputs.provenance import Provenance, ProvenanceMemory
from capcli.outputs.records import read_rows
from capcli.outputs.row_file import RowFile
from capcli.outputs.rows import Row, row_format
from capcli.outputs.sidecars import Sidecars
from tests.conftest import python

FORM = row_format("csv", ranked=False)
PROVENANCE = Provenance("tiny", "abc", beam=2, max_length=9, length_penalty=1.0, captions=1, raw=False)


def row(path: Path, caption: str | None = "A dog.", error: str | None = None) -> Row:
    return Row(str(path), caption, None if caption is None else -0.5, error)


class Listening(Destination):
    """Notes what it was given in a list that it shares with others."""

    def __init__(self, name: str, calls: list[tuple[str, str | None]], outcome: Outcome | OutputError) -> None:
        self._name, self._calls, self._outcome = name, calls, outcome

    def wants(self, path: str) -> bool:
        return "b" in path

    def put(self, rows: Sequence[Row]) -> Outcome:
        self._calls.append((self._name, rows[0].error))
        if isinstance(self._outcome, OutputError):
            raise self._outcome
        return self._outcome


WRITTEN, KEPT = Outcome(True), Outcome(False, "x.txt exists")
SAME = Outcome(False, "x.txt exists", same=True)
FAILED = Outcome(False, "x.txt belongs to another", failed=True)


@pytest.mark.parametrize(
    ("with_rows", "one", "two", "wanted"),
    [
        (False, WRITTEN, KEPT, WRITTEN),
        (False, KEPT, KEPT, KEPT),
        (True, KEPT, KEPT, WRITTEN),
        (True, FAILED, WRITTEN, Outcome(False, "x.txt belongs to another", failed=True)),
        (False, FAILED, OutputError("read-only"), Outcome(False, "x.txt belongs to another; read-only", failed=True)),
    ],
)
def test_photos_come_first_and_the_rows_say_what_became_of_them(
    with_rows: bool, one: Outcome, two: Outcome | OutputError, wanted: Outcome
) -> None:
    calls: list[tuple[str, str | None]] = []
    rows = Listening("rows", calls, WRITTEN) if with_rows else None
    destinations = Destinations(rows, [Listening("one", calls, one), Listening("two", calls, two)])
    assert destinations.deliver([row(Path("a.jpg"))]) == wanted
    last = [("rows", wanted.reason)] if with_rows else []
    assert calls == [("one", None), ("two", None), *last]


@pytest.mark.parametrize(
    ("one", "two", "told"),
    [
        (WRITTEN, KEPT, ["x.txt exists"]),
        (KEPT, KEPT, ["x.txt exists; x.txt exists"]),
        (KEPT, FAILED, ["x.txt exists"]),
        (WRITTEN, FAILED, []),
        (WRITTEN, SAME, []),
        (SAME, SAME, []),
    ],
)
@pytest.mark.parametrize("with_rows", [False, True])
def test_what_a_photo_keeps_is_told_whatever_the_rows_say(
    with_rows: bool, one: Outcome, two: Outcome, told: list[str]
) -> None:
    kept: list[tuple[str, str]] = []
    photos = [Listening("one", [], one), Listening("two", [], two)]
    rows = Listening("rows", [], WRITTEN) if with_rows else None
    Destinations(rows, photos, lambda path, what: kept.append((path, what))).deliver([row(Path("a.jpg"))])
    assert kept == [("a.jpg", what) for what in told]


def test_a_failed_input_and_an_image_without_a_file_reach_the_rows_alone() -> None:
    calls: list[tuple[str, str | None]] = []
    destinations = Destinations(Listening("rows", calls, WRITTEN), [Listening("photo", calls, WRITTEN)])
    outcome = destinations.deliver([row(Path("a.jpg"), None, "is empty")])
    assert outcome == Outcome(False, "is empty", failed=True)
    assert destinations.deliver([row(Path("-"))]) == WRITTEN
    assert calls == [("rows", "is empty"), ("rows", None)]


def test_rows_that_cannot_be_written_end_the_run() -> None:
    destinations = Destinations(Listening("rows", [], OutputError("full disk")))
    with pytest.raises(OutputError, match="full disk"):
        destinations.deliver([row(Path("a.jpg"))])


def test_without_rows_a_path_is_done_when_all_photo_destinations_have_it(tmp_path: Path) -> None:
    photo = tmp_path / "a.jpg"
    both = Destinations(None, [Sidecars(".txt"), Sidecars(".caption")])
    (tmp_path / "a.txt").write_text("by hand")
    assert both.wants(str(photo))
    (tmp_path / "a.caption").write_text("by hand")
    assert not both.wants(str(photo))
    assert Destinations(None, [Sidecars(".txt", overwrite=True)]).wants(str(photo))
    # A folder that cannot be read, or an image without a file, cannot have its captions already.
    assert both.wants(str(photo), is_file=False)
    assert not Destinations(None).wants(str(photo))


def test_with_rows_they_say_what_is_done(tmp_path: Path) -> None:
    photo = tmp_path / "a.jpg"
    (tmp_path / "a.txt").write_text("by hand")
    destinations = Destinations(RowFile(tmp_path / "x.csv", FORM), [Sidecars(".txt")])
    with destinations.opened():
        assert destinations.wants(str(photo)) and not destinations.wants(str(photo))
        assert destinations.deliver([row(photo)]) == WRITTEN
    assert list(read_rows(tmp_path / "x.csv", "csv")) == [replace(row(photo), note="a.txt exists")]
    assert (tmp_path / "a.txt").read_text() == "by hand"
    # What rows hold already is for photos that are files, and lack it.
    again = Destinations(RowFile(tmp_path / "x.csv", FORM, existing=Existing.RESUME), [Sidecars(".caption")])
    with again.opened():
        assert again.wants(str(photo)) and not again.wants(str(photo), is_file=False)


@pytest.mark.parametrize("least", [1.01, -0.01, float("nan")])
def test_a_least_confidence_is_a_probability(least: float) -> None:
    with pytest.raises(UsageError, match="min confidence must be from 0 to 1"):
        Destinations(min_confidence=least)


def test_every_place_is_asked_for_it_learns_from_that_which_photo_has_what() -> None:
    asked: list[str] = []

    class Asked(Listening):
        def wants(self, path: str) -> bool:
            asked.append(self._name)
            return super().wants(path)

    photos = [Asked("one", [], WRITTEN), Asked("two", [], WRITTEN)]
    assert Destinations(None, photos).wants("b.jpg") and asked == ["one", "two"]


def test_two_photos_that_share_a_sidecar_are_told_in_the_row(tmp_path: Path) -> None:
    first, second = tmp_path / "a.jpg", tmp_path / "a.png"
    destinations = Destinations(RowFile(tmp_path / "x.csv", FORM), [Sidecars(".txt")])
    with destinations.opened():
        assert destinations.deliver([row(first)]) == WRITTEN
        outcome = destinations.deliver([row(second, "A cat.")])
    assert outcome.failed and "a.txt holds the caption of a.jpg" in str(outcome.reason)
    assert list(read_rows(tmp_path / "x.csv", "csv")) == [row(first), row(second, "A cat.", outcome.reason)]
    assert (tmp_path / "a.txt").read_text() == "A dog.\n"


def test_a_row_file_is_touched_only_while_it_is_open(tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    rows = RowFile(file, FORM)
    assert not file.exists() and rows.kept_failures == 0
    with pytest.raises(RuntimeError), rows.opened():
        assert file.exists()
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with rows.opened():
        rows.put([row(tmp_path / "a.jpg")])
    with pytest.raises(UsageError, match="--resume"), RowFile(file, FORM).opened():
        pass
    again = RowFile(file, FORM, existing=Existing.RESUME)
    with again.opened():
        assert not again.wants(str(tmp_path / "a.jpg"))


def test_failures_of_an_earlier_run_are_counted_until_they_are_mended(tmp_path: Path) -> None:
    file, photo = tmp_path / "x.csv", tmp_path / "a.jpg"
    first = RowFile(file, FORM)
    with first.opened():
        first.put([row(photo, None, "is empty")])
    kept = Destinations(RowFile(file, FORM, existing=Existing.RESUME))
    with kept.opened():
        assert not kept.wants(str(photo))
    assert kept.kept_failures == 1
    retried = Destinations(RowFile(file, FORM, existing=Existing.RESUME, retry_failed=True))
    with retried.opened():
        assert retried.wants(str(photo))
        retried.deliver([row(photo)])
    assert retried.kept_failures == 0
    assert list(read_rows(file, "csv")) == [row(photo)]


def test_a_file_gone_on_with_says_what_is_other_than_before(tmp_path: Path) -> None:
    memory = ProvenanceMemory(tmp_path / "state")

    def begin(provenance: Provenance, existing: Existing, safe: bool = False) -> list[str]:
        form = row_format("csv", ranked=False, spreadsheet_safe=safe)
        destinations = Destinations(RowFile(tmp_path / "x.csv", form, existing=existing, memory=memory))
        with destinations.opened():
            notes = destinations.begin(provenance)
            destinations.deliver([row(tmp_path / "a.jpg")])
        return notes

    assert begin(PROVENANCE, Existing.REFUSE) == []
    assert begin(PROVENANCE, Existing.RESUME) == []
    other = Provenance("tiny", "def", beam=1, max_length=9, length_penalty=1.0, captions=1, raw=False)
    assert begin(other, Existing.RESUME, safe=True) == [
        f"{tmp_path / 'x.csv'}: its rows were written with other settings (another version of model tiny; beam 2, "
        "now 1; spreadsheet safe False, now True); they stay as they are"
    ]
    # What is replaced is not compared: nothing of it stays.
    assert begin(PROVENANCE, Existing.REPLACE) == []


def test_the_room_hands_out_its_names_and_loads_nothing_heavy_before_they_are_asked_for() -> None:
    done = python(
        "import sys, capcli.outputs as room\n"
        "from capcli.outputs import Destinations, RowFile, row_format\n"
        "print(sorted({'numpy', 'PIL', 'onnxruntime'} & set(sys.modules)))\n"
        "print([name for name in room.__all__ if not hasattr(room, name)])"
    )
    assert done.text == "[]\n[]\n", done.errors
