"""`capcli caption` on how sure it is: words with their probabilities, confidence in rows, captions held back."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import RunCommand
from tests.shapes import draw

SAID = "A red circle on a white ground."


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A photo that the model is sure of, and one that it is not."""
    folder = tmp_path / "photos"
    folder.mkdir()
    draw("circle", "red", "white", 1000, 64).save(folder / "circle.png")
    pixels = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "noise.png")
    return folder


def test_words_come_with_their_probabilities_and_make_the_score(capcli: RunCommand, tiny: Path, photos: Path) -> None:
    done = capcli("caption", photos / "circle.png", "--model", tiny, "--json", "--words")
    values = json.loads(done.text)
    assert list(values)[-1] == "words"
    assert [word for word, _ in values["words"]] == ["a", "red", "circle", "on", "a", "white", "ground", ""]
    assert np.mean([log_prob for _, log_prob in values["words"]]) == pytest.approx(values["score"], abs=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--words",), "--words is for JSON Lines (--json), not for text"),
        (("--words", "-o", "out.csv"), "--words is for JSON Lines (--json), not for csv"),
        (("--min-confidence", "1.5"), "--min-confidence is 1.5; it must be from 0 to 1"),
        (("--min-confidence", "0.5", "--beam", "2"), "model's own --beam, --max-length and --length-penalty alone"),
    ],
)
def test_what_cannot_be_starts_nothing(
    arguments: tuple[str, ...], message: str, capcli: RunCommand, sure: Path, photos: Path
) -> None:
    done = capcli("caption", photos, "--model", sure, "--sidecar", ".txt", *arguments)
    assert (done.code, done.out, done.errors.count("\n")) == (2, b"", 1)
    assert message in done.errors
    assert not list(photos.glob("*.txt"))


def test_a_model_without_confidence_cannot_hold_captions_back(capcli: RunCommand, tiny: Path, photos: Path) -> None:
    out = photos.parent / "out.csv"
    done = capcli("caption", photos, "-o", out, "--model", tiny, "--min-confidence", "0.5")
    assert (done.code, done.errors.count("\n")) == (2, 1)
    assert "the model tiny has none; capcli export fits one" in done.errors
    assert not out.exists()


def test_unsure_captions_stay_in_the_rows_and_out_of_the_photos(capcli: RunCommand, sure: Path, photos: Path) -> None:
    out = photos.parent / "out.csv"
    options = ("-o", out, "--model", sure, "--sidecar", ".txt", "--min-confidence", "0.5")
    done = capcli("caption", photos, *options)
    assert (done.code, done.out, done.errors) == (0, b"", "")
    circle, noise = csv.DictReader(io.StringIO(out.read_text("utf-8"), newline=""))
    assert (circle["caption"], circle["note"]) == (SAID, "")
    assert float(circle["confidence"]) > 0.5 > float(noise["confidence"])
    assert noise["caption"] and noise["error"] == ""
    assert noise["note"] == f"unsure: confidence {noise['confidence']} is below 0.5"
    assert [path.name for path in photos.glob("*.txt")] == ["circle.txt"]
    # The same again changes nothing; without the bound the photo gets what the row has.
    before = out.read_bytes()
    done = capcli("caption", photos, *options, "--resume")
    assert (done.code, done.errors, out.read_bytes()) == (0, "", before)
    assert not (photos / "noise.txt").exists()
    done = capcli("caption", photos, *options[:-2], "--resume")
    assert (done.code, out.read_bytes()) == (0, before)
    assert (photos / "noise.txt").read_text("utf-8") == noise["caption"] + "\n"


def test_unsure_captions_are_left_out_of_text_with_a_line(capcli: RunCommand, sure: Path, photos: Path) -> None:
    done = capcli("caption", photos, "--model", sure, "--min-confidence", "0.5")
    assert (done.code, done.text) == (0, f"{photos / 'circle.png'}\t{SAID}\n")
    assert done.errors.startswith(f"capcli: {photos / 'noise.png'}: unsure: confidence 0.0")
    assert done.errors.count("\n") == 1
    done = capcli("caption", photos / "noise.png", "--model", sure, "--min-confidence", "0.5", "-q")
    assert (done.code, done.out, done.err) == (0, b"", b"")


def test_with_another_search_rows_have_no_confidence_and_one_line_says_so(
    capcli: RunCommand, sure: Path, photos: Path
) -> None:
    done = capcli("caption", photos, "--model", sure, "--beam", "1", "--json")
    assert done.code == 0
    assert [json.loads(line)["confidence"] for line in done.text.splitlines()] == [None, None]
    assert done.errors == (
        "capcli: the rows have no confidence: it is known for the model's own --beam, --max-length and "
        "--length-penalty alone\n"
    )


def test_the_mean_with_mirror_images_has_none_and_is_refused_where_one_is_asked_for(
    capcli: RunCommand, sure: Path, photos: Path
) -> None:
    out = photos.parent / "mirrored.csv"
    assert capcli("caption", photos / "circle.png", "-o", out, "--model", sure).code == 0
    done = capcli("caption", photos, "-o", out, "--model", sure, "--mirror-average", "--resume")
    told = "it is known for photos without --mirror-average alone"
    assert done.code == 0 and done.errors.splitlines() == [
        f"capcli: the rows have no confidence: {told}",
        f"capcli: {out}: its rows were written with other settings (mirror average False, now True); they stay as "
        "they are",
    ]
    _, before, after = csv.reader(out.read_text("utf-8").splitlines())
    assert float(before[4]) > 0 and after[4] == ""
    done = capcli("caption", photos, "--model", sure, "--mirror-average", "--min-confidence", "0.5")
    assert (done.code, done.out) == (2, b"") and told in done.errors


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_file_of_an_earlier_version_is_gone_on_with_in_its_own_columns(
    suffix: str, capcli: RunCommand, sure: Path, photos: Path
) -> None:
    out = (photos.parent / "out").with_suffix(suffix)
    first = photos / "circle.png"
    if suffix == ".csv":
        before = f"path,caption,score,error\r\n{first},Mine.,-0.5000,\r\n"
    else:
        before = json.dumps({"path": str(first), "caption": "Mine.", "score": -0.5, "error": None}) + "\n"
    out.write_text(before, "utf-8", newline="")
    done = capcli("caption", photos, "-o", out, "--model", sure, "--resume")
    assert (done.code, done.errors) == (0, "")
    text = out.read_bytes().decode("utf-8")
    assert text.startswith(before)
    (added,) = text.removeprefix(before).splitlines()
    if suffix == ".csv":
        assert added.startswith(f"{photos / 'noise.png'},") and added.count(",") == 3
    else:
        assert list(json.loads(added)) == ["path", "caption", "score", "error"]
