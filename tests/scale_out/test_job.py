"""Jobs on Ray, which really runs: the rows of the plain command, whatever is killed when."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray", reason="needs the ray extra")
pytest.importorskip("pyarrow", reason="needs the ray extra")

from capcli import BundleError, UsageError
from capcli.cli.ray import ray as capcli_ray
from capcli.outputs import Existing
from capcli.outputs.provenance import Provenance
from capcli.outputs.records import read_rows
from capcli.outputs.rows import row_format
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
def address(home: dict[str, str]) -> Iterator[str]:
    """That of a cluster, to which this process is connected: a start for each test would take most of the time."""
    import ray
    import ray.data

    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**home, "RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}.items():
            patch.setenv(name, value)
        ray.init(address="local", num_cpus=3, include_dashboard=False, log_to_driver=False)
        ray.data.DataContext.get_current().enable_progress_bars = False
        yield ray.get_runtime_context().gcs_address
        ray.shutdown()


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
        kinds = {"string": ("path", "caption", "error"), "double": ("score",)}
        assert all(str(table.schema.field(name).type) == kind for kind, which in kinds.items() for name in which)
        rows += zip(*(table.column(name).to_pylist() for name in names), strict=True)
    for part in (*out.glob("captions-*.csv"), *out.glob("captions-*.jsonl")):
        rows += [(row.path, row.caption, row.score, row.error) for row in read_rows(part, part.suffix[1:])]
    return sorted(rows)


def same(found: list[Row], wanted: list[Row]) -> bool:
    assert [row[:2] + row[3:] for row in found] == [row[:2] + row[3:] for row in wanted]
    assert [row[2] for row in found] == [None if row[2] is None else pytest.approx(row[2], abs=1e-3) for row in wanted]
    return True


@pytest.fixture
def job(
    address: str,
    tiny: Path,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Callable[..., tuple[int, list[str]]]:
    """Runs a job in the cluster that is there, with its rows in `out`: the exit code, and the lines on stderr."""

    def run(**options: Any) -> tuple[int, list[str]]:
        monkeypatch.chdir(photos.parent)
        code = capcli_ray(["photos", str(tmp_path / "out")], **{"model": str(tiny), **options})
        printed = capfd.readouterr()
        assert printed.out == ""
        return code, printed.err.splitlines()

    return run


def test_one_actor_and_two_write_the_rows_of_the_plain_command(
    job: Callable[..., tuple[int, list[str]]], plain: list[Row], tmp_path: Path
) -> None:
    for number, form in ((1, "csv"), (2, "parquet")):
        code, lines = job(actors=number, format_=form, overwrite=True, batch_size=8)
        assert code == 1
        assert sorted(line.split(": ")[1] for line in lines) == sorted(row[0] for row in plain if row[3] is not None)
        assert same(rows_of(tmp_path / "out"), plain)
    # A limit ends a job with so many photos, and the next one goes on.
    _, lines = job(limit=20, overwrite=True, quiet=True)
    assert (lines, len(rows_of(tmp_path / "out"))) == ([], 20)
    assert job(resume=True, quiet=True) == (1, [])
    assert same(rows_of(tmp_path / "out"), plain)
    # Nothing is left: Ray is not even started.
    before = sorted(os.listdir(tmp_path / "out"))
    code, lines = job(resume=True, address="no.such.cluster:1")
    assert code == 1 and sorted(os.listdir(tmp_path / "out")) == before
    assert [line.partition("out ")[2] for line in lines] == [
        "failed in an earlier run; --retry-failed tries them again"
    ]
    with pytest.raises(UsageError, match="is not empty; use --resume"):
        job()


def test_failed_photos_are_tried_again_in_their_place(
    address: str,
    tiny: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("p").mkdir()
    draw("circle", "red", "white", 1000, 64).save("p/b.png")
    out = OutputFolder(Path("out"), "jsonl", Existing.REFUSE)
    with out.locked():
        out.begin(Provenance("tiny", "other weights", 3, 12, 0.7, 2, False))
        said = '{"path": "p/a.png", "rank": 1, "caption": "A", "score": -1, "error": null}\n'
        failed = said.replace("a.png", "b.png").replace('"A"', "null").replace("null}", '"is empty"}')
        (out.path / f"{out.prefix}_{'0' * 32}_000000.jsonl").write_text(said + failed)
    options: dict[str, Any] = {"model": str(tiny), "format_": "jsonl", "resume": True, "retry_failed": True}
    with pytest.raises(UsageError, match="add --captions 2"):
        capcli_ray(["p", "out"], **options)
    assert capcli_ray(["p", "out"], captions=2, **options) == 0
    assert capfd.readouterr().err == (
        "capcli: out: its rows were written with other settings (another version of model tiny); they stay as they "
        "are\n"
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


def wait_until(happens: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not happens():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_killed_in_mid_run_nothing_is_lost_doubled_or_done_twice(
    job: Callable[..., tuple[int, list[str]]],
    address: str,
    tiny: Path,
    photos: Path,
    plain: list[Row],
    home: dict[str, str],
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"

    def start(*options: str) -> subprocess.Popen[bytes]:
        arguments = [command(), "ray", "photos", out, "--model", tiny, "--batch-size", "2", *options]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(arguments, cwd=photos.parent, env=environment(**home), **pipes)  # type: ignore[call-overload,no-any-return]

    def parts() -> dict[str, int]:
        return {part.name: part.stat().st_mtime_ns for part in out.glob("captions-*")}

    # Ray does by itself what a lost actor was at.
    process = start("--actors", "2")
    wait_until(parts)
    actors = [number for number, name in children_of(process.pid) if "CaptionPhotos" in name]
    assert len(actors) == 2
    os.kill(actors[0], signal.SIGKILL)
    wait_until(lambda: len(parts()) >= 4)
    process.kill()
    assert process.communicate()[0] == b"" and process.returncode == -signal.SIGKILL
    # Its workers end a moment after it.
    wait_until(lambda: not any(os.path.exists(f"/proc/{actor}") for actor in actors))
    finished = parts()
    # Ctrl-C as soon as the next run has begun.
    process = start("--resume", "--address", address)
    wait_until(lambda: len(json.loads((out / "_capcli.json").read_text())["runs"]) == 2)
    process.send_signal(signal.SIGINT)
    said = process.communicate()[1].decode().splitlines()
    assert process.returncode == 130 and said[-1].startswith("capcli: stopped; ")
    assert all("was not written to its end" in line for line in said[:-1])
    code, _ = job(resume=True, actors=2)
    assert code == 1 and same(rows_of(out), plain)
    # What was whole was left as it was, and is in no other part.
    torn = {part.name[1:].removesuffix(".torn") for part in out.glob("_captions-*")}
    assert parts().items() >= {(name, when) for name, when in finished.items() if name not in torn}


def test_what_cannot_be_done_is_one_line(capcli: RunCommand, photos: Path, tmp_path: Path) -> None:
    tar = pack(photos.parent / "x.tar", photos)

    def run(*options: Any, **more: Any) -> Finished:
        return capcli("ray", *options, cwd=photos.parent, **more)

    out = tmp_path / "out"
    for done, said in [
        (run("photos", out, "--gpus-per-actor", "1.5"), "--gpus-per-actor is 1.5; it must be from 0 to 1, or a whole"),
        (run(tar, out), "lies in a tar"),
        (run("-", "photos/new/out", stdin=b"photos\n"), "must not hold photos, or lie among them"),
    ]:
        assert done.code == 2 and said in done.errors and done.errors.count("\n") == 1
    refused: list[tuple[dict[str, Any], str]] = [
        ({"resume": True, "overwrite": True}, "give one of them"),
        ({"retry_failed": True}, "goes with --resume"),
        ({"actors": 0}, "--actors is 0"),
        ({"batch_size": 10**6}, "--batch-size is 1000000; it must be at most"),
        ({"format_": "xml"}, "choose one of parquet, csv, jsonl"),
    ]
    for options, said in refused:
        with pytest.raises(UsageError, match=said):
            capcli_ray(["photos", str(out)], **options)
    inside = photos.parent / "photos" / "new"
    with pytest.raises(UsageError, match="must not hold photos, or lie among them"):
        capcli_ray([f"file://{photos}", str(inside)])
    assert not out.exists() and not inside.exists()


def test_datasets_of_bytes_and_of_webdataset_are_captioned(address: str, tiny: Path, tmp_path: Path) -> None:
    import ray.data

    from capcli.scale_out import caption_dataset, read_photos
    from capcli.scale_out.cluster import Need, check_bundle, check_need

    photos = write_set(tmp_path / "photos", 55)
    tar = pack(tmp_path / "x.tar", photos)
    found = caption_dataset(read_photos(str(photos)), model=tiny, provider="cpu", batch_size=8).to_pandas()
    assert list(found) == ["path", *row_format("jsonl", ranked=False).columns[1:]]
    assert len(found) == 55 and found["error"].notna().sum() == 6
    shards = ray.data.read_webdataset(str(tar), decoder=None, suffixes=["png", "txt"])
    shards = shards.filter(lambda row: row.get("png") is not None)
    tars = caption_dataset(shards, image="png", model=tiny).to_pandas()
    assert {"__key__", "txt", "caption"} <= set(tars) and "png" not in tars
    assert tars["caption"].notna().sum() > 20
    check_need(Need(2, 1, 0), "here")
    for need, said in [
        (Need(1, 3, 0), "the cluster at here has 3 CPUs; 1 actors with 3 each and one for all else need 4"),
        (Need(1, 1, 99), "1 actors with 99 each need more"),
    ]:
        with pytest.raises(UsageError, match=said):
            check_need(need, "here")
    for place, said in [("/no/such", "no such bundle"), (str(tiny), "another version")]:
        with pytest.raises(BundleError, match=f"which every node must.*{said}"):
            check_bundle(place, "x", "cpu", Need(2, 1, 0))
