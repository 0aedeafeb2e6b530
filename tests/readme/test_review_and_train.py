"""README.md's way from captions to a review, to the photos and to a trained model, by its own command lines."""

from __future__ import annotations

import csv
import tomllib
from itertools import cycle
from pathlib import Path

import pytest

from tests.readme.shell import README, Shell, block
from tests.shapes import write_data_set

# Few and small drawings are enough to see which captions are learnt.
QUICKLY = "--epochs 1 --batch-size 4 --threads 1 --min-count 1"
DECIDED = ("accepted", "edited", "rejected", "")


def download(captions: Path) -> dict[str, str]:
    """Makes the corrected file that the page of `capcli review` gives; what was decided, by path."""
    reviewed = captions.with_name("captions-reviewed.csv")
    decided = {}
    with captions.open(newline="") as given, reviewed.open("w", newline="") as written:
        rows = csv.DictReader(given)
        assert rows.fieldnames is not None
        writer = csv.DictWriter(written, [*rows.fieldnames, "review"])
        writer.writeheader()
        for row, review in zip(rows, cycle(DECIDED), strict=False):
            decided[row["path"]] = review
            edited = {"caption": "A zebra crosses the street."} if review == "edited" else {}
            writer.writerow({**row, **edited, "review": review})
    return decided


def test_the_captions_that_were_approved_reach_the_photos_and_the_model(shell: Shell) -> None:
    pytest.importorskip("torch", reason="needs the train extra")
    from capcli.training.run_folder import load_run

    pytest.importorskip("jinja2", reason="needs the pages extra")
    lines = block("capcli review captions.csv").splitlines()
    # What those who have not installed an extra need is named as pyproject.toml names it.
    (extra,) = [line for line in lines if line.startswith("pip ")]
    known = tomllib.loads(README.with_name("pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert extra == "pip install '.[pages]'" and "pages" in known
    caption, review, apply, train = (line for line in lines if line != extra)

    write_data_set(shell.folder / "drawn", copies=1, size=64, shapes=("circle",))
    photos = (shell.folder / "drawn" / "images").rename(shell.folder / "photos")
    untouched = {path.name: path.read_bytes() for path in photos.iterdir()}
    done = shell.run(f"{caption}\n{review}")
    assert (done.code, done.err) == (0, b"")
    assert {path.name: path.read_bytes() for path in photos.iterdir()} == untouched
    page = (shell.folder / "review.html").read_text("utf-8")
    assert all(name in page for name in untouched) and "captions-reviewed.csv" in page
    assert len(untouched) == 8

    decided = download(shell.folder / "captions.csv")
    done = shell.run(apply)
    assert done.code == 0
    taken = {path for path, review in decided.items() if review in ("accepted", "edited")}
    assert {str(path.relative_to(shell.folder).with_suffix(".png")) for path in photos.glob("*.txt")} == taken
    edited = next(path for path, review in decided.items() if review == "edited")
    assert (shell.folder / edited).with_suffix(".txt").read_text() == "A zebra crosses the street.\n"

    # Before the comment.
    done = shell.run(f"{train.partition(' #')[0]} {QUICKLY}")
    assert done.code == 0, done.errors
    assert "photos: 2 captions were rejected in review, left out: " in done.errors
    assert "photos: 2 captions are not reviewed yet, left out: " in done.errors
    assert ", 4 added; " in done.errors and "4 training images with 4 captions, " in done.errors
    assert "epoch 1: " in done.errors and "epoch 2: " not in done.errors
    tokenizer = load_run(shell.folder / "RUN").tokenizer
    assert tokenizer.unknown not in tokenizer.encode("a zebra crosses the street")
