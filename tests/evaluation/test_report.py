"""`capcli evaluate --report`: one page, whole and harmless, that says what the scorers said."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
import sys
from collections.abc import Sequence
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from capcli.evaluation import ImageScores, ImageTokens, Scores
from capcli.evaluation.report import THUMBNAIL_SIDE, EvaluatedImage, report_page
from capcli.outputs.rows import Row, row_format
from tests.conftest import RunCommand
from tests.shapes import draw, write_data_set

HOSTILE = (
    "</script><script>alert(1)</script><img src=x onerror=alert(2)>",
    "\"quotes\" & 'more' &lt; <!-- --> ]]> {{images}} {{summary}}",
    "two\nlines\r\nand\ttabs, \u2028 and \u202e turned",
    "a dog \U0001f436 with half a character \udcff",
    "",
)


class Page(HTMLParser):
    """What a browser would see: elements in order, and the text of each script and style."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: dict[str, str] = {}
        self._open = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag in ("script", "style"):
            self._open = dict(attrs).get("id") or tag
            assert self._open not in self.texts
            self.texts[self._open] = ""

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open:
            self.texts[self._open] += data

    @property
    def summary(self) -> dict[str, Any]:
        return dict(json.loads(self.texts["summary-data"]))

    @property
    def images(self) -> list[dict[str, Any]]:
        return list(json.loads(self.texts["images-data"]))

    def meta(self, name: str) -> str:
        at = self.attributes.index(("http-equiv", name))
        return str(self.attributes[at + 1][1])


def template() -> str:
    return resources.files("capcli.evaluation").joinpath("report.html").read_text("utf-8")


def page_of(images: Sequence[EvaluatedImage], captions: str = "a model", data: str = "some data") -> bytes:
    scores = Scores(
        **dict.fromkeys(("bleu_1", "bleu_2", "bleu_3", "bleu_4", "meteor", "rouge_l", "cider"), 12.345),
        images=len(images),
        tokeniser="PTB tokeniser",
        per_image={image.key: ImageScores(0.0, 10.123456, 100 / 3, 1000.0) for image in images},
        tokens={image.key: ImageTokens(image.caption.lower(), image.references) for image in images},
    )
    return b"".join(report_page(scores, images, captions=captions, data=data))


def opened(data_uri: str) -> Image.Image:
    kind, _, content = data_uri.partition(",")
    assert kind == "data:image/webp;base64"
    return Image.open(io.BytesIO(base64.b64decode(content)))


def test_the_template_is_part_of_the_package_and_plain_ascii() -> None:
    assert template().isascii()
    assert template().count("{{") == 3


def test_no_text_becomes_markup(tmp_path: Path) -> None:
    harmless = [EvaluatedImage(str(n), tmp_path / "x.png", "x", "x", None, ("x",)) for n in range(len(HOSTILE))]
    hostile = [EvaluatedImage(text, tmp_path / "x.png", text, text, None, (text, text)) for text in HOSTILE]
    content = page_of(hostile, HOSTILE[0], HOSTILE[1])
    assert content.isascii()
    page = Page(content.decode("ascii"))
    clean = Page(page_of(harmless).decode("ascii"))
    assert page.tags == clean.tags
    assert page.attributes == clean.attributes
    assert page.texts["script"] == clean.texts["script"]
    assert not any("<" in page.texts[name] for name in ("summary-data", "images-data"))
    # And they arrive as they were, half characters too.
    assert [image["name"] for image in page.images] == list(HOSTILE)
    assert [(image["caption"], *image["references"]) for image in page.images] == [(text,) * 3 for text in HOSTILE]
    assert (page.summary["captions"], page.summary["data"]) == HOSTILE[:2]


def test_the_page_needs_nothing_else_and_runs_only_its_own_script() -> None:
    page = Page(page_of([]).decode("ascii"))
    assert page.images == []
    links = [value or "" for name, value in page.attributes if name in ("src", "href", "action", "srcset", "data")]
    assert links and all(link.startswith("#") for link in links)
    assert not [name for name, _ in page.attributes if name.startswith("on") or name == "style"]
    assert "@import" not in page.texts["style"] and "url(" not in page.texts["style"]
    rules = dict(rule.strip().split(" ", 1) for rule in page.meta("Content-Security-Policy").split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    for kind in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256(page.texts[kind].encode()).digest()).decode()
        assert rules[f"{kind}-src"] == f"'sha256-{digest}'"


