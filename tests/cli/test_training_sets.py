"""Training sets for image generators, through the installed command: prefixes, captions added, image folders."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from capcli.dataset import read_captions
from capcli.outputs.records import read_rows
from tests.conftest import Finished, RunCommand, environment
from tests.shapes import draw

SAID = "A red circle on a white ground."
NAMES = ("1.jpg", "2.png", "sub/3.jpg")
posix = pytest.mark.skipif(os.name == "nt", reason="kills and links of POSIX")

Write = Callable[..., Finished]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    for name in NAMES:
        draw("circle", "red", "white", 1000, 64).save(folder / name, quality=95)
    return folder


def captions_of(photos: Path) -> Path:
    file = photos.parent / "captions.csv"
    file.write_text("path,caption\n" + "".join(f"{photos / name},{SAID}\n" for name in NAMES))
    return file


@pytest.fixture(params=["caption", "apply"])
def write(request: pytest.FixtureRequest, capcli: RunCommand, tiny: Path, photos: Path) -> Write:
    """Runs a command that writes the photos' captions."""
    given = ("caption", photos, "--model", tiny) if request.param == "caption" else ("apply", captions_of(photos))
    return lambda *options: capcli(*given, *options, cwd=photos.parent)


def sidecars(photos: Path) -> list[str]:
    return [(photos / name).with_suffix(".txt").read_text("utf-8") for name in NAMES]


