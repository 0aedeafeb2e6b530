"""`capcli caption` as a user runs it: what it prints, how it ends."""

from __future__ import annotations

import csv
import io
import json
import os
import shlex
import signal
import subprocess
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest

from capcli import CapcliError, Captioner
from capcli.caption_settings import CaptionSettings
from capcli.captioning import CaptioningRun
from capcli.cli.run_control import interrupt_stops
from capcli.inputs.paths import InputItem
from capcli.outputs import Destinations, RowFile, row_format
from capcli.pipeline import PipelineSettings
from capcli.run_report import Observer
from tests.conftest import RunCommand
from tests.photos import write_photo
from tests.shapes import draw, sentence_for


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "red circle.png"
    draw("circle", "red", "white", 1000, 64).save(path)
    return path


def test_one_photo_prints_one_sentence_and_nothing_else(capcli: RunCommand, photo: Path, tiny: Path) -> None:
    done = capcli("caption", photo, "--model", tiny)
    assert (done.code, done.out, done.err) == (0, b"A red circle on a white ground.\n", b"")


def test_the_shipped_model_needs_no_option(capcli: RunCommand, tmp_path: Path) -> None:
    done = capcli("caption", write_photo(tmp_path / "cat.jpg", "chelsea"))
    assert (done.code, done.err) == (0, b"")
    assert done.text.count("\n") == 1
    assert "cat" in done.text.lower()
    assert done.text.endswith(".\n")


def test_the_module_runs_like_the_command(photo: Path, tiny: Path) -> None:
    import sys

    done = subprocess.run(
        [sys.executable, "-m", "capcli", "caption", photo, "--model", tiny], capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"A red circle on a white ground.\n", b"")


def test_several_photos_print_path_tab_sentence_in_their_order(
    capcli: RunCommand, photo: Path, tiny: Path, tmp_path: Path
) -> None:
    other = tmp_path / "b.png"
    draw("square", "blue", "black", 1000, 64).save(other)
    done = capcli("caption", other, photo, other, "--model", tiny)
    assert done.code == 0
    assert done.text.splitlines() == [
        f"{other}\tA blue square on a black ground.",
        f"{photo}\tA red circle on a white ground.",
        f"{other}\tA blue square on a black ground.",
    ]


def test_raw_words_have_no_capital_and_no_full_stop(capcli: RunCommand, photo: Path, tiny: Path) -> None:
    done = capcli("caption", photo, "--model", tiny, "--raw")
    assert done.text == "a red circle on a white ground\n"


def test_json_is_one_object_a_line(capcli: RunCommand, photo: Path, tiny: Path) -> None:
    done = capcli("caption", photo, "--model", tiny, "--json")
    values = json.loads(done.text)
    assert done.text.count("\n") == 1
    assert (values["path"], values["caption"]) == (str(photo), "A red circle on a white ground.")
    assert -1 < values["score"] < 0
    assert values["error"] is None


def test_on_standard_output_a_header_comes_once(capcli: RunCommand, photo: Path, tiny: Path) -> None:
    done = capcli("caption", photo, photo, "--model", tiny, "--format", "csv")
    rows = list(csv.reader(io.StringIO(done.out.decode(), newline="")))
    assert rows[0] == ["path", "caption", "score", "error", "confidence", "note"]
    assert [row[0] for row in rows[1:]] == [str(photo)] * 2


def test_several_captions_come_best_first(capcli: RunCommand, photo: Path, tiny: Path) -> None:
    done = capcli("caption", photo, "--model", tiny, "--json", "--captions", "3", "--length-penalty", "1")
    rows = [json.loads(line) for line in done.text.splitlines()]
    assert [row["rank"] for row in rows] == [1, 2, 3]
    assert len({row["caption"] for row in rows}) == 3
    assert [row["score"] for row in rows] == sorted((row["score"] for row in rows), reverse=True)


