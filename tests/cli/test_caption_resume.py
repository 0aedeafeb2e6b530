"""Runs that were killed, stopped or cut off, and gone on with."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from capcli.outputs.records import read_rows
from tests.conftest import RunCommand, command, environment
from tests.shapes import COLOURS, GROUNDS, SHAPES, draw

KILLS = 12


def write_photos(folder: Path, count: int) -> Path:
    chance = random.Random(count)
    folder.mkdir()
    kinds = [(shape, colour, ground) for shape in SHAPES for colour in COLOURS for ground in GROUNDS]
    drawn = [draw(*kind, 1000, 64) for kind in kinds]
    for number in range(count):
        chance.choice(drawn).save(folder / f"{'a, ' if number % 5 else ''}{number}.png")
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_photos(tmp_path_factory.mktemp("resume") / "photos", 500)
    (folder / "77 is broken.png").write_text("no photo")
    return folder


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
def test_killed_again_and_again_a_run_ends_as_if_it_never_was(
    capcli: RunCommand, tiny: Path, photos: Path, tmp_path: Path
) -> None:
    whole, out = tmp_path / "whole.csv", tmp_path / "killed.csv"
    assert capcli("caption", photos, "-o", whole, "--model", tiny).code == 1
    size = whole.stat().st_size
    chance = random.Random(9)
    killed = 0
    for moment in sorted(chance.randrange(size) for _ in range(KILLS)):
        process = subprocess.Popen(
            [command(), "caption", photos, "-o", out, "--resume", "--model", tiny, "--batch-size", "4"],
            env=environment(),
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 60
        while process.poll() is None and (out.stat().st_size if out.exists() else 0) < moment:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        time.sleep(chance.random() * 0.02)
        process.kill()
        killed += process.wait() == -signal.SIGKILL
    assert killed > KILLS // 2
    # No lock is left behind, and nobody needs to clean up.
    assert capcli("caption", photos, "-o", out, "--resume", "--model", tiny).code == 1
    before, after = ({row.path: row for row in read_rows(file, "csv")} for file in (whole, out))
    assert len(list(read_rows(out, "csv"))) == len(before) == 501
    assert after.keys() == before.keys()
    for path, row in before.items():
        assert (after[path].caption, after[path].error) == (row.caption, row.error)
        assert after[path].score == pytest.approx(row.score, abs=1e-3)
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".csv"] == []


# Runs the command's own entry again and again in one process: a process for every byte would take minutes.
CUT_ANYWHERE = """
import functools
import sys
from pathlib import Path
from capcli.cli import caption, run
from capcli.inputs import loaders

# Only the file is new each time, not the model, nor what reads the photos.
caption._load = functools.cache(caption._load)
loaders.Loaders = lambda count: None
out, tiny, photos = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
options = sys.argv[4:]
whole = out.read_bytes()
records = whole.splitlines(keepends=True)
for cut in range(len(whole) - len(records[-1]) - len(records[-2]), len(whole) + 1):
    out.write_bytes(whole[:cut])
    assert run(["caption", photos, "-o", str(out), "--resume", "--model", tiny, *options]) == 0, cut
    assert out.read_bytes() == whole, cut
    print(cut)
