"""`capcli caption` with tars: the rows of the folder that a tar was made from, whatever stops the run."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import tarfile
import time
from pathlib import Path

import pytest

from capcli.outputs.records import read_rows
from capcli.outputs.rows import Row
from tests.conftest import Finished, RunCommand, command, environment
from tests.shapes import COLOURS, GROUNDS, SHAPES, draw

SAID = "A red circle on a white ground."


def write_set(folder: Path, count: int) -> Path:
    """A set as WebDataset has it: a photo, its text and its JSON under one key; every seventh photo is broken."""
    chance = random.Random(count)
    folder.mkdir()
    kinds = [(shape, colour, ground) for shape in SHAPES for colour in COLOURS for ground in GROUNDS]
    for number in range(count):
        key = folder / f"{number:05}"
        draw(*chance.choice(kinds), 1000, 64).save(key.with_suffix(".png" if number % 2 else ".jpg"))
        key.with_suffix(".txt").write_text("said by somebody")
        key.with_suffix(".json").write_text("{}")
        if number % 7 == 3:
            photo = key.with_suffix(".png" if number % 2 else ".jpg")
            photo.write_bytes(photo.read_bytes()[: number * 10])
    return folder


def pack(tar: Path, folder: Path) -> Path:
    with tarfile.open(tar, "w:gz" if tar.suffix == ".gz" else "w") as writer:
        for path in sorted(folder.iterdir()):
            writer.add(path, path.name)
    return tar


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("sets") / "photos", 60)


def rows_of(path: Path) -> dict[str, Row]:
    rows = list(read_rows(path, path.suffix[1:]))
    found = {row.path: row for row in rows}
    assert len(found) == len(rows)
    return found


@pytest.mark.parametrize("name", ["x.tar", "x.tar.gz"])
def test_a_tar_has_the_rows_of_the_folder_it_was_made_from(
    capcli: RunCommand, tiny: Path, photos: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / "shards").mkdir()
    pack(tmp_path / "shards" / name, photos)
    single = tmp_path / "a.png"
    draw("circle", "red", "white", 1000, 64).save(single)
    before, after = tmp_path / "folder.csv", tmp_path / "tar.csv"
    assert capcli("caption", photos, "-o", before, "--model", tiny).code == 1
    done = capcli("caption", f"shards/{name}", "a.png", "-o", after, "--model", tiny, cwd=tmp_path)
    assert done.code == 1 and done.out == b""
    found = rows_of(after)
    assert found.pop("a.png").caption == SAID
    wanted = {f"shards/{name}/{Path(path).name}": row for path, row in rows_of(before).items()}
    assert list(found) == list(wanted) and len(found) == 60
    for path, row in wanted.items():
        assert (found[path].caption, found[path].error) == (row.caption, row.error)
        assert found[path].score == pytest.approx(row.score, abs=1e-3)
    # Nothing was unpacked, here or elsewhere.
    assert sorted(os.listdir(tmp_path)) == ["a.png", "folder.csv", "shards", "tar.csv"]
    assert os.listdir(tmp_path / "shards") == [name]


def test_the_only_photo_of_a_tar_is_printed_with_its_path(capcli: RunCommand, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    draw("circle", "red", "white", 1000, 64).save(tmp_path / "p" / "k.png")
    pack(tmp_path / "x.tar", tmp_path / "p")
    done = capcli("caption", "x.tar", "--model", tiny, cwd=tmp_path)
    assert (done.code, done.text, done.errors) == (0, f"x.tar/k.png\t{SAID}\n", "")


def wait_until(path: Path, size: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while process.poll() is None and (path.stat().st_size if path.exists() else 0) < size:
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.mark.skipif(os.name == "nt", reason="no such signals")
def test_stopped_and_killed_in_mid_tar_a_run_is_gone_on_with(
    capcli: RunCommand, tiny: Path, photos: Path, tmp_path: Path
) -> None:
    tars = [pack(tmp_path / name, photos) for name in ("1.tar", "2.tar.gz", "3.tar")]
    whole, out = tmp_path / "whole.csv", tmp_path / "out.csv"
    assert capcli("caption", *tars, "-o", whole, "--model", tiny).code == 1
    size, ends = whole.stat().st_size, []
    for part, number in ((0.2, signal.SIGINT), (0.4, signal.SIGKILL), (0.7, signal.SIGINT)):
        process = subprocess.Popen(
            [command(), "caption", *tars, "-o", out, "--resume", "--model", tiny, "--batch-size", "2"],
            env=environment(),
            stderr=subprocess.DEVNULL,
        )
        wait_until(out, int(part * size), process)
        process.send_signal(number)
        ends.append(process.wait(60))
    assert set(ends) <= {130, -signal.SIGKILL, 1} and set(ends) != {1}
    assert capcli("caption", *tars, "-o", out, "--resume", "--model", tiny).code == 1
    assert rows_of(out).keys() == rows_of(whole).keys() and len(rows_of(out)) == 180
    assert {path: row.caption for path, row in rows_of(out).items()} == {
        path: row.caption for path, row in rows_of(whole).items()
    }
    # What is done needs neither the model nor a photo's bytes.
    content = out.read_bytes()
    done = capcli("caption", *tars, "-o", out, "--resume", "--model", tmp_path / "no such model")
    assert (done.code, out.read_bytes()) == (1, content)
    assert b"failed in an earlier run" in done.err and done.err.count(b"\n") == 1


@pytest.mark.parametrize(("name", "option"), [("x.tar", []), ("x.tar.gz", ["--retry-failed"])])
def test_a_torn_tar_gives_what_is_there_and_is_gone_on_with_when_it_is_whole(
    capcli: RunCommand, tiny: Path, photos: Path, tmp_path: Path, name: str, option: list[str]
) -> None:
    few = tmp_path / "few"
    few.mkdir()
    for path in sorted(photos.iterdir())[:9]:
        shutil.copy(path, few)
    content = pack(tmp_path / name, few).read_bytes()
    (tmp_path / name).write_bytes(content[: int(len(content) * (0.3 if name == "x.tar" else 0.8))])

    def run(*options: str) -> Finished:
        return capcli("caption", name, "-o", "x.jsonl", "--model", tiny, *options, cwd=tmp_path)

    done = run()
    rows = rows_of(tmp_path / "x.jsonl")
    *read, last = rows.values()
    assert done.code == 1 and done.errors.splitlines() == [f"capcli: {name}: {last.error}"]
    assert last.path == name and (last.error or "").startswith("ends too early; nothing after ")
    assert 0 < len(read) < 3 and all(row.caption for row in read)
    assert run("--resume").code == 1
    assert rows_of(tmp_path / "x.jsonl") == rows
    (tmp_path / name).write_bytes(content)
    done = run("--resume", *option)
    assert (done.code, done.err) == (0, b"")
    assert list(rows_of(tmp_path / "x.jsonl")) == [f"{name}/{key}" for key in ("00000.jpg", "00001.png", "00002.jpg")]


def test_a_tar_that_is_not_there_or_holds_no_photo_costs_one_line(
    capcli: RunCommand, tiny: Path, tmp_path: Path
) -> None:
    (tmp_path / "p").mkdir()
    pack(tmp_path / "empty.tar", tmp_path / "p")
    draw("circle", "red", "white", 1000, 64).save(tmp_path / "p" / "k.png")
    pack(tmp_path / "x.tar", tmp_path / "p")
    done = capcli("caption", "gone.tar", "empty.tar", "x.tar", "--json", "--model", tiny, cwd=tmp_path)
    rows = [json.loads(line) for line in done.text.splitlines()]
    assert done.code == 1
    assert [(row["path"], row["caption"], row["error"]) for row in rows] == [
        ("gone.tar", None, "no such file"),
        ("empty.tar", None, "holds no photo"),
        ("x.tar/k.png", SAID, None),
    ]
    assert done.errors == "capcli: gone.tar: no such file\ncapcli: empty.tar: holds no photo\n"


def test_what_lies_in_a_tar_has_no_place_beside_it(
    capcli: RunCommand, tiny: Path, photos: Path, tmp_path: Path
) -> None:
    tar = pack(tmp_path / "x.tar", photos)
    content = tar.read_bytes()
    for option in (["--sidecar", ".txt", "-o", "x.csv"], ["--write-metadata"]):
        done = capcli("caption", "x.tar", *option, "--model", tiny, cwd=tmp_path)
        assert (done.code, done.out, done.errors.count("\n")) == (2, b"", 1)
        assert done.errors.startswith("capcli: x.tar: is a tar, in which there is no place")
    for option in (["--overwrite"], ["--resume"]):
        done = capcli("caption", "x.tar", "-o", "x.tar", "--format", "csv", *option, "--model", tiny, cwd=tmp_path)
        assert (done.code, done.out) == (2, b"")
        assert done.errors == "capcli: x.tar: is one of the inputs, and is never replaced; name another output file\n"
    assert tar.read_bytes() == content and os.listdir(tmp_path) == ["x.tar"]


def test_a_name_that_comes_twice_in_a_tar_has_one_row_in_a_file(capcli: RunCommand, tiny: Path, tmp_path: Path) -> None:
    names = ["k.png", "./k.png", "two\nlines.png", "\udcff.png", "/abs.png"]
    photo = tmp_path / "a.png"
    draw("circle", "red", "white", 1000, 64).save(photo)
    with tarfile.open(tmp_path / "x.tar", "w", errors="surrogateescape") as tar:
        for name in [*names, "k.png", "../a.png"]:
            info = tarfile.TarInfo(name)
            info.size = photo.stat().st_size
            with photo.open("rb") as file:
                tar.addfile(info, file)
    for _ in range(2):
        done = capcli("caption", "x.tar", photo.name, "-o", "x.csv", "--resume", "--model", tiny, cwd=tmp_path)
        assert done.code == 1
        rows = rows_of(tmp_path / "x.csv")
        said = [f"x.tar/{name}" for name in names if name != "./k.png"]
        assert list(rows) == [*said, "x.tar", "a.png"]
        assert all(rows[path].caption == SAID for path in [*said, "a.png"])
