"""Jobs on Ray, which really runs: the rows of the plain command, whatever is killed when."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray", reason="needs the ray extra")
pytest.importorskip("pyarrow", reason="needs the ray extra")

from capcli.outputs import Existing
from capcli.outputs.provenance import Provenance
from capcli.outputs.records import read_rows
from capcli.scale_out.output_folder import OutputFolder
from tests.cli.test_caption_tars import pack, write_set
from tests.conftest import Finished, RunCommand, command, environment
from tests.shapes import draw

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals, and names that Windows does not have")

Row = tuple[str, str | None, float | None, str | None]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Ray writes into the user's home."""
    return {"HOME": str(tmp_path_factory.mktemp("home")), "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 photos of odd names, six of them broken."""
    folder = write_set(tmp_path_factory.mktemp("job") / "photos", 55)
    for name in ("two\nlines.png", "wh?t#.png", "100%41.png", "é 漢字.png", "\udcff.png"):
        draw("circle", "red", "white", 1000, 64).save(folder / name)
    return folder


@pytest.fixture(scope="module")
def plain(capcli: RunCommand, tiny: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    """The rows of the plain command."""
    out = tmp_path_factory.mktemp("plain") / "x.jsonl"
    assert capcli("caption", "photos", "-o", out, "--model", tiny, cwd=photos.parent).code == 1
    rows = [(row.path, row.caption, row.score, row.error) for row in read_rows(out, "jsonl")]
    assert len(rows) == 60 and sum(row[3] is not None for row in rows) == 6
    return sorted((row[0].replace("\udcff", "\\udcff"), *row[1:]) for row in rows)


def rows_of(out: Path) -> list[Row]:
    import pyarrow.parquet

    names = ["path", "caption", "score", "error"]
    rows: list[Row] = []
    for part in out.glob("captions-*.parquet"):
        table = pyarrow.parquet.read_table(part)
        assert [str(kind) for kind in table.schema.types] == ["string", "string", "double", "string"]
        rows += zip(*(table.column(name).to_pylist() for name in names), strict=True)
    for part in (*out.glob("captions-*.csv"), *out.glob("captions-*.jsonl")):
        rows += [(row.path, row.caption, row.score, row.error) for row in read_rows(part, part.suffix[1:])]
    return sorted(rows)


def same(found: list[Row], wanted: list[Row]) -> bool:
    assert [row[:2] + row[3:] for row in found] == [row[:2] + row[3:] for row in wanted]
    assert [row[2] for row in found] == [None if row[2] is None else pytest.approx(row[2], abs=1e-3) for row in wanted]
    return True


@pytest.fixture
def job(capcli: RunCommand, tiny: Path, photos: Path, home: dict[str, str], tmp_path: Path) -> Callable[..., Finished]:
    """Runs a job from the folder above the photos, with its rows in `out`."""

    def run(*options: str, given: str = "photos") -> Finished:
        arguments = ("ray", given, tmp_path / "out", "--model", tiny, *options)
        return capcli(*arguments, cwd=photos.parent, env=home)

    return run


def test_one_actor_and_two_write_the_rows_of_the_plain_command(
    job: Callable[..., Finished], plain: list[Row], tmp_path: Path
) -> None:
    for number, form in (("1", "csv"), ("2", "parquet")):
        done = job("--actors", number, "--format", form, "--overwrite", "--batch-size", "8")
        assert done.code == 1 and done.out == b""
        assert sorted(line.split(": ")[1] for line in done.errors.splitlines()) == sorted(
            row[0].replace("\n", "\\n") for row in plain if row[3] is not None
        )
        assert same(rows_of(tmp_path / "out"), plain)
    # Nothing is left: Ray is not even started.
    before = sorted(os.listdir(tmp_path / "out"))
    done = job("--resume", "--address", "no.such.cluster:1")
    assert (done.code, done.err, sorted(os.listdir(tmp_path / "out"))) == (1, b"", before)
    done = job()
    assert done.code == 2 and "is not empty; use --resume" in done.errors


def test_failed_photos_are_tried_again_in_their_place(
    capcli: RunCommand, tiny: Path, home: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "p").mkdir()
    draw("circle", "red", "white", 1000, 64).save(tmp_path / "p" / "b.png")
    out = OutputFolder(tmp_path / "out", "jsonl", Existing.REFUSE)
    with out.locked():
        out.begin(Provenance("tiny", "other weights", 3, 12, 0.7, 2, False))
        said = '{"path": "p/a.png", "rank": 1, "caption": "A", "score": -1, "error": null}\n'
        failed = said.replace("a.png", "b.png").replace('"A"', "null").replace("null}", '"is empty"}')
        (out.path / f"{out.prefix}_{'0' * 32}_000000.jsonl").write_text(said + failed)
    options = ["--model", tiny, "--format", "jsonl", "--captions", "2", "--resume", "--retry-failed"]
    done = capcli("ray", "p", "out", *options, cwd=tmp_path, env=home)
    assert (done.code, done.errors) == (
        0,
        "capcli: out: its rows were written with other settings (another version of model tiny); they stay as they "
        "are\n",
    )
    rows = rows_of(tmp_path / "out")
    assert Counter(row[0] for row in rows) == {"p/a.png": 1, "p/b.png": 2}
    assert all(row[1] and row[3] is None for row in rows)


def children_of(process: int) -> Iterator[tuple[int, str]]:
    """All processes below one, with their names."""
    listing = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout
    known = {process}
    for _ in range(4):
        for line in listing.splitlines()[1:]:
            number, parent, name = line.split(None, 2)
            if int(parent) in known and int(number) not in known:
                known.add(int(number))
                yield int(number), name


def test_killed_in_mid_run_nothing_is_lost_doubled_or_done_twice(
    job: Callable[..., Finished], tiny: Path, photos: Path, plain: list[Row], home: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    arguments: list[Any] = [command(), "ray", "photos", out, "--model", tiny, "--batch-size", "2", "--actors", "2"]
    process = subprocess.Popen(
        arguments, cwd=photos.parent, env=environment(**home), stderr=subprocess.DEVNULL, stdout=subprocess.PIPE
    )

    def wait_for_parts(count: int) -> None:
        deadline = time.monotonic() + 120
        while process.poll() is None and len(list(out.glob("captions-*"))) < count:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    # Ray does by itself what a lost actor was at.
    wait_for_parts(1)
    actors = [number for number, name in children_of(process.pid) if "CaptionPhotos" in name]
    assert len(actors) == 2
    os.kill(actors[0], signal.SIGKILL)
    wait_for_parts(4)
    process.kill()
    assert process.wait(60) == -signal.SIGKILL
    assert process.stdout is not None and process.stdout.read() == b""
    # Its workers end a moment after it.
    deadline = time.monotonic() + 60
    while any(os.path.exists(f"/proc/{actor}") for actor in actors) and time.monotonic() < deadline:
        time.sleep(0.1)
    finished = {part.name: part.stat().st_mtime_ns for part in out.glob("captions-*")}
    assert job("--resume", "--actors", "2").code == 1
    assert same(rows_of(out), plain)
    # What was whole was left as it was, and is in no other part.
    after = {part.name: part.stat().st_mtime_ns for part in out.glob("captions-*")}
    torn = {part.name[1:].removesuffix(".torn") for part in out.glob("_captions-*")}
    assert after.items() >= {(name, when) for name, when in finished.items() if name not in torn}


def test_what_cannot_be_done_is_one_line(job: Callable[..., Finished], photos: Path) -> None:
    for options, said in [
        (["--resume", "--overwrite"], "give one of them"),
        (["--retry-failed"], "goes with --resume"),
        (["--actors", "0"], "--actors is 0"),
        (["--format", "xml"], "choose one of parquet, csv, jsonl"),
    ]:
        done = job(*options)
        assert done.code == 2 and said in done.errors and done.errors.count("\n") == 1
    tar = pack(photos.parent / "x.tar", photos)
    done = job(given=str(tar))
    assert done.code == 2 and "lies in a tar" in done.errors and done.errors.count("\n") == 1


LIBRARY = """
import sys
import ray, ray.data
from capcli import BundleError, UsageError
from capcli.scale_out import caption_dataset, read_photos
from capcli.scale_out.cluster import Need, check_bundle, check_need

folder, tiny, tar = sys.argv[1:]
ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False)
ray.data.DataContext.get_current().enable_progress_bars = False
found = caption_dataset(read_photos(folder), model=tiny, provider="cpu", actors=2, batch_size=8).to_pandas()
assert list(found) == ["path", "caption", "score", "error"], list(found)
assert len(found) == 55 and found["error"].notna().sum() == 6
shards = ray.data.read_webdataset(tar, decoder=None, suffixes=["png", "txt"])
tars = caption_dataset(shards.filter(lambda row: row.get("png") is not None), image="png", model=tiny).to_pandas()
assert {"__key__", "txt", "caption"} <= set(tars) and "png" not in tars
check_need(Need(2, 1, 0), "here")
for need, said in [(Need(1, 3, 0), "has 3 CPUs; 1 actors with 3 each"), (Need(1, 1, 99), "1 actors with 99 each need")]:
    try:
        check_need(need, "here")
        raise AssertionError(said)
    except UsageError as error:
        assert said in str(error), error
for place, fingerprint, said in [("/no/such", "x", "no such bundle"), (tiny, "x", "another version")]:
    try:
        check_bundle(place, fingerprint, "cpu", Need(2, 1, 0))
        raise AssertionError(said)
    except BundleError as error:
        assert "which every node must" in str(error) and said in str(error), error
print(found["caption"].notna().sum(), tars["caption"].notna().sum())
"""


def test_datasets_of_bytes_and_of_webdataset_are_captioned(tiny: Path, home: dict[str, str], tmp_path: Path) -> None:
    photos = write_set(tmp_path / "photos", 55)
    tar = pack(tmp_path / "x.tar", photos)
    done: Any = subprocess.run(
        [sys.executable, "-c", LIBRARY, photos, tiny, tar],
        env=environment(RAY_USAGE_STATS_ENABLED="0", **home),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] == "49" and int(done.stdout.split()[1]) > 20
