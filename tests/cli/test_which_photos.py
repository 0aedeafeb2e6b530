"""Some of the photos, and nothing at all: --limit, --newer-than and --dry-run."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from capcli.outputs.records import read_rows
from tests.conftest import RunCommand, command, environment
from tests.shapes import draw


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """1.png to 6.png, of which 2.png cannot be read; 1.png has a sidecar."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(1, 7):
        draw("circle", "red", "white", number, 64).save(folder / f"{number}.png")
    (folder / "2.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    (folder / "1.txt").write_text("mine\n")
    return folder


def content(folder: Path) -> dict[str, tuple[bytes, int]]:
    """All files below a folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def names(file: Path) -> list[str]:
    return [Path(row.path).stem for row in read_rows(file, "csv")]


def test_a_limit_ends_a_run_and_the_next_one_goes_on(
    capcli: RunCommand, photos: Path, tiny: Path, tmp_path: Path
) -> None:
    out = tmp_path / "x.csv"
    run = ("caption", photos, "-o", out, "--model", tiny, "--limit", "3")
    # Those count that turn out to be unreadable; those that are done do not.
    assert capcli(*run).code == 1
    assert names(out) == ["1", "2", "3"]
    assert capcli(*run, "--resume").code == 1
    assert names(out) == ["1", "2", "3", "4", "5", "6"]
    whole = out.read_bytes()
    assert capcli(*run, "--resume").code == 1
    assert out.read_bytes() == whole
    # Captions that are known are delivered without counting.
    done = capcli(*run[:-1], "1", "--resume", "--sidecar", ".txt")
    assert done.code == 1
    assert sorted(path.name for path in photos.glob("*.txt")) == [f"{number}.txt" for number in (1, 3, 4, 5, 6)]
    assert capcli(*run[:-1], "0").errors == "capcli: --limit is 0; it must be at least 1\n"


def test_a_limit_does_not_wait_for_another_path(photos: Path, tiny: Path) -> None:
    running = subprocess.Popen(
        [command(), "caption", "-", "--model", tiny, "--limit", "2"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(),
    )
    assert running.stdin is not None and running.stdout is not None
    running.stdin.write(b"".join(os.fsencode(photos / f"{number}.png") + b"\n" for number in (1, 3)))
    running.stdin.flush()
    # Standard input stays open.
    assert running.wait(timeout=60) == 0
    assert len(running.stdout.read().splitlines()) == 2
    running.stdin.close()
    running.stdout.close()


def test_only_photos_that_were_changed_since_are_captioned(
    capcli: RunCommand, photos: Path, tiny: Path, tmp_path: Path
) -> None:
    for number in range(1, 5):
        os.utime(photos / f"{number}.png", (0, time.time() - 10 * 86400))
    out = tmp_path / "x.csv"
    done = capcli("caption", photos, photos / "3.png", "-o", out, "--model", tiny, "--newer-than", "7d")
    assert (done.code, done.err, names(out)) == (0, b"", ["5", "6"])
    # Nothing new is nothing wrong; no photo at all is.
    done = capcli("caption", photos, "-o", tmp_path / "y.csv", "--model", tiny, "--newer-than", "0h")
    assert (done.code, done.errors) == (0, "capcli: nothing to do: 6 photos are older than --newer-than 0h\n")
    assert not (tmp_path / "y.csv").exists()
    (tmp_path / "empty").mkdir()
    assert capcli("caption", tmp_path / "empty", "--model", tiny, "--newer-than", "0h").code == 2
    done = capcli("caption", photos, "--model", tiny, "--newer-than", "soon")
    assert (done.code, done.errors.count("\n")) == (2, 1) and "--newer-than is 'soon'" in done.errors


def planned(text: str) -> dict[str, list[str]]:
    return {path: places for path, *places in (line.split("\t") for line in text.splitlines())}


@pytest.mark.parametrize("existing", ["keep", "replace"])
def test_a_dry_run_says_what_a_run_writes_and_writes_nothing(
    existing: str, capcli: RunCommand, photos: Path, tiny: Path, tmp_path: Path
) -> None:
    run = ("caption", "photos", "missing/", "-o", "x.csv", "--sidecar", ".txt", "--existing", existing, "--limit", "4")
    before = content(tmp_path)
    # The model is not looked at.
    done = capcli(*run, "--dry-run", "--model", tmp_path / "none", cwd=tmp_path)
    assert content(tmp_path) == before
    assert (done.code, done.errors) == (0, "capcli: 4 would be captioned; nothing was written\n")
    told = planned(done.text)
    kept = existing == "keep"
    assert told == {
        "photos/1.png": ["x.csv"] if kept else ["photos/1.txt", "x.csv"],
        "photos/2.png": ["photos/2.txt", "x.csv"],
        "photos/3.png": ["photos/3.txt", "x.csv"],
        "photos/4.png": ["photos/4.txt", "x.csv"],
    }
    assert capcli(*run, "--model", tiny, cwd=tmp_path).code == 1
    after = content(tmp_path)
    written = {name for name in after if after[name] != before.get(name)}
    # But for the photo that could not be read, which only reading tells.
    assert written == {place for places in told.values() for place in places} - {"photos/2.txt"}


def test_a_dry_run_knows_what_an_earlier_run_has_done(
    capcli: RunCommand, photos: Path, tiny: Path, tmp_path: Path
) -> None:
    run = ("caption", "photos", "-o", "x.csv", "--model", tiny)
    assert capcli(*run, "--limit", "3", cwd=tmp_path).code == 1
    before = content(tmp_path)
    done = capcli(*run, "--dry-run", "--resume", "--sidecar", ".txt", cwd=tmp_path)
    assert planned(done.text) == {
        # Its caption is known; the one that failed is kept as it is.
        "photos/3.png": ["photos/3.txt"],
        **{f"photos/{number}.png": [f"photos/{number}.txt", "x.csv"] for number in (4, 5, 6)},
    }
    summary = "capcli: 3 would be captioned, 1 would get captions that are known, 2 are done; nothing was written\n"
    assert (done.code, done.errors) == (0, summary)
    done = capcli(*run, "--dry-run", "--resume", "--retry-failed", "-q", cwd=tmp_path)
    assert (list(planned(done.text)), done.err) == ([f"photos/{number}.png" for number in (2, 4, 5, 6)], b"")
    # It refuses what the run would refuse.
    done = capcli(*run, "--dry-run", cwd=tmp_path)
    assert (done.code, done.out) == (2, b"") and "x.csv: exists; use --resume" in done.errors
    (tmp_path / "other.csv").write_bytes(b"mine\r\n")
    done = capcli("caption", "photos", "-o", "other.csv", "--resume", "--dry-run", cwd=tmp_path)
    assert (done.code, done.out) == (2, b"") and "other.csv: cannot be gone on with: line 1" in done.errors
    done = capcli("caption", "photos", "-o", "photos/3.png", "--json", "--overwrite", "--dry-run", cwd=tmp_path)
    assert (done.code, done.out) == (2, b"") and "ends in .png as photos do" in done.errors
    (tmp_path / "other.csv").unlink()
    assert content(tmp_path) == before


@pytest.mark.skipif(os.name == "nt", reason="such names do not exist on Windows")
def test_a_dry_run_to_standard_output_names_it_and_keeps_names_on_one_line(
    capcli: RunCommand, photos: Path, tmp_path: Path
) -> None:
    (photos / "3.png").rename(photos / "a\n\tb\udcff.png")
    done = capcli("caption", photos / "a\n\tb\udcff.png", "--dry-run")
    assert done.out == os.fsencode(photos) + b"/a\\n\\tb\xff.png\t-\n"
    assert capcli("caption", tmp_path / "none", "--dry-run").code == 0
    assert capcli("caption", tmp_path, "--no-recursive", "--dry-run").code == 2