def lines(file: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


def test_a_prefix_and_a_suffix_stand_in_sidecars_and_rows_stay_bare(write: Write, photos: Path) -> None:
    out = photos.parent / "out.csv"
    given = ("--sidecar", ".txt", "--prefix", "ohwx, ", "--suffix", " By me.", "-o", out)
    assert write(*given).code == 0
    assert sidecars(photos) == [f"ohwx, {SAID} By me.\n"] * 3
    assert [row.caption for row in read_rows(out, "csv")] == [SAID] * 3
    (photos / "1.txt").unlink()
    (photos / "2.txt").write_text("Old.\n")
    assert write(*given, "--overwrite", "--existing", "replace").code == 0
    assert sidecars(photos) == [f"ohwx, {SAID} By me.\n"] * 3


@pytest.mark.parametrize(
    ("options", "first"),
    [
        (("append",), f"a park, {SAID}\n"),
        (("prepend", "--prefix", "ohwx ", "--separator", ""), f"ohwx {SAID}a park\n"),
    ],
)
def test_captions_are_added_to_sidecars_once(write: Write, photos: Path, options: tuple[str, ...], first: str) -> None:
    (photos / "1.txt").write_text("a park")
    given = ("--sidecar", ".txt", "--existing", *options)
    done = write(*given)
    assert (done.code, done.err) == (0, b"")
    other = "ohwx " if "--prefix" in options else ""
    assert sidecars(photos) == [first, *[f"{other}{SAID}\n"] * 2]
    before = {path: (path.stat().st_ino, path.stat().st_ctime_ns) for path in photos.rglob("*.txt")}
    again = write(*given)
    assert (again.code, again.err) == (0, b"")
    assert {path: (path.stat().st_ino, path.stat().st_ctime_ns) for path in photos.rglob("*.txt")} == before


# The command, killed when the row of a photo is to be written, whose sidecar is.
KILLED = """
import os, signal, sys
from capcli import cli
from capcli.outputs.output_file import OutputFile

wanted, write = int(sys.argv[1]), OutputFile.write
calls = []

def killed(file, rows):
    calls.append(rows)
    if len(calls) == wanted:
        os.kill(os.getpid(), signal.SIGKILL)
    write(file, rows)

OutputFile.write = killed
sys.exit(cli.run(sys.argv[2:]))
"""


@posix
@pytest.mark.parametrize(("existing", "output"), [("append", "out.csv"), ("prepend", "photos/metadata.jsonl")])
def test_a_kill_between_a_sidecar_and_its_row_doubles_nothing(photos: Path, existing: str, output: str) -> None:
    for name in NAMES:
        (photos / name).with_suffix(".txt").write_text("ohwx\n")
    out = photos.parent / output
    given = ["apply", str(captions_of(photos)), "--sidecar", ".txt", "--existing", existing, "--resume", "-o", str(out)]
    given += ["--format", "imagefolder"] if output.endswith(".jsonl") else []
    joined = f"ohwx, {SAID}\n" if existing == "append" else f"{SAID}, ohwx\n"
    for number in range(len(NAMES)):
        # Each run does the photo again that the one before was killed at, and is killed at the next one.
        run = [sys.executable, "-c", KILLED, str(min(number + 1, 2)), *given]
        assert subprocess.run(run, env=environment(), check=False).returncode == -signal.SIGKILL
        assert len(list(read_rows(out, output.rpartition(".")[2]) if number else [])) == number
        assert sidecars(photos) == [joined] * (number + 1) + ["ohwx\n"] * (2 - number)
    done = subprocess.run([sys.executable, "-c", KILLED, "0", *given], env=environment(), check=False)
    assert done.returncode == 0 and sidecars(photos) == [joined] * 3
    assert len(list(read_rows(out, output.rpartition(".")[2]))) == 3


def test_an_image_folder_has_a_line_for_each_photo_that_it_can_name(write: Write, photos: Path) -> None:
    out = photos / "metadata.jsonl"
    given = ("--format", "imagefolder", "-o", out, "--prefix", "ohwx, ")
    (photos / "2.png").rename(photos.parent / "two.png")
    (photos / "2.png").write_text("no photo")
    done = write(*given)
    assert (done.code, done.out) == (1, b"") and done.errors.count("\n") == 1 and "2.png" in done.errors
    wanted = [{"file_name": name, "text": f"ohwx, {SAID}"} for name in NAMES]
    assert lines(out) == [wanted[0], wanted[2]]
    # What failed is tried again, by --resume alone.
    (photos.parent / "two.png").rename(photos / "2.png")
    done = write(*given, "--resume")
    assert (done.code, done.err) == (0, b"")
    assert lines(out) == [wanted[0], wanted[2], wanted[1]]


def test_sidecars_get_their_captions_from_an_image_folder_without_a_second_prefix(
    capcli: RunCommand, tiny: Path, photos: Path
) -> None:
    given = ("caption", photos, "--format", "imagefolder", "-o", photos / "metadata.jsonl", "--prefix", "ohwx, ")
    assert capcli(*given, "--model", tiny).code == 0
    done = capcli(*given, "--resume", "--sidecar", ".txt", "--model", "no such model")
    assert (done.code, done.err, sidecars(photos)) == (0, b"", [f"ohwx, {SAID}\n"] * 3)


@posix
def test_photos_outside_the_folder_are_failures(capcli: RunCommand, tiny: Path, photos: Path) -> None:
    outside = photos.parent / "outside.jpg"
    shutil.copy(photos / "1.jpg", outside)
    file = captions_of(photos)
    file.write_text(file.read_text() + f"{outside},Outside.\n")
    for given in (("caption", photos, outside, "--model", tiny), ("apply", file)):
        out = photos / "metadata.jsonl"
        done = capcli(*given, "--format", "imagefolder", "-o", out, "--overwrite")
        assert done.errors == f"capcli: {outside}: is not in {photos}, the folder of {out}\n"
        assert done.code == 1 and [line["file_name"] for line in lines(out)] == list(NAMES)
    plan = capcli("caption", photos, outside, "--format", "imagefolder", "-o", out, "--overwrite", "--dry-run")
    assert plan.errors.startswith(f"capcli: {outside}: is not in {photos}") and plan.text.count("\n") == 3


def test_captions_of_an_image_folder_are_trained_on_reviewed_and_applied(
    capcli: RunCommand, tiny: Path, photos: Path, tmp_path: Path
) -> None:
    draw("square", "blue", "black", 1000, 64).save(photos / "sub" / "1.jpg")
    out = photos / "metadata.jsonl"
    assert capcli("caption", photos, "--format", "imagefolder", "-o", out, "--model", tiny).code == 0
    # By their folders: two photos have one name. One line is enough for a file of them.
    for text in (out.read_text(), out.read_text().splitlines()[-1]):
        out.write_text(text)
        items, report = read_captions(photos)
        assert {str(item.path.relative_to(photos)): item.captions[0] for item in items} == {
            line["file_name"]: line["text"] for line in lines(out)
        }
        assert not report.lines()
    for given in ((), ("--photos", photos)):
        done = capcli("apply", out, "--sidecar", ".txt", "--existing", "replace", *given, cwd=tmp_path)
        assert (done.code, done.err) == (0, b"")
        for line in lines(out):
            beside = (photos / line["file_name"]).with_suffix(".txt")
            assert beside.read_text() == f"{line['text']}\n"
            beside.unlink()
    pytest.importorskip("jinja2")
    done = capcli("review", out, "-o", tmp_path / "review.html")
    assert (done.code, done.err) == (0, b"")
    page = (tmp_path / "review.html").read_text("utf-8")
    assert "data:image/" in page and lines(out)[0]["text"] in page


def test_captions_that_are_not_sure_enough_are_no_part_of_an_image_folder(
    capcli: RunCommand, sure: Path, photos: Path
) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(photos / "noise.png")
    out = photos / "metadata.jsonl"
    given = ("caption", photos, "--format", "imagefolder", "-o", out, "--model", sure, "--min-confidence", "0.5")
    done = capcli(*given)
    assert done.code == 0 and "noise.png: unsure: confidence" in done.errors
    assert [line["file_name"] for line in lines(out)] == list(NAMES)


def test_a_prefix_other_than_that_of_the_lines_before_is_told(capcli: RunCommand, tiny: Path, photos: Path) -> None:
    out = photos / "metadata.jsonl"
    given = ("caption", photos / "1.jpg", "--format", "imagefolder", "-o", out, "--model", tiny)
    assert capcli(*given, "--prefix", "ohwx, ").code == 0
    done = capcli(*given, photos / "2.png", "--prefix", "sks, ", "--resume")
    changed = "its rows were written with other settings (prefix 'ohwx, ', now 'sks, '); they stay as they are"
    assert (done.code, done.errors) == (0, f"capcli: {out}: {changed}\n")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--prefix", "x"),
            "they go with --sidecar or --format imagefolder",
        ),
        (("--sidecar", ".txt", "--prefix", b"\xff"), "--prefix is not UTF-8"),
        (("--sidecar", ".txt", "--separator", "x"), "--separator goes with --existing append or prepend"),
        (("--sidecar", ".txt", "--existing", "append", "--separator", b"\xff"), "--separator is not UTF-8"),
        (("--existing", "prepend"), "--existing prepend goes with --sidecar"),
        (("--sidecar", ".txt", "--xmp", "--existing", "append"), "--existing append is for sidecars alone"),
        (
            ("--sidecar", ".txt", "--write-metadata", "--existing", "prepend"),
            "is for sidecars alone",
        ),
        (("--format", "imagefolder"), "--format imagefolder makes metadata.jsonl in the photos' folder"),
        (("--format", "imagefolder", "-o", "-"), "name it: -o PHOTOS/metadata.jsonl"),
        (("--format", "imagefolder", "-o", "x.jsonl"), "name it: -o PHOTOS/metadata.jsonl"),
        (("--format", "imagefolder", "-o", "metadata.jsonl", "--bom"), "--bom is for csv and tsv, not for imagefolder"),
        (("--format", "imagefolder", "-o", "metadata.jsonl", "--captions", "2"), "has one caption for each photo"),
        (("--sidecar", ".txt", "--existing", "append", "--captions", "2"), "--existing append adds one caption"),
        (("--format", "folder"), "choose one of text, csv, tsv, jsonl, imagefolder"),
    ],
)
def test_wrong_options_start_nothing(
    capcli: RunCommand, photos: Path, options: tuple[str | bytes, ...], message: str
) -> None:
    # The options that both commands have are looked at by the same code.
    alone = {"--bom", "--captions"} & set(options)
    file = captions_of(photos)
    before = sorted(photos.parent.rglob("*"))
    done = capcli(*(("caption", photos) if alone else ("apply", file)), *options, cwd=photos.parent)
    assert (done.code, done.out, done.errors.count("\n")) == (2, b"", 1) and message in done.errors
    assert sorted(photos.parent.rglob("*")) == before