"""


@pytest.mark.parametrize(("name", "options"), [("x.csv", []), ("x.jsonl", []), ("x.tsv", ["--captions", "2"])])
def test_cut_at_every_byte_of_its_last_two_records_a_file_is_mended(
    capcli: RunCommand, tiny: Path, tmp_path: Path, name: str, options: list[str]
) -> None:
    write_photos(tmp_path / "p", 4)
    options = [*options, "--beam", "1", "--raw"]
    assert capcli("caption", "p", "-o", name, "--model", tiny, *options, cwd=tmp_path).code == 0
    records = (tmp_path / name).read_bytes().splitlines(keepends=True)
    done = subprocess.run(
        [sys.executable, "-c", CUT_ANYWHERE, name, tiny, "p", *options],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # A row of which some is left is done again, and told.
    told = {line.partition(b": line ")[2] for line in done.stderr.splitlines()}
    assert {note.partition(b" ")[2] for note in told} == {b"was not written to its end; that photo is done again"}
    assert len(done.stdout.split()) == len(records[-1]) + len(records[-2]) + 1


@pytest.fixture
def few(tmp_path: Path) -> Path:
    return write_photos(tmp_path / "few photos", 5)


def test_a_run_with_nothing_left_to_do_loads_no_model(
    capcli: RunCommand, tiny: Path, few: Path, tmp_path: Path
) -> None:
    out = tmp_path / "x.csv"
    assert capcli("caption", few, "-o", out, "--model", tiny).code == 0
    content = out.read_bytes()
    done = capcli("caption", few, "-o", out, "--model", tmp_path / "no such model", "--resume")
    assert (done.code, done.out, done.err) == (0, b"", b"")
    assert out.read_bytes() == content


def test_one_photo_that_wants_nothing_loads_no_model(capcli: RunCommand, tiny: Path, few: Path, tmp_path: Path) -> None:
    photo, missing = min(few.glob("*.png")), ("--model", tmp_path / "no such model", "--provider", "cuda")
    assert capcli("caption", photo, "--sidecar", ".txt", "--model", tiny).code == 0
    out = tmp_path / "x.csv"
    assert capcli("caption", photo, "-o", out, "--model", tiny).code == 0
    for options in (("--sidecar", ".txt"), ("-o", out, "--resume"), ("--dry-run",)):
        done = capcli("caption", photo, *options, *missing, "--quiet", env={"CUDA_VISIBLE_DEVICES": "-1"})
        assert (done.code, done.err) == (0, b""), options


def test_new_photos_are_added_and_mended_ones_retried(
    capcli: RunCommand, tiny: Path, few: Path, tmp_path: Path
) -> None:
    out = tmp_path / "x.csv"
    broken = few / "9.png"
    broken.write_bytes(b"")
    assert capcli("caption", few, "-o", out, "--model", tiny).code == 1
    first = out.read_bytes()
    draw("circle", "red", "white", 1000, 64).save(few / "10.png")
    draw("circle", "red", "white", 1000, 64).save(broken)
    done = capcli("caption", few, "-o", out, "--model", tiny, "--resume")
    assert done.code == 1, "a failure kept from the resumed file counts"
    assert out.read_bytes().startswith(first)
    told = f"capcli: 1 photo in {out} failed in an earlier run"
    assert done.errors == f"{told}; --retry-failed tries it again\n"
    # Nothing else is left to do, and the model is not needed to say so.
    done = capcli("caption", few, "-o", out, "--model", tmp_path / "no such model", "--resume")
    assert (done.code, done.errors) == (1, f"{told}; --retry-failed tries it again\n")
    done = capcli("caption", few, "-o", out, "--model", tiny, "--resume", "-q")
    assert (done.code, done.errors) == (1, "")
    others = few / "10.png"
    done = capcli("caption", others, "-o", out, "--model", tiny, "--resume", "--retry-failed")
    assert (done.code, done.errors) == (1, f"{told} and is not among the inputs of this one\n")
    done = capcli("caption", few, "-o", out, "--model", tiny, "--resume", "--retry-failed")
    assert (done.code, done.err) == (0, b"")
    rows = list(read_rows(out, "csv"))
    assert len(rows) == len({row.path for row in rows}) == 7
    assert {row.path: row.caption for row in rows}[str(broken)] == "A red circle on a white ground."


def test_other_settings_than_before_are_told(capcli: RunCommand, tiny: Path, few: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.csv"
    assert capcli("caption", few, "-o", out, "--model", tiny, "--beam", "2").code == 0
    draw("circle", "red", "white", 1000, 64).save(few / "new.png")
    done = capcli("caption", few, "-o", out, "--model", tiny, "--beam", "1", "--raw", "--resume")
    assert done.code == 0
    assert done.errors == (
        f"capcli: {out}: its rows were written with other settings (beam 2, now 1; raw False, now True); "
        "they stay as they are\n"
    )
    draw("circle", "red", "white", 1000, 64).save(few / "newer.png")
    done = capcli("caption", few, "-o", out, "--model", tiny, "--beam", "1", "--raw", "--resume")
    assert (done.code, done.err) == (0, b"")


def test_where_nothing_can_be_remembered_a_run_works_all_the_same(
    capcli: RunCommand, tiny: Path, few: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("no folder")
    out = tmp_path / "x.csv"
    env = {"XDG_STATE_HOME": str(tmp_path / "file")}
    done = capcli("caption", few, "-o", out, "--model", tiny, env=env)
    assert (done.code, done.err) == (0, b"")
    assert (capcli("caption", few, "-o", out, "--model", tiny, "--resume", "--beam", "1", env=env)).err == b""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--resume",), "-o FILE"),
        (("-o", "x.csv", "--resume", "--overwrite"), "--overwrite"),
        (("-o", "x.csv", "--retry-failed"), "--resume"),
        (("-o", "x.txt", "--spreadsheet-safe"), "--spreadsheet-safe"),
    ],
)
def test_options_that_do_not_go_together_start_nothing(
    capcli: RunCommand, tiny: Path, few: Path, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    done = capcli("caption", few, "--model", tiny, *options, cwd=tmp_path)
    assert (done.code, done.out, done.errors.count("\n")) == (2, b"", 1)
    assert message in done.errors
    assert sorted(path.name for path in tmp_path.iterdir()) == ["few photos"]


@pytest.fixture
def locked(few: Path, tiny: Path, tmp_path: Path) -> Iterator[Path]:
    """An output file that a run, waiting for its next path, has open."""
    out = tmp_path / "x.csv"
    process = subprocess.Popen(
        [command(), "caption", "-", "-o", out, "--model", tiny], env=environment(), stdin=subprocess.PIPE, bufsize=0
    )
    assert process.stdin is not None
    process.stdin.write(os.fsencode(few / "0.png") + b"\n")
    deadline = time.monotonic() + 60
    while not (out.exists() and out.read_bytes().count(b"\n") > 1):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    yield out
    process.kill()
    process.wait()
    process.stdin.close()


@pytest.mark.parametrize("how", ["--resume", "--overwrite"])
def test_two_runs_cannot_write_one_file(capcli: RunCommand, tiny: Path, few: Path, locked: Path, how: str) -> None:
    before = locked.read_bytes()
    done = capcli("caption", few, "-o", locked, "--model", tiny, how)
    assert (done.code, done.errors) == (4, f"capcli: {locked}: is being written by another run of capcli\n")
    assert locked.read_bytes() == before


def test_a_hand_edited_file_is_refused_by_its_line(capcli: RunCommand, tiny: Path, few: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.csv"
    assert capcli("caption", few, "-o", out, "--model", tiny).code == 0
    edited = out.read_bytes().replace(b",A ", b',A 5" ', 1)
    out.write_bytes(edited)
    done = capcli("caption", few, "-o", out, "--model", tiny, "--resume")
    assert (done.code, done.out, done.errors.count("\n")) == (2, b"", 1)
    assert "x.csv: cannot be gone on with: line 2: a quote stands within a cell" in done.errors
    assert out.read_bytes() == edited
    notes = tmp_path / "notes.txt"
    notes.write_text("Buy milk")
    done = capcli("caption", few, "-o", notes, "--model", tiny, "--resume")
    assert (done.code, done.errors.count("\n")) == (2, 1) and "line 1: has no end" in done.errors
    assert notes.read_text() == "Buy milk"


def test_sidecars_asked_for_later_need_no_model(capcli: RunCommand, tiny: Path, few: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.csv"
    assert capcli("caption", few, "-o", out, "--model", tiny).code == 0
    before = out.read_bytes()
    done = capcli("caption", few, "-o", out, "--model", "no such model", "--resume", "--sidecar", ".txt")
    assert (done.code, done.out, done.err) == (0, b"", b"")
    assert out.read_bytes() == before
    said = {Path(row.path).with_suffix(".txt").name: f"{row.caption}\n" for row in read_rows(out, "csv")}
    assert {path.name: path.read_text("utf-8") for path in few.glob("*.txt")} == said


def test_a_folder_spelled_otherwise_is_told_in_one_line(
    capcli: RunCommand, tiny: Path, few: Path, tmp_path: Path
) -> None:
    def again(spelled: str | Path) -> tuple[int, int]:
        done = capcli(
            "caption", spelled, "-o", "x.csv", "--model", "none", "--resume", cwd=tmp_path, env={"PWD": str(tmp_path)}
        )
        return done.code, done.errors.count("count as done however their paths are spelled")

    assert capcli("caption", few.name, "-o", "x.csv", "--model", tiny, cwd=tmp_path).code == 0
    assert [again(few.name), again(f"./{few.name}"), again(few)] == [(0, 0), (0, 1), (0, 1)]
    assert len(list(read_rows(tmp_path / "x.csv", "csv"))) == 5


def test_a_picture_on_standard_input_cannot_be_gone_on_with(
    capcli: RunCommand, tiny: Path, few: Path, tmp_path: Path
) -> None:
    picture = (few / "0.png").read_bytes()
    done = capcli("caption", "-", "-o", "x.csv", "--resume", "--model", tiny, cwd=tmp_path, stdin=picture)
    assert (done.code, done.out, done.errors.count("\n")) == (2, b"", 1)
    assert "--resume cannot know a picture on standard input" in done.errors
    assert not (tmp_path / "x.csv").exists()
    assert capcli("caption", "-", "-o", "x.csv", "--model", tiny, cwd=tmp_path, stdin=picture).code == 0


def test_a_file_of_one_photo_that_is_to_be_gone_on_with_has_its_path(
    capcli: RunCommand, tiny: Path, few: Path, tmp_path: Path
) -> None:
    one, other = sorted(few.glob("*.png"))[:2]
    out = tmp_path / "out.txt"
    for given in ([one], [one, other]):
        assert capcli("caption", *given, "--model", tiny, "--resume", "-o", out).code == 0
        assert [line.split("\t")[0] for line in out.read_text().splitlines()] == list(map(str, given))


MARK = b"\xef\xbb\xbf"


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [("x.csv", ["--bom"], []), ("x.csv", [], ["--bom"]), ("x.tsv", ["--bom"], ["--bom"])],
)
def test_a_byte_order_mark_for_excel_is_written_once_and_kept(
    capcli: RunCommand, tiny: Path, few: Path, tmp_path: Path, name: str, first: list[str], second: list[str]
) -> None:
    photos = sorted(few.iterdir())
    assert capcli("caption", *photos[:2], "-o", name, "--model", tiny, *first, cwd=tmp_path).code == 0
    content = (tmp_path / name).read_bytes()
    assert content.startswith(MARK) == bool(first) and content.removeprefix(MARK).startswith(b"path")
    done = capcli("caption", *photos, "-o", name, "--model", tiny, "--resume", *second, cwd=tmp_path)
    told = f"capcli: {name}: has no byte order mark; --bom begins a new file with one, and adds none to this\n"
    assert (done.code, done.errors) == (0, told if second and not first else "")
    after = (tmp_path / name).read_bytes()
    assert after.startswith(content) and after.count(MARK) == len(first)
    assert len(list(read_rows(tmp_path / name, name[2:]))) == 5


@pytest.mark.parametrize("options", [["--bom"], []])
def test_killed_within_the_header_a_file_gets_the_mark_that_it_was_to_have(
    capcli: RunCommand, tiny: Path, few: Path, tmp_path: Path, options: list[str]
) -> None:
    photo, out = few / "0.png", tmp_path / "x.csv"
    assert capcli("caption", photo, "-o", out, "--model", tiny, *options).code == 0
    content = out.read_bytes()
    for cut in (1, 2, 3, 4, 9):
        out.write_bytes(content[:cut])
        capcli("caption", photo, "-o", out, "--model", tiny, "--resume", *options)
        assert out.read_bytes() == content


def test_a_byte_order_mark_is_refused_where_nothing_wants_it(capcli: RunCommand, tiny: Path, few: Path) -> None:
    for form in ("jsonl", "text"):
        done = capcli("caption", few, "--bom", "--format", form, "--model", tiny)
        assert (done.code, done.out) == (2, b"") and "--bom is for csv and tsv" in done.errors


@pytest.mark.skipif(sys.platform != "linux", reason="names that are no UTF-8")
@pytest.mark.parametrize("name", ["x.csv", "x.tsv", "x.txt", "x.jsonl"])
def test_names_that_are_not_utf8_keep_their_bytes_and_are_told_of_once(
    capcli: RunCommand, tiny: Path, few: Path, tmp_path: Path, name: str
) -> None:
    for old, new in (("0.png", b"caf\xe9.png"), ("1.png", b"\xff.png")):
        found = next(path for path in few.iterdir() if path.name.endswith(old))
        os.rename(found, os.path.join(os.fsencode(few), new))
    done = capcli("caption", few, "-o", name, "--model", tiny, cwd=tmp_path)
    assert done.code == 0 and done.errors.count("\n") == (name != "x.jsonl")
    assert (b"caf\xe9.png" in (tmp_path / name).read_bytes()) == (name != "x.jsonl")
    if name == "x.jsonl":
        return
    assert 'pandas read them with encoding="utf-8", errors="surrogateescape"' in done.errors
    text = (tmp_path / name).read_text(encoding="utf-8", errors="surrogateescape")
    assert os.fsdecode(b"caf\xe9.png") in text
    done = capcli("caption", few, "--model", tiny, "--format", "csv")
    assert done.errors.count("surrogateescape") == 1
    again = capcli("caption", few, "-o", name, "--model", tiny, "--resume", cwd=tmp_path)
    assert (again.code, again.err) == (0, b"")