def test_pictures_are_small_upright_and_keep_their_shape(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    draw("circle", "red", "white", 1, 600).resize((800, 400)).save(tmp_path / "turned.jpg", exif=exif)
    draw("circle", "red", "white", 1, 40).save(tmp_path / "small.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    names = ("turned.jpg", "small.png", "broken.png", "missing.png")
    entries = Page(
        page_of([EvaluatedImage(name, tmp_path / name, name, "x", -0.5, ("x",)) for name in names]).decode("ascii")
    ).images
    assert opened(entries[0]["thumbnail"]).size == (THUMBNAIL_SIDE // 2, THUMBNAIL_SIDE)
    assert opened(entries[1]["thumbnail"]).size == (40, 40)
    assert len(entries[0]["thumbnail"]) < 9_000
    assert [entry["thumbnail"] for entry in entries[2:]] == [None, None]
    assert [entry["error"] for entry in entries] == [None, None, "is a damaged PNG image", "no such file"]


def test_a_score_that_is_no_number_is_left_out(tmp_path: Path) -> None:
    given = (-0.123456, None, math.nan, -math.inf)
    images = [EvaluatedImage(str(n), tmp_path / "x", "x", "x", score, ("x",)) for n, score in enumerate(given)]
    entries = Page(page_of(images).decode("ascii")).images
    assert [entry["scores"].get("model") for entry in entries] == [-0.1235, None, None, None]
    assert entries[0]["scores"] == {"bleu_4": 0.0, "meteor": 10.1235, "rouge_l": 33.3333, "cider": 1000.0} | {
        "model": -0.1235
    }


@pytest.mark.usefixtures("quick_meteor")
def test_the_command_reports_what_it_prints(capcli: RunCommand, tiny: Path, tmp_path: Path) -> None:
    captions = write_data_set(tmp_path / "data", copies=1, size=64)
    images, report = tmp_path / "data" / "images", tmp_path / "report.html"
    data = ("--images", images, "--captions", captions, "--json")
    done = capcli("evaluate", "--model", tiny, *data, "--report", report)
    assert (done.code, done.err) == (0, b"")
    page = Page(report.read_text("ascii"))
    printed = json.loads(done.text)
    assert {**page.summary["scores"], "captions": str(tiny), "data": str(captions)} == printed
    assert len(page.images) == 24

    said = capcli("caption", images, "--model", tiny, "--json").text.splitlines()
    rows = {Path(row["path"]).name: row for row in map(json.loads, said)}
    for image in page.images:
        assert image["caption"] == rows[image["name"]]["caption"]
        assert image["scores"]["model"] == pytest.approx(rows[image["name"]]["score"], abs=1e-3)
        assert opened(image["thumbnail"]).size == (64, 64)
        assert len(image["references"]) == len(image["tokens"]["references"]) == 2
        assert image["tokens"]["caption"] == image["caption"].removesuffix(".").lower()
    # METEOR is no mean of its images' scores; the other two are.
    for name in ("cider", "rouge_l"):
        mean = sum(image["scores"][name] for image in page.images) / 24
        assert mean == pytest.approx(printed[name], abs=0.01)
    assert page.summary["wording"]["references"]["texts"] == 48
    assert {one["length"] for one in page.summary["wording"]["lengths"]} == {7}
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".html"] == ["data"]


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="file names of any bytes are a Linux thing")
@pytest.mark.usefixtures("quick_meteor")
def test_hostile_names_and_predictions_are_reported_as_they_are(capcli: RunCommand, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    names = ["<img src=x onerror=alert(1)>", "a\nb & \"c\" 'd'", "\U0001f436", "\udcff", "-plain"]
    form = row_format("jsonl", ranked=False)
    predictions = b""
    for name, text in zip(names, HOSTILE, strict=True):
        draw("circle", "red", "white", 1, 32).save(images / f"{name}.png")
        (images / f"{name}.txt").write_text("A <b>red</b> circle </script>.\n")
        predictions += form.record(Row(str(images / f"{name}.png"), text or "...", -1.0, None))
    file, report = tmp_path / "predictions.jsonl", tmp_path / "report.html"
    file.write_bytes(predictions)
    done = capcli("evaluate", "--images", images, "--predictions", file, "--report", report)
    assert (done.code, done.err) == (0, b"")
    page = Page(report.read_text("ascii"))
    assert page.tags == Page(template()).tags
    entries = {entry["name"]: entry for entry in page.images}
    assert {name: entry["caption"] for name, entry in entries.items()} == {
        f"{name}.png": text or "..." for name, text in zip(names, HOSTILE, strict=True)
    }
    assert all(entry["thumbnail"] and entry["scores"]["model"] == -1.0 for entry in entries.values())
    assert page.summary["wording"]["captions"]["empty"] == 1


def test_a_report_that_cannot_be_written_is_refused_before_anything_is_read(capcli: RunCommand, tmp_path: Path) -> None:
    # There are no images either: whoever says so has already begun.
    command = ("evaluate", "--images", tmp_path / "nothing", "--report")
    for target, reason in ((tmp_path / "no folder" / "x.html", "no such file or directory"), (tmp_path, "is a folder")):
        done = capcli(*command, target, "--overwrite")
        assert (done.code, done.out, done.errors.count("\n")) == (4, b"", 1)
        assert str(target) in done.errors and reason in done.errors
    report = tmp_path / "report.html"
    report.write_text("mine")
    done = capcli(*command, report)
    assert (done.code, done.errors.count("\n")) == (2, 1)
    assert "--overwrite" in done.errors
    assert capcli(*command, report, "--overwrite").code in (2, 3)
    for given, reason in (
        ("--captions", "one of the inputs"),
        ("--predictions", "one of the inputs"),
        (None, "photos"),
    ):
        target = report if given else tmp_path / "new.jpg"
        done = capcli(*command, target, "--overwrite", *([given, report] if given else []))
        assert (done.code, done.errors.count("\n")) == (2, 1) and reason in done.errors
    assert report.read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