@pytest.mark.parametrize("beam", ["1", "2", "5"])
def test_any_beam_finds_a_clear_caption(capcli: RunCommand, photo: Path, tiny: Path, beam: str) -> None:
    done = capcli("caption", photo, "--model", tiny, "--beam", beam)
    assert done.text == "A red circle on a white ground.\n"


def test_the_longest_caption_is_as_long_as_allowed(capcli: RunCommand, photo: Path, tiny: Path) -> None:
    done = capcli("caption", photo, "--model", tiny, "--max-length", "2", "--raw")
    assert 1 <= len(done.text.split()) <= 2


def test_a_folder_becomes_a_csv(capcli: RunCommand, tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "my photos"
    (folder / "sub, folder").mkdir(parents=True)
    wanted = {}
    for n, (shape, colour) in enumerate([("circle", "red"), ("square", "green"), ("triangle", "blue")]):
        path = folder / ("sub, folder" if n == 2 else "") / f"photo {n + 8}.png"
        draw(shape, colour, "black", 1000, 64).save(path)
        wanted[str(path)] = sentence_for(shape, colour, "black").capitalize() + "."
    (folder / "broken.jpg").write_text("no photo")
    (folder / "notes.txt").write_text("not a photo, and no error either")
    out = tmp_path / "captions.csv"
    done = capcli("caption", folder, "-o", out, "--model", tiny)
    assert (done.code, done.out) == (1, b"")
    assert str(folder / "broken.jpg") in done.errors
    rows = list(csv.DictReader(io.StringIO(out.read_text("utf-8"), newline="")))
    assert list(rows[0]) == ["path", "caption", "score", "error", "confidence", "note"]
    assert {row["path"]: row["caption"] for row in rows if not row["error"]} == wanted
    (bad,) = (row for row in rows if row["error"])
    assert (bad["path"], bad["caption"], bad["score"]) == (str(folder / "broken.jpg"), "", "")
    # Natural order: photo 8, 9, and 10 in its folder.
    assert [row["path"] for row in rows] == [
        str(folder / "broken.jpg"),
        str(folder / "photo 8.png"),
        str(folder / "photo 9.png"),
        str(folder / "sub, folder" / "photo 10.png"),
    ]

    before = out.read_bytes()
    done = capcli("caption", folder, "-o", out, "--model", tiny)
    assert (done.code, done.errors.count("\n")) == (2, 1)
    assert "--overwrite" in done.errors
    assert out.read_bytes() == before
    done = capcli("caption", folder, "-o", out, "--model", tiny, "--overwrite")
    assert done.code == 1
    assert out.read_bytes() == before


def bad_input(kind: str, folder: Path) -> Path:
    path = folder / f"{kind}.jpg"
    if kind == "text":
        path.write_text("I am no photo.")
    elif kind == "truncated":
        draw("circle", "red", "white", 1, 300).save(path, quality=95)
        path.write_bytes(path.read_bytes()[:2000])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "folder":
        path.mkdir()
    return path


@pytest.mark.parametrize("kind", ["missing", "text", "truncated", "empty"])
def test_a_bad_photo_is_one_clear_line(capcli: RunCommand, tiny: Path, tmp_path: Path, kind: str) -> None:
    path = bad_input(kind, tmp_path)
    done = capcli("caption", path, "--model", tiny)
    assert (done.code, done.out, done.errors.count("\n")) == (1, b"", 1)
    assert done.errors.startswith(f"capcli: {path}: ")
    assert "Traceback" not in done.errors


def test_a_folder_without_images_starts_nothing(capcli: RunCommand, tiny: Path, tmp_path: Path) -> None:
    path = bad_input("folder", tmp_path)
    done = capcli("caption", path, "--model", tiny, "-o", tmp_path / "out.csv")
    assert (done.code, done.out, done.errors.count("\n")) == (2, b"", 1)
    assert "no image" in done.errors and str(path) in done.errors
    assert not (tmp_path / "out.csv").exists()


def test_a_bad_photo_does_not_keep_the_others_from_being_captioned(
    capcli: RunCommand, tiny: Path, photo: Path, tmp_path: Path
) -> None:
    broken = bad_input("truncated", tmp_path)
    done = capcli("caption", broken, photo, tmp_path / "missing.png", "--model", tiny)
    assert done.code == 1
    assert done.text == f"{photo}\tA red circle on a white ground.\n"
    assert done.errors.count("\n") == 2


@pytest.mark.skipif(os.name == "nt", reason="such names do not exist on Windows")
@pytest.mark.parametrize(
    "name",
    [b'it\'s a "photo".png', b"a\nb.png", "\u00fcber \u6f22\u5b57 \U0001f600.png".encode(), b"\xff\xfe.png", b"-x.png"],
)
def test_odd_names_are_captioned(capcli: RunCommand, tiny: Path, photo: Path, name: bytes) -> None:
    odd = os.fsencode(photo.parent) + b"/" + name
    os.rename(photo, odd)
    done = capcli("caption", odd, "--model", tiny)
    assert (done.code, done.out, done.err) == (0, b"A red circle on a white ground.\n", b"")
    done = capcli("caption", odd, odd, "--model", tiny)
    assert done.code == 0
    assert done.out.count(b"\n") == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--beam", "0"), "beam"),
        (("--beam", "many"), "--beam"),
        (("--captions", "0"), "captions"),
        (("--max-length", "0"), "max-length"),
        (("--length-penalty", "-1"), "length penalty"),
        (("--threads", "0"), "threads"),
        (("--batch-size", "0"), "batch"),
        (("--provider", "tpu"), "tpu"),
        (("--nonsense",), "--nonsense"),
    ],
)
def test_a_wrong_option_starts_nothing(
    capcli: RunCommand, tiny: Path, photo: Path, options: tuple[str, ...], message: str
) -> None:
    done = capcli("caption", photo, "--model", tiny, *options)
    assert (done.code, done.out, done.errors.count("\n")) == (2, b"", 1)
    assert message in done.errors.lower()


