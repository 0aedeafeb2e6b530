"""What captions replaced in photos' metadata is put back, byte for byte as Exiv2 reads it, and nothing else is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from capcli.errors import OutputError
from capcli.outputs.destinations import Destinations
from capcli.outputs.files import Draft
from capcli.outputs.metadata import PhotoMetadata
from capcli.outputs.outcomes import Outcome
from capcli.outputs.output_file import Existing
from capcli.outputs.records import read_rows
from capcli.outputs.replaced import UNFINISHED, replaced_in, replaced_note
from capcli.outputs.row_file import RowFile
from capcli.outputs.rows import Row, row_format
from capcli.outputs.text_edits import Wording
from tests.shapes import draw

pyexiv2 = pytest.importorskip("pyexiv2")

from capcli.outputs.exiv2 import XMP_FILE, Metadata  # noqa: E402
from capcli.outputs.undoing import UndoneMetadata, UndoneXmp  # noqa: E402
from capcli.outputs.xmp_sidecars import XmpSidecars  # noqa: E402

pytestmark = pytest.mark.usefixtures("no_memory_of_other_runs")
ODD = 'Mother, "1974";\n\tÜber uns \\ 🐶'


def latin(text: str) -> str:
    return text.encode("utf-8").decode("latin-1")


def photo(path: Path, change: Callable[[Any], object]) -> Path:
    draw("circle", "red", "white", 1000, 64).save(path, quality=90)
    with pyexiv2.ImageData(path.read_bytes()) as image:
        change(image)
        path.write_bytes(image.get_bytes())
    return path


def metadata(path: Path) -> Metadata:
    kind = {".jpg": "JPEG", ".png": "PNG", ".webp": "WEBP", ".tif": "TIFF"}[path.suffix]
    return Metadata.of(path.read_bytes(), kind)


SAID: dict[str, Callable[[Any], object]] = {
    "xmp.jpg": lambda image: image.modify_xmp({"Xmp.dc.description": {'lang="de"': ODD, 'lang="fr"': "Mère"}}),
    "default.webp": lambda image: image.modify_xmp({"Xmp.dc.description": {'lang="x-default"': ODD}}),
    "exif.jpg": lambda image: image.modify_exif({"Exif.Image.ImageDescription": ODD}),
    "latin.tif": lambda image: image.modify_exif({"Exif.Image.ImageDescription": "caf\xe9"}, "latin-1"),
    "iptc.jpg": lambda image: image.modify_iptc(
        {"Iptc.Application2.Caption": "Stra\xdfe", "Iptc.Application2.City": "M\xfcnchen"}, "latin-1"
    ),
    "plain iptc.jpg": lambda image: image.modify_iptc({"Iptc.Application2.Caption": "Street"}),
    "comment.png": lambda image: image.modify_comment(ODD),
    "all.jpg": lambda image: (
        image.modify_xmp({"Xmp.dc.description": {'lang="x-default"': "One"}, "Xmp.dc.subject": ["dog"]}),
        image.modify_exif({"Exif.Image.ImageDescription": "Two", "Exif.Image.Make": "Maker"}),
        image.modify_iptc({"Iptc.Application2.Caption": "Three"}),
    ),
}


def replace_in(path: Path, out: Path, caption: str = "A dog.") -> None:
    """As a run with `-o` and `--existing replace` does."""
    rows = RowFile(out, row_format("csv", ranked=False), existing=Existing.RESUME)
    destinations = Destinations(rows, [PhotoMetadata(Wording(overwrite=True, told=True))])
    with destinations.opened():
        assert destinations.wants(str(path))
        assert destinations.deliver([Row(str(path), caption, -0.5, None)]).written


@pytest.mark.parametrize("name", SAID)
def test_what_was_replaced_is_put_back_exactly(name: str, tmp_path: Path) -> None:
    path = photo(tmp_path / name, SAID[name])
    before = metadata(path)
    replace_in(path, tmp_path / "x.csv")
    assert metadata(path).exif["Exif.Image.ImageDescription"] == "A dog."
    os.utime(path, ns=(10**18, 10**18))
    rows = list(read_rows(tmp_path / "x.csv", "csv"))
    back = UndoneMetadata()
    assert back.put(rows) == Outcome(True)
    after = metadata(path)
    assert (after.exif, after.iptc, after.xmp, after.comment) == (before.exif, before.iptc, before.xmp, before.comment)
    assert path.stat().st_mtime_ns == 10**18
    content = path.read_bytes()
    assert back.put(rows).same and path.read_bytes() == content


def test_a_photo_that_says_something_else_by_now_is_left_and_told(tmp_path: Path) -> None:
    path = photo(tmp_path / "a.jpg", SAID["exif.jpg"])
    replace_in(path, tmp_path / "x.csv")
    assert PhotoMetadata(overwrite=True).put([Row(str(path), "My new words", None, None)]).written
    content = path.read_bytes()
    outcome = UndoneMetadata().put(list(read_rows(tmp_path / "x.csv", "csv")))
    assert outcome == Outcome(False, "its metadata has another description than capcli wrote: 'My new words'")
    assert path.read_bytes() == content


def test_a_photo_that_says_something_else_in_one_place_is_left_too(tmp_path: Path) -> None:
    path = photo(tmp_path / "a.jpg", SAID["exif.jpg"])
    replace_in(path, tmp_path / "x.csv")
    with pyexiv2.ImageData(path.read_bytes()) as image:
        image.modify_exif({"Exif.Image.ImageDescription": "My new words"})
        path.write_bytes(image.get_bytes())
    content = path.read_bytes()
    outcome = UndoneMetadata().put(list(read_rows(tmp_path / "x.csv", "csv")))
    assert not outcome.written and "another description than capcli wrote" in str(outcome.reason)
    assert path.read_bytes() == content


def test_other_metadata_that_came_since_stays(tmp_path: Path) -> None:
    path = photo(tmp_path / "a.jpg", SAID["xmp.jpg"])
    replace_in(path, tmp_path / "x.csv")
    with pyexiv2.ImageData(path.read_bytes()) as image:
        image.modify_xmp({"Xmp.xmp.Rating": "4"})
        image.modify_iptc({"Iptc.Application2.City": "Rome"})
        path.write_bytes(image.get_bytes())
    assert UndoneMetadata().put(list(read_rows(tmp_path / "x.csv", "csv"))).written
    after = metadata(path)
    assert after.xmp == {"Xmp.dc.description": {'lang="de"': ODD, 'lang="fr"': "Mère"}, "Xmp.xmp.Rating": "4"}
    assert after.iptc["Iptc.Application2.City"] == "Rome" and "Exif.Image.ImageDescription" not in after.exif


def test_where_nothing_was_nothing_is_told(tmp_path: Path) -> None:
    path = photo(tmp_path / "a.jpg", lambda image: None)
    replace_in(path, tmp_path / "x.csv")
    assert [row.note for row in read_rows(tmp_path / "x.csv", "csv")] == [None]


def test_a_note_changes_nothing_but_texts_that_capcli_writes(tmp_path: Path) -> None:
    path = photo(tmp_path / "a.jpg", lambda image: image.modify_exif({"Exif.Image.Make": "Maker"}))
    replace_in(path, tmp_path / "x.csv")
    forged = replaced_note({"metadata": {"Exif.Image.Make": "Other", "Exif.Image.ImageDescription": "Old"}})
    assert UndoneMetadata().put([Row(str(path), "A dog.", None, None, note=forged)]).written
    assert metadata(path).exif["Exif.Image.Make"] == "Maker"
    content = path.read_bytes()
    for note in (None, 'replaced: {"metadata": 3}', 'replaced: {"xmp": {}}'):
        assert UndoneMetadata().put([Row(str(path), "A dog.", None, None, note=note)]).same
    assert path.read_bytes() == content


def test_a_text_that_no_note_can_hold_is_not_replaced(tmp_path: Path) -> None:
    path = photo(tmp_path / "a.jpg", lambda image: image.modify_exif({"Exif.Image.ImageDescription": "x" * 40_000}))
    content = path.read_bytes()
    rows = [Row(str(path), "A dog.", None, None)]
    with pytest.raises(OutputError, match="too long to be kept in the row"):
        PhotoMetadata(Wording(overwrite=True, told=True)).put(rows)
    assert path.read_bytes() == content
    assert PhotoMetadata(Wording(overwrite=True)).put(rows).written


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_rows_of_an_earlier_run_tell_what_is_replaced_later(form: str, tmp_path: Path) -> None:
    """Metadata that is asked for when a run is gone on with."""
    paths = [photo(tmp_path / f"{number}.jpg", SAID["exif.jpg"]) for number in (1, 2)]
    out, how = tmp_path / f"x.{form}", row_format(form, ranked=False)
    out.write_bytes(how.header() + b"".join(how.record(Row(str(path), "A dog.", -0.5, None)) for path in paths))

    def deliver_again(*chosen: Path) -> None:
        rows = RowFile(out, how, existing=Existing.RESUME)
        destinations = Destinations(rows, [PhotoMetadata(Wording(overwrite=True, told=True))])
        with destinations.opened():
            for path in chosen:
                assert destinations.wants(str(path)) and destinations.has_captions(str(path))
                destinations.deliver_again(str(path))

    def notes() -> dict[str, bool]:
        rows = list(read_rows(out, form))
        assert len(rows) == 2
        return {Path(row.path).name: replaced_in(row.note) is not None for row in rows}

    deliver_again(paths[1])
    assert notes() == {"1.jpg": False, "2.jpg": True}
    deliver_again(*paths)
    assert notes() == {"1.jpg": True, "2.jpg": True}
    for row in read_rows(out, form):
        assert UndoneMetadata().put([row]).written
    assert {metadata(path).exif["Exif.Image.ImageDescription"] for path in paths} == {latin(ODD)}


@pytest.mark.parametrize("gap", [True, False])
def test_a_kill_before_older_rows_are_gone_loses_no_note(gap: bool, tmp_path: Path) -> None:
    """Both rows are in the file then; the one that tells what was replaced stays."""
    how, note = row_format("csv", ranked=False), replaced_note({"metadata": {"Exif.Image.ImageDescription": "Old"}})
    old, other = Row("a.jpg", "A dog.", -0.5, None), Row("b.jpg", "A cat.", -0.5, None)
    rows = [old, *([other] if gap else []), Row("a.jpg", "A dog.", -0.5, None, note=note)]
    (tmp_path / "x.csv").write_bytes(how.header() + b"".join(map(how.record, rows)))
    with RowFile(tmp_path / "x.csv", how, existing=Existing.RESUME).opened():
        pass
    assert list(read_rows(tmp_path / "x.csv", "csv")) == rows[1:]


def test_a_note_outlives_the_failure_that_came_with_it(tmp_path: Path) -> None:
    """The photo was written, its sidecar was not; both are tried again, and the photo says the same by now."""
    path = photo(tmp_path / "a.jpg", SAID["exif.jpg"])
    out, how = tmp_path / "x.csv", row_format("csv", ranked=False)
    replace_in(path, out)
    (row,) = read_rows(out, "csv")
    told = replaced_in(row.note)
    failed = how.header() + how.record(Row(row.path, row.caption, -0.5, "a.txt cannot be written", note=row.note))
    out.write_bytes(failed)
    for again in ("deliver", "deliver_again"):
        rows = RowFile(out, how, existing=Existing.RESUME, retry_failed=True)
        destinations = Destinations(rows, [PhotoMetadata(Wording(overwrite=True, told=True))])
        with destinations.opened():
            assert destinations.wants(str(path))
            if again == "deliver":
                destinations.deliver([Row(str(path), "A dog.", -0.5, None)])
            else:
                destinations.deliver_again(str(path))
        (row,) = read_rows(out, "csv")
        assert row.error is None and replaced_in(row.note) == told
        out.write_bytes(failed)


def unfinished(path: str, *captions: str, note: str | None = None) -> list[Row]:
    ranks = range(1, len(captions) + 1) if len(captions) > 1 else [None]
    return [
        Row(path, caption, -0.5, UNFINISHED, rank, note=note) for caption, rank in zip(captions, ranks, strict=True)
    ]


def done(rows: list[Row], **changes: Any) -> list[Row]:
    return [replace(row, error=None, **changes) for row in rows]


OLD, OLDER = (replaced_note({"metadata": {"Exif.Image.ImageDescription": text}}) for text in ("Old", "Older"))
ONE, THREE = unfinished("a.jpg", "A dog.", note=OLD), unfinished("a.jpg", "A dog.", "A cat.", "A cow.", note=OLD)
MORE = unfinished("a.jpg", "A dog.", note=OLDER)
OTHER = [Row("b.jpg", "A cat.", -0.5, None)]


@pytest.mark.parametrize(
    ("lie", "stay", "again"),
    [
        (ONE, ONE, True),
        ([*ONE, *OTHER], [*ONE, *OTHER], True),
        ([*ONE, *done(ONE)], done(ONE), False),
        ([*ONE, *MORE], MORE, True),
        ([*ONE, *MORE, *done(MORE)], done(MORE), False),
        (THREE, THREE, True),
        ([*THREE, *done(THREE)], done(THREE), False),
        ([*THREE, *done(THREE)[:1]], THREE, True),
        ([*THREE, *done(THREE)[:2]], THREE, True),
        ([*done(ONE, note=None), *ONE], ONE, True),
        ([*done(ONE, note=None), *ONE, *done(ONE)], done(ONE), False),
        ([*done(ONE, note=None), *OTHER, *ONE], [*OTHER, *ONE], True),
        ([*done(ONE, note=None), *OTHER, *ONE, *done(ONE)], [*OTHER, *done(ONE)], False),
        ([*done(THREE, note=None), *THREE], THREE, True),
    ],
)
def test_whatever_a_kill_leaves_the_note_stays_once_and_the_photo_is_done_again(
    lie: list[Row], stay: list[Row], again: bool, tmp_path: Path
) -> None:
    ranked = any(row.rank for row in lie)
    how, out = row_format("csv", ranked=ranked), tmp_path / "x.csv"
    out.write_bytes(how.header() + b"".join(map(how.record, lie)))
    rows = RowFile(out, how, existing=Existing.RESUME, captions=3 if ranked else 1)
    with rows.opened():
        assert rows.wants("a.jpg") is again
        assert rows.has_captions("a.jpg")
        (newest, *_) = (row for row in stay if row.path == "a.jpg")
        assert replaced_in(rows.captions_of("a.jpg")[0].note) == replaced_in(newest.note)
    assert list(read_rows(out, "csv")) == stay


@pytest.mark.skipif(os.name == "nt", reason="kills of POSIX")
def test_a_kill_at_any_moment_loses_nothing_that_was_replaced(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from capcli.outputs import Destinations, Existing, RowFile, row_format\n"
        "from capcli.outputs.metadata import PhotoMetadata; from capcli.outputs.rows import Row\n"
        "from capcli.outputs.text_edits import Wording; from capcli.outputs.xmp_sidecars import XmpSidecars\n"
        "wording = Wording(overwrite=True, told=True)\n"
        "rows = RowFile(Path('x.csv'), row_format('csv', ranked=False), existing=Existing.RESUME)\n"
        "all = Destinations(rows, [PhotoMetadata(wording), XmpSidecars(wording)])\n"
        "with all.opened():\n"
        "    print('ready', flush=True)\n"
        "    for number in range(60):\n"
        "        if all.lacks_row(f'{number}.jpg'):\n"
        "            all.deliver([Row(f'{number}.jpg', 'New.', -0.5, None)])\n"
    )
    first = photo(tmp_path / "0.jpg", lambda image: image.modify_exif({"Exif.Image.ImageDescription": "Old 0"}))
    XmpSidecars().put([Row(str(first), "Old 0", None, None)])
    beside = Path(f"{first}.xmp")
    for number in range(1, 60):
        # As long, so that no offset changes.
        shutil.copy(first, tmp_path / f"{number}.jpg")
        shutil.copy(beside, tmp_path / f"{number}.jpg.xmp")
    kills = 0
    for round_ in range(8):
        run = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE)
        assert run.stdout is not None and run.stdout.readline()
        time.sleep(0.003 + 0.016 * round_)
        run.kill()
        kills += run.wait() != 0
        run.stdout.close()
        told = {row.path: replaced_in(row.note) or {} for row in read_rows(tmp_path / "x.csv", "csv")}
        for number in range(60):
            name = f"{number}.jpg"
            if metadata(tmp_path / name).exif["Exif.Image.ImageDescription"] == "New.":
                assert told[name]["metadata"]["Exif.Image.ImageDescription"] == "Old 0"
            if xmp_text(tmp_path / f"{name}.xmp") == "New.":
                assert told[name]["xmp"]["Xmp.dc.description"] == {'lang="x-default"': "Old 0"}
    assert kills > 2
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)
    rows = list(read_rows(tmp_path / "x.csv", "csv"))
    assert sorted(row.path for row in rows) == sorted(f"{number}.jpg" for number in range(60))
    for row in rows:
        at_home = replace(row, path=str(tmp_path / row.path))
        assert row.error is None
        assert UndoneMetadata().put([at_home]).written and UndoneXmp().put([at_home]).written


def xmp_text(path: Path) -> str:
    text: str = Metadata.of(path.read_bytes(), XMP_FILE).xmp["Xmp.dc.description"]['lang="x-default"']
    return text


def test_rows_without_a_note_and_standard_output_are_written_once(tmp_path: Path) -> None:
    path = photo(tmp_path / "a.jpg", SAID["exif.jpg"])
    rows = RowFile(tmp_path / "x.txt", row_format("text", ranked=False))
    destinations = Destinations(rows, [PhotoMetadata(Wording(overwrite=True, told=True))])
    with destinations.opened():
        assert destinations.deliver([Row(str(path), "A dog.", -0.5, None)]).written
        assert (tmp_path / "x.txt").read_text() == f"{path}\tA dog.\n"


@pytest.mark.parametrize("beside", [True, False])
def test_what_is_replaced_is_in_the_file_before_it_is_gone(
    beside: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = photo(tmp_path / "a.jpg", SAID["exif.jpg"])
    XmpSidecars().put([Row(str(path), ODD, None, None)])
    rows = RowFile(tmp_path / "x.csv", row_format("csv", ranked=False))
    wording = Wording(overwrite=True, told=True)
    destinations = Destinations(rows, [XmpSidecars(wording) if beside else PhotoMetadata(wording)])

    def crash(draft: Draft) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt), destinations.opened():
        patch.setattr(Draft, "replace", crash)
        destinations.deliver([Row(str(path), "A dog.", -0.5, None)])
    (row,) = read_rows(tmp_path / "x.csv", "csv")
    assert (row.caption, row.error) == ("A dog.", UNFINISHED) and replaced_in(row.note) is not None
