"""Captions from a file to the photos, through the installed command."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from capcli.outputs.records import read_rows
from tests.conftest import RunCommand, command, environment, python
from tests.shapes import draw

SAID = "A red circle on a white ground."
posix = pytest.mark.skipif(os.name == "nt", reason="links and signals of POSIX")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "my photos"
    folder.mkdir()
    for name in ("1.jpg", "2.png", "3.jpg"):
        draw("circle", "red", "white", 1000, 64).save(folder / name, quality=95)
    return folder


@pytest.fixture
def captions(tmp_path: Path) -> Path:
    """A file that names the photos relative to their folder."""
    file = tmp_path / "captions.csv"
    file.write_text("path,caption\n1.jpg,One.\n2.png,Two.\n3.jpg,Three.\n")
    return file


def sidecars(photos: Path) -> dict[str, str]:
    return {path.name: path.read_text("utf-8") for path in photos.glob("*.txt")}


def changes(folder: Path) -> dict[str, tuple[int, int]]:
    """Which file lies under each name, and when anything about it was changed last."""
    return {path.name: ((status := path.stat()).st_ino, status.st_ctime_ns) for path in folder.iterdir()}


def content(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_capcli_wrote_and_a_person_corrected_gets_to_the_photos(
    capcli: RunCommand, tiny: Path, photos: Path, tmp_path: Path
) -> None:
    pytest.importorskip("pyexiv2")
    out = tmp_path / "captions.csv"
    assert capcli("caption", photos.name, "-o", out, "--captions", "2", "--model", tiny, cwd=tmp_path).code == 0
    out.write_text(out.read_text("utf-8").replace(SAID, "Mine.", 1), "utf-8")
    done = capcli("apply", out, "--sidecar", ".txt", "--write-metadata", cwd=tmp_path)
    assert (done.code, done.out, done.err) == (0, b"", b"")
    assert sidecars(photos) == {"1.txt": "Mine.\n", "2.txt": f"{SAID}\n", "3.txt": f"{SAID}\n"}
    with Image.open(photos / "1.jpg") as image:
        assert image.getexif()[0x010E] == "Mine."
    # A second run writes nothing, with replace neither.
    before = changes(photos)
    for existing in ("keep", "replace"):
        again = capcli("apply", out, "--sidecar", ".txt", "--write-metadata", "--existing", existing, cwd=tmp_path)
        assert (again.code, again.out, again.err) == (0, b"", b"")
    assert changes(photos) == before


def test_of_a_reviewed_file_approved_captions_alone_are_written(
    capcli: RunCommand, photos: Path, tmp_path: Path
) -> None:
    file = tmp_path / "corrected.csv"
    file.write_text("path,caption,confidence,review\n1.jpg,One.,0.1,accepted\n2.png,Two.,0.9,rejected\n3.jpg,T.,0.1,\n")
    done = capcli("apply", file, "--photos", photos, "--sidecar", ".txt", "--min-confidence", "0.5")
    assert done.code == 0 and sidecars(photos) == {"1.txt": "One.\n"}
    assert done.errors == (f"capcli: {file}: left out: 1 rejected, 1 not reviewed (--unreviewed takes such rows too)\n")
    # What nobody has looked at is as sure as the model was.
    unsure = ("apply", file, "--photos", photos, "--sidecar", ".txt", "--unreviewed", "--min-confidence", "0.5")
    done = capcli(*unsure)
    assert done.code == 0 and sidecars(photos) == {"1.txt": "One.\n"}
    assert f"{photos / '3.jpg'}: unsure: confidence 0.1000 is below 0.5" in done.errors
    assert capcli(*unsure[:-1], "0.1", "--quiet").err == b""
    assert sidecars(photos) == {"1.txt": "One.\n", "3.txt": "T.\n"}


def test_without_a_confidence_none_can_be_asked_for(capcli: RunCommand, photos: Path, captions: Path) -> None:
    done = capcli("apply", captions, "--photos", photos, "--sidecar", ".txt", "--min-confidence", "0.5")
    assert (done.code, sidecars(photos)) == (2, {})
    assert done.errors == f"capcli: {captions}: has no column confidence, which --min-confidence needs\n"
    captions.write_text("path,caption,confidence\n1.jpg,One.,\n")
    done = capcli("apply", captions, "--photos", photos, "--sidecar", ".txt", "--min-confidence", "0.5")
    assert (done.code, sidecars(photos)) == (0, {})
    assert "unsure: its confidence is not known" in done.errors


def test_places_that_hold_other_text_are_kept_and_told(capcli: RunCommand, photos: Path, captions: Path) -> None:
    (photos / "2.txt").write_text("my own words\n")
    report = captions.with_name("report.csv")
    done = capcli("apply", captions, "--photos", photos, "--sidecar", ".txt", "-o", report)
    assert (done.code, done.errors) == (0, f"capcli: {photos / '2.png'}: 2.txt exists\n")
    assert sidecars(photos) == {"1.txt": "One.\n", "2.txt": "my own words\n", "3.txt": "Three.\n"}
    rows = [(row.path, row.caption, row.error, row.note) for row in read_rows(report, "csv")]
    assert rows == [
        (str(photos / "1.jpg"), "One.", None, None),
        (str(photos / "2.png"), "Two.", None, "2.txt exists"),
        (str(photos / "3.jpg"), "Three.", None, None),
    ]
    # The report is a file of captions too.
    done = capcli("apply", report, "--sidecar", ".txt", "--existing", "replace")
    assert (done.code, done.err) == (0, b"") and sidecars(photos)["2.txt"] == "Two.\n"


def test_a_dry_run_prints_what_would_be_written_where_and_writes_nothing(
    capcli: RunCommand, photos: Path, captions: Path
) -> None:
    pytest.importorskip("pyexiv2")
    (photos / "2.txt").write_text("my own words\n")
    (photos / "3.txt").write_text("Three.\n")
    captions.write_text(captions.read_text() + "4.bmp,Four.\nnone.jpg,None.\n")
    draw("circle", "red", "white", 1000, 64).save(photos / "4.bmp")
    before = content(photos.parent)
    given = ("apply", captions, "--photos", photos, "--sidecar", ".txt", "--write-metadata")
    done = capcli(*given, "--dry-run")
    lines = [("1.txt", "One."), ("1.jpg", "One."), ("2.png", "Two."), ("3.jpg", "Three."), ("4.txt", "Four.")]
    assert done.text == "".join(f"{photos / name}\t{caption}\n" for name, caption in lines)
    assert done.code == 1 and content(photos.parent) == before
    left = [f"{photos / '2.png'}: 2.txt exists", f"{photos / '4.bmp'}: its metadata", f"{photos / 'none.jpg'}: no such"]
    assert len(done.errors.splitlines()) == 3
    assert all(one.startswith(f"capcli: {two}") for one, two in zip(done.errors.splitlines(), left, strict=True))
    # What it said is what is done.
    real = capcli(*given)
    assert (real.code, real.err) == (done.code, done.err)
    changed = {path for path, held in content(photos.parent).items() if before.get(path) != held}
    assert changed == {str(photos / name) for name, _ in lines}


@posix
def test_links_lead_to_nothing_that_is_written(capcli: RunCommand, photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyexiv2")
    theirs = tmp_path / "theirs.png"
    draw("circle", "red", "white", 1000, 64).save(theirs)
    before = theirs.read_bytes()
    (photos / "linked.png").symlink_to(theirs)
    file = tmp_path / "x.csv"
    file.write_text("path,caption\nlinked.png,Linked.\n")
    done = capcli("apply", file, "--photos", photos, "--write-metadata", "--existing", "replace")
    assert done.code == 1 and f"a link leads out of {photos} to the photo" in done.errors
    assert theirs.read_bytes() == before and (photos / "linked.png").is_symlink()


def test_neither_the_captions_nor_a_photo_is_written_over(capcli: RunCommand, photos: Path, captions: Path) -> None:
    said = captions.read_bytes()
    done = capcli("apply", captions, "--photos", photos, "--sidecar", ".txt", "-o", captions, "--overwrite")
    assert (done.code, captions.read_bytes()) == (2, said) and "is one of the inputs" in done.errors
    beside = photos / "1.txt"
    beside.write_text(f"{photos / '1.jpg'}\tOne.\n")
    done = capcli("apply", beside, "--sidecar", ".txt", "--existing", "replace")
    assert done.code == 1 and beside.read_text() == f"{photos / '1.jpg'}\tOne.\n"


def test_a_report_is_gone_on_with(capcli: RunCommand, photos: Path, captions: Path) -> None:
    report = captions.with_name("report.jsonl")
    given = ("apply", captions, "--photos", photos, "--sidecar", ".txt", "-o", report)
    (photos / "2.png").rename(photos / "two.png")
    done = capcli(*given)
    assert (done.code, done.errors) == (1, f"capcli: {photos / '2.png'}: no such file\n")
    assert capcli(*given).code == 2
    (photos / "two.png").rename(photos / "2.png")
    done = capcli(*given, "--resume")
    assert done.code == 1 and "1 photo" in done.errors and "--retry-failed" in done.errors
    done = capcli(*given, "--resume", "--retry-failed")
    assert (done.code, done.err) == (0, b"") and sidecars(photos)["2.txt"] == "Two.\n"
    assert sorted(row.path for row in read_rows(report, "jsonl")) == [
        str(photos / name) for name in ("1.jpg", "2.png", "3.jpg")
    ]


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ((), 2, "say where the captions go"),
        (("--sidecar", ".json"), 2, "'.json' is no suffix for sidecars"),
        (("--sidecar", ".txt", "--dry-run", "-o", "x.csv"), 2, "--dry-run writes nothing"),
        (("--sidecar", ".txt", "--existing", "some"), 2, "must be keep, replace, append or prepend"),
        (("--sidecar", ".txt", "--xmp-name", "stem"), 2, "--xmp-name goes with --xmp"),
        (("--xmp", "--field", "title"), 2, "--field is title; it must be description, alt or both"),
        (("--sidecar", ".txt", "--field", "alt"), 2, "--field goes with --write-metadata or --xmp"),
        (("--xmp", "--max-chars", "9"), 2, "--max-chars is for the alt text alone"),
        (("--xmp", "--field", "both", "--max-chars", "0"), 2, "--max-chars is 0; it must be at least 1"),
        (("--xmp", "--xmp-name", "short"), 2, "--xmp-name is short; it must be full or stem"),
        (("--sidecar", ".txt", "--min-confidence", "2"), 2, "--min-confidence is 2"),
        (("--sidecar", ".txt", "-o", "no/such/folder/x.csv"), 4, "cannot be written"),
    ],
)
def test_wrong_options_start_nothing(
    capcli: RunCommand, photos: Path, captions: Path, options: tuple[str, ...], code: int, message: str
) -> None:
    before = content(photos.parent)
    done = capcli("apply", captions, "--photos", photos, *options, cwd=photos.parent)
    assert (done.code, done.out, done.errors.count("\n")) == (code, b"", 1)
    assert message in done.errors and content(photos.parent) == before


@posix
def test_ctrl_c_ends_between_two_photos(photos: Path, tmp_path: Path) -> None:
    file, report = tmp_path / "many.csv", tmp_path / "report.csv"
    names = [f"{number}.png" for number in range(100_000)]
    file.write_text("path,caption\n" + "".join(f"{name},Said.\n" for name in names))
    run = subprocess.Popen(
        [command(), "apply", file, "--photos", photos, "--sidecar", ".txt", "-q", "-o", report],
        stderr=subprocess.PIPE,
        env=environment(),
    )
    limit = time.monotonic() + 60
    while not (report.exists() and report.stat().st_size > 1000) and time.monotonic() < limit:
        time.sleep(0.01)
    run.send_signal(signal.SIGINT)
    _, errors = run.communicate(timeout=60)
    assert run.returncode == 130
    assert errors.decode().endswith("holds what was done so far; the same command with --resume goes on\n")
    assert 0 < sum(1 for _ in read_rows(report, "csv")) < len(names)


def test_the_whole_command_loads_no_model_and_none_of_its_libraries(photos: Path, captions: Path) -> None:
    done = python(
        "import sys; from capcli import cli\n"
        "code = cli.run(['apply', sys.argv[1], '--photos', sys.argv[2], '--sidecar', '.txt'])\n"
        "print(code, sorted({'onnxruntime', 'torch', 'numpy', 'PIL', 'tokenizers'} & set(sys.modules)))",
        str(captions),
        str(photos),
    )
    assert (done.text, done.errors) == ("0 []\n", "")
    assert len(sidecars(photos)) == 3


def described(path: Path, text: str) -> None:
    exif = Image.Exif()
    exif[0x010E] = text
    draw("circle", "red", "white", 1000, 64).save(path, exif=exif)


def description(path: Path) -> str | None:
    with Image.open(path) as image:
        found: str | None = image.getexif().get(0x010E)
    return found


@pytest.mark.parametrize("writer", ["caption", "apply"])
def test_what_a_run_replaced_is_put_back(
    capcli: RunCommand, tiny: Path, photos: Path, captions: Path, tmp_path: Path, writer: str
) -> None:
    pytest.importorskip("pyexiv2")
    described(photos / "1.jpg", 'My "words"; 1974')
    described(photos / "3.jpg", "OLYMPUS DIGITAL CAMERA")
    out = tmp_path / "out.csv"
    given = ("caption", photos, "--model", tiny) if writer == "caption" else ("apply", captions, "--photos", photos)
    done = capcli(*given, "--write-metadata", "--existing", "replace", "-o", out)
    assert (done.code, done.err) == (0, b"")
    wrote = [description(photos / name) for name in ("1.jpg", "2.png", "3.jpg")]
    assert wrote == ([SAID] * 3 if writer == "caption" else ["One.", "Two.", "Three."])
    described(photos / "3.jpg", "Mine by now")
    before = content(photos)
    dry = capcli("apply", "--undo", out, "--dry-run")
    assert dry.text == f'{photos / "1.jpg"}\tMy "words"; 1974\n' and content(photos) == before
    undone = capcli("apply", "--undo", out, "-o", tmp_path / "undone.csv")
    assert undone.code == 0
    assert undone.errors == (
        f"capcli: {photos / '3.jpg'}: its metadata has another description than capcli wrote: 'Mine by now'\n"
        f"capcli: {out}: left out: 1 row that tells nothing of what was replaced\n"
    )
    assert [description(photos / name) for name in ("1.jpg", "2.png", "3.jpg")] == [
        'My "words"; 1974',
        wrote[1],
        "Mine by now",
    ]


def test_what_is_too_long_for_a_row_is_replaced_only_where_no_row_is_to_tell_it(
    capcli: RunCommand, tiny: Path, photos: Path, tmp_path: Path
) -> None:
    pytest.importorskip("pyexiv2")
    photo, old = photos / "1.jpg", "words" * 8000
    described(photo, old)
    replacing = ("caption", photo, "--model", tiny, "--write-metadata", "--existing", "replace")
    done = capcli(*replacing, "-o", tmp_path / "out.csv")
    assert done.code == 1 and "too long to be kept in the row, and is left as it is" in done.errors
    assert description(photo) == old
    assert capcli(*replacing).code == 0 and description(photo) == SAID


@pytest.mark.parametrize("options", [("--sidecar", ".txt"), ("--write-metadata",), ("--unreviewed",)])
def test_undo_goes_with_nothing_that_writes_captions(
    capcli: RunCommand, captions: Path, options: tuple[str, ...]
) -> None:
    pytest.importorskip("pyexiv2")
    done = capcli("apply", captions, "--undo", *options)
    assert (done.code, done.errors.count("\n")) == (2, 1) and "--undo puts back" in done.errors
    done = capcli("apply", captions, "--undo")
    assert done.code == 2 and "3 rows that tell nothing of what was replaced" in done.errors


def xmp_of(path: Path) -> dict[str, Any]:
    pyexiv2 = pytest.importorskip("pyexiv2")
    with pyexiv2.ImageData(path.read_bytes()) as image:
        found: dict[str, Any] = image.read_xmp()
    return found


@pytest.mark.parametrize("writer", ["caption", "apply"])
def test_xmp_files_lie_beside_photos_of_every_kind(
    capcli: RunCommand, tiny: Path, photos: Path, captions: Path, tmp_path: Path, writer: str
) -> None:
    pytest.importorskip("pyexiv2")
    draw("circle", "red", "white", 1000, 64).save(photos / "4.bmp")
    draw("circle", "red", "white", 1000, 64).save(photos / "5.avif")
    captions.write_text(captions.read_text() + "4.bmp,Four.\n5.avif,Five.\n")
    before = content(photos)
    out = tmp_path / "out.csv"
    given: tuple[str | Path, ...] = ("caption", photos, "--model", tiny)
    given = given if writer == "caption" else ("apply", captions, "--photos", photos)
    done = capcli(*given, "--xmp", "-o", out)
    assert (done.code, done.out, done.err) == (0, b"", b"")
    said = [SAID] * 5 if writer == "caption" else ["One.", "Two.", "Three.", "Four.", "Five."]
    names = ["1.jpg.xmp", "2.png.xmp", "3.jpg.xmp", "4.bmp.xmp", "5.avif.xmp"]
    assert [xmp_of(photos / name)["Xmp.dc.description"] for name in names] == [
        {'lang="x-default"': one} for one in said
    ]
    assert {path: held for path, held in content(photos).items() if not path.endswith(".xmp")} == before
    # By the stem, into what is there: one photo of each stem.
    (photos / "1.png").write_bytes((photos / "2.png").read_bytes())
    (photos / "3.NEF").write_bytes(b"raw")
    captions.write_text(captions.read_text() + "1.png,One again.\n")
    done = capcli(*given, "--xmp", "--xmp-name", "stem")
    assert done.code == 1 and not (photos / "3.xmp").exists()
    assert sorted(done.errors.splitlines()) == [
        f"capcli: {photos / '1.png'}: 1.xmp holds the caption of 1.jpg, which has the same name but for its suffix",
        f"capcli: {photos / '3.jpg'}: 3.xmp is that of 3.NEF, a raw photo of the same name; "
        "--xmp-name full writes another",
    ]
    assert xmp_of(photos / "1.xmp")["Xmp.dc.description"] == {'lang="x-default"': said[0]}


def test_what_was_replaced_in_xmp_files_is_put_back(
    capcli: RunCommand, photos: Path, captions: Path, tmp_path: Path
) -> None:
    pytest.importorskip("pyexiv2")
    mine = tmp_path / "mine.csv"
    mine.write_text("path,caption\n1.jpg,My own words.\n")
    assert capcli("apply", mine, "--photos", photos, "--xmp", "--xmp-name", "stem").code == 0
    before, out = xmp_of(photos / "1.xmp"), tmp_path / "out.csv"
    again = ("apply", captions, "--photos", photos, "--xmp", "--xmp-name", "stem", "-o", out)
    done = capcli(*again)
    kept = f"capcli: {photos / '1.jpg'}: 1.xmp has a description already: 'My own words.'\n"
    assert (done.code, done.errors, xmp_of(photos / "1.xmp")) == (0, kept, before)
    assert capcli(*again, "--overwrite", "--existing", "replace").code == 0
    assert xmp_of(photos / "1.xmp") != before
    assert capcli("apply", "--undo", out).code == 0
    assert xmp_of(photos / "1.xmp") == before
    assert xmp_of(photos / "2.xmp")["Xmp.dc.description"] == {'lang="x-default"': "Two."}


@pytest.mark.parametrize("writer", ["caption", "apply"])
def test_alt_texts_are_written_beside_descriptions_and_cut_with_a_note(
    capcli: RunCommand, tiny: Path, photos: Path, tmp_path: Path, writer: str
) -> None:
    pytest.importorskip("pyexiv2")
    file, out = tmp_path / "x.csv", tmp_path / "out.csv"
    file.write_text(f"path,caption\n1.jpg,{SAID}\n2.png,{SAID}\n3.jpg,{SAID}\n")
    given: tuple[str | Path, ...] = ("caption", photos, "--model", tiny)
    given = given if writer == "caption" else ("apply", file, "--photos", photos)
    done = capcli(*given, "--write-metadata", "--xmp", "--field", "both", "--max-chars", "12", "-o", out)
    assert (done.code, done.err) == (0, b"")
    for name in ("1.jpg", "2.png", "3.jpg", "1.jpg.xmp"):
        found = xmp_of(photos / name)
        assert found["Xmp.dc.description"] == {'lang="x-default"': SAID}
        assert found["Xmp.iptc.AltTextAccessibility"] == {'lang="x-default"': "A red circle"}
    cut = "the alt text is cut: 'A red circle'"
    assert [row.note for row in read_rows(out, "csv")] == [cut] * 3
    again = capcli(
        "apply", out, "--write-metadata", "--field", "alt", "--max-chars", "12", "-o", tmp_path / "again.csv"
    )
    assert (again.code, again.err) == (0, b"")
    assert [row.note for row in read_rows(tmp_path / "again.csv", "csv")] == [None] * 3


def test_photos_beside_a_file_are_found_from_everywhere(capcli: RunCommand, photos: Path, tmp_path: Path) -> None:
    file = photos / "captions.csv"
    file.write_text("path,caption\n1.jpg,One.\nnone.jpg,None.\n3.jpg,Three.\n")
    done = capcli("apply", file, "--sidecar", ".txt", cwd=tmp_path)
    assert (done.code, done.errors) == (1, "capcli: none.jpg: no such file\n")
    assert sidecars(photos) == {"1.txt": "One.\n", "3.txt": "Three.\n"}


EARLIER = "path,caption,score,error\r\n"


@pytest.mark.parametrize("writer", ["caption", "apply"])
@pytest.mark.parametrize(("name", "holds"), [("out.csv", EARLIER), ("out.txt", None), ("new.csv", None)])
def test_a_file_without_notes_says_that_what_is_replaced_cannot_be_put_back(
    capcli: RunCommand, tiny: Path, photos: Path, captions: Path, writer: str, name: str, holds: str | None
) -> None:
    pytest.importorskip("pyexiv2")
    described(photos / "1.jpg", "My words")
    out = photos.parent / name
    if holds is not None:
        out.write_bytes(holds.encode())
    given: tuple[str | Path, ...] = ("caption", photos, "--model", tiny)
    given = given if writer == "caption" else ("apply", captions, "--photos", photos)
    given = (*given, "--write-metadata", "-o", out, *(() if holds is None else ("--resume",)))
    told = (
        f"capcli: {out}: has no notes, so that texts of photos that are replaced cannot be put back from it; "
        "a new .csv, .tsv or .jsonl has\n"
    )
    done = capcli(*given, "--existing", "replace")
    assert (done.code, done.errors) == (0, "" if name == "new.csv" else told)
    assert description(photos / "1.jpg") in (SAID, "One.")
    # Where nothing is replaced there is nothing to tell.
    out.unlink()
    if holds is not None:
        out.write_bytes(holds.encode())
    assert "has no notes" not in capcli(*given).errors