def test_the_suffix_of_a_file_never_makes_an_image_folder(capcli: RunCommand, tiny: Path, photos: Path) -> None:
    out = photos / "metadata.jsonl"
    assert capcli("caption", photos, "-o", out, "--model", tiny).code == 0
    assert lines(out)[0].keys() >= {"path", "caption", "score"}


def test_what_lies_in_a_tar_is_in_no_folder(capcli: RunCommand, photos: Path) -> None:
    tar = shutil.make_archive(str(photos / "photos"), "tar", photos)
    done = capcli("caption", tar, "--format", "imagefolder", "-o", photos / "metadata.jsonl")
    assert (done.code, done.errors) == (
        2,
        f"capcli: {tar}: is a tar, whose photos an image folder cannot name; unpack it\n",
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--undo", "--format", "imagefolder", "-o", "metadata.jsonl"), "--undo writes no captions"),
        (("--undo", "--existing", "append"), "--undo puts back what was replaced"),
        (("--sidecar", ".txt", "--dry-run", "--format", "csv"), "--dry-run writes nothing"),
        (("-o", "out.csv"), "or --format imagefolder with -o"),
    ],
)
def test_apply_writes_no_training_set_where_none_is_meant(
    capcli: RunCommand, photos: Path, options: tuple[str, ...], message: str
) -> None:
    file = captions_of(photos)
    before = sorted(photos.parent.rglob("*"))
    done = capcli("apply", file, *options, cwd=photos.parent)
    assert (done.code, done.out, done.errors.count("\n")) == (2, b"", 1) and message in done.errors
    assert sorted(photos.parent.rglob("*")) == before


def test_a_dry_run_prints_the_whole_text_of_each_sidecar(capcli: RunCommand, photos: Path) -> None:
    (photos / "1.txt").write_text("a park\nat night\n")
    given = ("apply", captions_of(photos), "--sidecar", ".txt", "--existing", "append", "--prefix", "ohwx, ")
    done = capcli(*given, "--dry-run")
    told = [f"a park at night, ohwx, {SAID}", f"ohwx, {SAID}", f"ohwx, {SAID}"]
    places = [(photos / name).with_suffix(".txt") for name in NAMES]
    assert done.text == "".join(f"{place}\t{text}\n" for place, text in zip(places, told, strict=True))
    assert (done.code, (photos / "1.txt").read_text()) == (0, "a park\nat night\n") and not (photos / "2.txt").exists()