def test_a_model_that_is_not_there_is_said(capcli: RunCommand, photo: Path, tmp_path: Path) -> None:
    for model in ("nonsense", str(tmp_path / "nothing")):
        done = capcli("caption", photo, "--model", model)
        assert (done.code, done.out, done.errors.count("\n")) == (3, b"", 1)
        assert model in done.errors


def test_cuda_is_used_or_refused_with_the_reason(capcli: RunCommand, photo: Path, tiny: Path) -> None:
    done = capcli("caption", photo, "--model", tiny, "--provider", "cuda")
    if done.code == 0:
        assert (done.out, done.err) == (b"A red circle on a white ground.\n", b"")
    else:
        assert (done.code, done.out, done.errors.count("\n")) == (3, b"", 1)
        assert "CUDA" in done.errors


def test_an_output_that_cannot_be_written_is_said(capcli: RunCommand, photo: Path, tiny: Path, tmp_path: Path) -> None:
    for target in (tmp_path / "no" / "such" / "folder.csv", tmp_path):
        done = capcli("caption", photo, "--model", tiny, "-o", target)
        assert done.code in (2, 4) and done.out == b"" and done.errors.count("\n") == 1
        assert str(target) in done.errors


def test_no_command_and_no_photo_are_usage_errors(capcli: RunCommand) -> None:
    assert capcli("caption").code == 2
    assert capcli("frobnicate").code == 2
    done = capcli("--version")
    assert done.code == 0 and done.text.startswith("capcli ")


@pytest.mark.parametrize("times", [1, 2])
def test_the_first_ctrl_c_finishes_what_is_on_its_way_and_the_second_ends_at_once(
    tiny: Path, photo: Path, tmp_path: Path, times: int
) -> None:
    class Interrupting(Observer):
        def captioned(self, path: str) -> None:
            for _ in range(times):
                signal.raise_signal(signal.SIGINT)

    out = tmp_path / "x.csv"
    rows = RowFile(out, row_format("csv", ranked=False))
    run = CaptioningRun(lambda: Captioner(tiny), CaptionSettings(), Destinations(rows), observer=Interrupting())
    with nullcontext() if times == 1 else pytest.raises(KeyboardInterrupt), interrupt_stops(run):
        run.run(InputItem(str(photo)) for _ in range(10**6))
    assert run.report.stopped and out.read_bytes().count(b"\n") == 2
    # Whoever runs captions in a program of their own has their Ctrl-C back.
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_options_reach_what_they_are_for(photo: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from capcli.cli.app import app

    given: dict[str, object] = {}

    def run(load: Callable[[], object], wanted: object, destinations: object, *more: object) -> object:
        given.update(wanted=wanted, speed=more[0], limit=more[2])
        load()
        raise CapcliError("seen")

    monkeypatch.setattr("capcli.captioning.CaptioningRun", run)
    monkeypatch.setattr("capcli.opening.OpeningModel", lambda *model: model)
    monkeypatch.setattr("capcli.captioner.Captioner", lambda opening, **how: given.update(opening=opening, **how))
    search = [
        "--beam",
        "5",
        "--max-length",
        "9",
        "--length-penalty",
        "0.3",
        "--captions",
        "2",
        "--raw",
        "--mirror-average",
    ]
    speed = ["--batch-size", "3", "--workers", "4", "--max-pixels", "99", "--limit", "7", "--threads", "1"]
    options = [*search, *speed, "--model", "mine", "--provider", "cpu", "--json"]
    with pytest.raises(CapcliError, match="seen"):
        app(["caption", str(photo), str(photo), *options], standalone_mode=False)
    assert given == {
        "wanted": CaptionSettings(5, 9, 0.3, 2, raw=True, mirror_average=True),
        "speed": PipelineSettings(batch_size=3, workers=4, max_pixels=99),
        "limit": 7,
        "opening": ("mine", "cpu", 1, 2),
        "mirror_average": True,
    }
    with pytest.raises(CapcliError, match="seen"):
        app(["caption", str(photo), "--model", "mine"], standalone_mode=False)
    # One photo has all cores to itself.
    assert given["opening"] == ("mine", "auto", None, 1)


def test_with_nothing_on_its_way_ctrl_c_ends_at_once(photo: Path, tmp_path: Path) -> None:
    def load() -> Captioner:
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("not interrupted")

    rows = RowFile(tmp_path / "x.csv", row_format("csv", ranked=False))
    run = CaptioningRun(load, CaptionSettings(), Destinations(rows))
    with pytest.raises(KeyboardInterrupt), interrupt_stops(run):
        run.run([InputItem(str(photo))])
    assert not (tmp_path / "x.csv").exists()


@pytest.mark.parametrize("url", ["https://example.com/a.jpg", "HTTP://localhost:1/?a=1&b='2'"])
def test_an_address_is_answered_with_what_to_type(capcli: RunCommand, url: str, tmp_path: Path) -> None:
    done = capcli("caption", "a.jpg", url, "-o", "x.csv", "--model", "no such model", cwd=tmp_path)
    told = "capcli: capcli uses no network; to caption an image on it: curl -sSfL "
    assert (done.code, done.out, done.errors) == (2, b"", f"{told}{shlex.quote(url)} | capcli caption -\n")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_called_like_an_address_is_a_file(capcli: RunCommand, tiny: Path, photo: Path) -> None:
    folder = photo.parent / "http:" / "x"
    folder.mkdir(parents=True)
    photo.rename(folder / "a.png")
    done = capcli("caption", "http://x/a.png", "--model", tiny, cwd=photo.parent)
    assert (done.code, done.text) == (0, "A red circle on a white ground.\n")
