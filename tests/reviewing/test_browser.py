"""The pages of `capcli review` in a real browser: found, accepted, corrected and rejected by keyboard, and kept."""

from __future__ import annotations

import csv
import io
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("playwright.sync_api", reason="needs playwright")
pytest.importorskip("jinja2", reason="needs the pages extra")

from capcli.dataset import read_captions
from capcli.outputs.rows import Row, row_format
from capcli.reviewing import read_captions_file
from capcli.reviewing.page import page_html, review_pages, shown_photos
from capcli.reviewing.thumbnails import Thumbnails
from tests.conftest import RunCommand
from tests.shapes import COLOURS, draw

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

# What a name may hold; the last is no UTF-8. In the order of their confidence.
ODD_NAMES = sys.platform not in ("win32", "darwin")
NAMES = ["plain.png", "two.png", "\u00e9\u4e2d\U0001f436.png", "four.png"]
if ODD_NAMES:
    NAMES[1::2] = ['line\nend, "quoted" <b>&amp;.png', "odd-\udcff\udce9.png"]
SAID = [f"A {colour} circle, drawn." for colour in COLOURS]


@dataclass
class Reviewed:
    """A page in a browser, with all that it complained of and asked for."""

    context: BrowserContext
    file: Path
    troubles: list[str] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)

    def open(self) -> Page:
        page = self.context.new_page()
        page.on("console", lambda message: self.troubles.append(message.text))
        page.on("pageerror", lambda error: self.troubles.append(str(error)))
        page.on("request", lambda request: self.fetched.append(request.url))
        page.goto(self.file.as_uri())
        return page

    def check(self) -> None:
        assert self.troubles == []
        others = [url for url in self.fetched if not url.startswith(("data:", "blob:"))]
        assert set(others) == {self.file.as_uri()}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("review") / "photos"
    folder.mkdir()
    for name, colour in zip(NAMES, COLOURS, strict=True):
        draw("circle", colour, "white", 1, 48).save(folder / name)
    return folder


@pytest.fixture(scope="module")
def rows(photos: Path) -> list[Row]:
    """Four photos, one that is not there, and one that could not be captioned, in some order."""
    captioned = [
        Row(str(photos / name), text, -0.5, None, confidence=0.1 + 0.2 * number)
        for number, (name, text) in enumerate(zip(NAMES, SAID, strict=True))
    ]
    missing = Row(str(photos / "missing.png"), "A thing.", -0.5, "no space", confidence=0.95)
    return [captioned[3], captioned[2], Row("broken.png", None, None, "is empty"), captioned[1], missing, captioned[0]]


@pytest.fixture(scope="module")
def made(capcli: RunCommand, rows: list[Row], photos: Path) -> Callable[[str], Path]:
    """The page that the command makes of the rows in some format."""
    folder = photos.parent

    def make(name: str) -> Path:
        page = folder / f"{name}.html"
        if not page.exists():
            form = row_format(name, ranked=False, bom=name == "csv")
            (folder / f"captions.{name}").write_bytes(form.header() + b"".join(map(form.record, rows)))
            done = capcli("review", f"captions.{name}", "-o", page.name, cwd=folder)
            assert (done.code, done.out, done.errors.count("\n")) == (0, b"", 1)
            assert "1 photo is shown without a picture: " in done.errors
            assert "missing.png: no such file" in done.errors
        return page

    return make


@pytest.fixture
def review(made: Callable[[str], Path], browser: Browser) -> Iterator[Callable[..., Reviewed]]:
    """Reviews the rows in a window as asked for, of a browser that knows nothing yet."""
    opened: list[Reviewed] = []

    def start(name: str = "csv", **window: Any) -> Reviewed:
        opened.append(Reviewed(browser.new_context(**window), made(name)))
        return opened[-1]

    yield start
    for each in opened:
        each.context.close()


def captions(page: Page) -> list[str]:
    return page.locator("#list .caption").all_text_contents()


def downloaded(page: Page, tmp_path: Path) -> bytes:
    with page.expect_download() as waiting:
        page.locator("#download").click()
    assert waiting.value.suggested_filename == "captions-reviewed.csv"
    waiting.value.save_as(tmp_path / "corrected.csv")
    return (tmp_path / "corrected.csv").read_bytes()


def table(content: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(content.decode("utf-8", "surrogateescape"), newline="")))


@pytest.mark.parametrize("name", ["csv", "jsonl"])
def test_untouched_the_corrected_file_has_the_input_s_bytes_and_a_column_more(
    name: str, review: Callable[..., Reviewed], rows: list[Row], tmp_path: Path
) -> None:
    reviewed = review(name)
    form = row_format("csv", ranked=False, bom=name == "csv")
    lines = [form.header(), *map(form.record, rows)]
    ends = [b",review\r\n", *[b",\r\n"] * len(rows)]
    expected = b"".join(line.removesuffix(b"\r\n") + end for line, end in zip(lines, ends, strict=True))
    assert downloaded(reviewed.open(), tmp_path) == expected
    reviewed.check()


def test_a_review_by_keyboard_leaves_as_a_corrected_file_and_trains(
    review: Callable[..., Reviewed], rows: list[Row], photos: Path, tmp_path: Path
) -> None:
    reviewed = review("jsonl", color_scheme="light", viewport={"width": 1200, "height": 700})
    page = reviewed.open()
    assert captions(page) == [*SAID, "A thing."]
    # The first is accepted, the second corrected, the third rejected, the fourth corrected to what it was.
    page.keyboard.press("a")
    page.keyboard.press("e")
    page.keyboard.press("Control+a")
    page.keyboard.insert_text('A "green" ring,\nd\u00e9j\u00e0 vu \U0001f436')
    page.keyboard.press("Enter")
    page.keyboard.press("x")
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    assert page.locator("#count").inner_text() == "2 accepted, 1 edited, 1 rejected, 1 not reviewed"
    lines = downloaded(page, tmp_path)
    by_path = {row[0]: row for row in table(lines)}
    paths = [row.path for row in (rows[5], rows[3], rows[1], rows[0], rows[4], rows[2])]
    ring = 'A "green" ring, d\u00e9j\u00e0 vu \U0001f436'
    assert [(by_path[path][1], by_path[path][-1]) for path in paths] == [
        (SAID[0], "accepted"),
        (ring, "edited"),
        (SAID[2], "rejected"),
        (SAID[3], "accepted"),
        ("A thing.", ""),
        ("", ""),
    ]
    # Paths are the input's bytes, whatever they are, in its order; and keys work on after the download.
    assert [os.fsencode(row[0]) for row in table(lines)[1:]] == [os.fsencode(row.path) for row in rows]
    page.keyboard.press("x")
    assert page.locator("#count").inner_text() == "2 accepted, 1 edited, 2 rejected, 0 not reviewed"

    items, report = read_captions(photos, tmp_path / "corrected.csv")
    told = {str(item.path): item.captions for item in items}
    assert told == {paths[0]: (SAID[0],), paths[1]: (ring,), paths[3]: (SAID[3],)}
    assert (report.rejected, report.not_reviewed) == ((paths[2],), (paths[4],))
    # And it can be reviewed further.
    again = read_captions_file(tmp_path / "corrected.csv", "csv")
    assert [row.cells[-1] for row in again.rows] == ["accepted", "rejected", "", "edited", "", "accepted"]
    reviewed.check()


def test_what_was_done_is_there_after_a_reload_and_goes_on_where_it_ended(review: Callable[..., Reviewed]) -> None:
    reviewed = review(color_scheme="dark", viewport={"width": 1200, "height": 700})
    page = reviewed.open()
    for key in ("a", "x", "e", "End", "!", "Enter"):
        page.keyboard.press(key)
    page.reload()
    assert page.locator("#count").inner_text() == "1 accepted, 1 edited, 1 rejected, 2 not reviewed"
    assert captions(page)[2] == SAID[2] + "!"
    assert page.evaluate("document.activeElement.querySelector('.caption').textContent") == SAID[3]
    # Undone, nothing of it is kept; an edit that is left is none.
    for key in ("k", "u", "k", "u", "e", "y", "Escape", "k", "u"):
        page.keyboard.press(key)
    assert page.locator("#count").inner_text() == "0 accepted, 0 edited, 0 rejected, 5 not reviewed"
    assert page.evaluate("localStorage.length") == 0
    # Somebody's other file of captions is none of this one's business.
    page.keyboard.press("a")
    assert page.evaluate("Object.keys(localStorage)[0].split(' ')[2].length") == 64
    # Emptied, a caption is rejected, and the file keeps it.
    page.keyboard.press("e")
    page.keyboard.press("Control+a")
    page.keyboard.press("Delete")
    page.keyboard.press("Enter")
    assert captions(page)[1] == SAID[1]
    assert page.locator("#count").inner_text() == "1 accepted, 0 edited, 1 rejected, 3 not reviewed"
    reviewed.check()


def test_two_tabs_do_not_forget_each_other_s_work(review: Callable[..., Reviewed]) -> None:
    reviewed = review()
    one, other = reviewed.open(), reviewed.open()
    one.keyboard.press("a")
    other.wait_for_function("document.querySelector('#count').textContent.startsWith('1 accepted')")
    other.keyboard.press("j")
    other.keyboard.press("x")
    one.wait_for_function("document.querySelector('#count').textContent.includes('1 rejected')")
    one.reload()
    assert one.locator("#count").inner_text() == "1 accepted, 0 edited, 1 rejected, 3 not reviewed"
    reviewed.check()


def test_photos_are_found_by_word_confidence_and_verdict(review: Callable[..., Reviewed]) -> None:
    reviewed = review()
    page = reviewed.open()
    page.keyboard.press("/")
    page.keyboard.type("GREEN")
    assert captions(page) == [SAID[1]]
    assert page.locator("mark").all_inner_texts() == ["green"]
    assert page.locator("#count").inner_text().startswith("1 of 5 photos shown; ")
    page.keyboard.press("Enter")
    page.keyboard.press("a")
    page.locator("#clear").click()
    page.locator("#from").fill("25")
    page.locator("#to").fill("60")
    assert captions(page) == SAID[1:3]
    page.locator("#clear").click()
    page.locator("#verdict").select_option("accepted")
    assert captions(page) == [SAID[1]]
    page.locator("#verdict").select_option("open")
    assert captions(page) == [SAID[0], *SAID[2:], "A thing."]
    # What is decided stays in sight until the filter is set anew.
    page.locator("#list .row").first.focus()
    page.keyboard.press("e")
    page.keyboard.type(" Red")
    page.keyboard.press("Enter")
    assert len(captions(page)) == 4
    page.locator("#verdict").select_option("edited")
    assert captions(page) == [f"{SAID[0]} Red"]
    page.locator("#clear").click()
    page.locator("#where").select_option("name")
    page.locator("#query").fill("plain")
    assert captions(page) == [f"{SAID[0]} Red"]
    # A word that an edit has brought is found.
    page.locator("#where").select_option("caption")
    page.locator("#query").fill('"drawn red"')
    assert captions(page) == [f"{SAID[0]} Red"]
    reviewed.check()


def test_what_is_held_down_decides_about_one_caption_and_typing_decides_about_none(
    review: Callable[..., Reviewed],
) -> None:
    page = review().open()
    page.keyboard.down("a")
    page.keyboard.down("a")
    page.keyboard.down("a")
    page.keyboard.up("a")
    page.keyboard.press("Control+x")
    page.locator("#query").fill("")
    page.locator("#query").press("x")
    page.locator("#query").fill("")
    page.locator("#from").press("a")
    page.locator("#list .caption").nth(1).click()
    page.keyboard.type("axu")
    page.keyboard.press("Escape")
    assert page.locator("#count").inner_text() == "1 accepted, 0 edited, 0 rejected, 4 not reviewed"


def test_buttons_do_what_keys_do_and_a_click_elsewhere_takes_an_edit(review: Callable[..., Reviewed]) -> None:
    reviewed = review()
    page = reviewed.open()
    page.locator(".row").nth(0).get_by_role("button", name="Accept").click()
    page.locator(".row").nth(1).get_by_role("button", name="Reject").click()
    page.locator("#list .caption").nth(2).click()
    page.keyboard.type(" So.")
    page.locator("h1").click()
    assert page.locator("#count").inner_text() == "1 accepted, 1 edited, 1 rejected, 2 not reviewed"
    page.locator(".row").nth(1).get_by_role("button", name="Undo").click()
    assert page.locator("#count").inner_text() == "1 accepted, 1 edited, 0 rejected, 3 not reviewed"
    reviewed.check()


def test_a_browser_that_keeps_nothing_says_so(review: Callable[..., Reviewed]) -> None:
    reviewed = review()
    page = reviewed.open()
    page.evaluate("() => { Storage.prototype.setItem = () => { throw new DOMException('', 'QuotaExceededError'); }; }")
    assert page.locator("#problem").inner_text() == ""
    page.keyboard.press("a")
    assert page.locator("#problem").inner_text().startswith("This browser keeps no more of what you do")
    assert page.locator("#count").inner_text().startswith("1 accepted")
    reviewed.check()


@pytest.mark.parametrize(("scheme", "width"), [("light", 320), ("dark", 1200)])
def test_it_fits_narrow_windows_and_follows_the_scheme(
    scheme: str, width: int, review: Callable[..., Reviewed]
) -> None:
    reviewed = review(color_scheme=scheme, viewport={"width": width, "height": 700})
    page = reviewed.open()
    page.keyboard.press("e")
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(22, 24, 26)") == (scheme == "dark")
    reviewed.check()


def test_without_script_it_is_a_plain_list(review: Callable[..., Reviewed], rows: list[Row]) -> None:
    reviewed = review(java_script_enabled=False)
    page = reviewed.open()
    assert captions(page) == [*SAID, "A thing."]
    assert page.locator("#list img").count() == 4
    assert all(box["width"] == 48 for box in map(_box, page.locator("#list img").all()))
    assert page.locator(".placeholder").inner_text() == "No picture: no such file"
    assert page.locator("#failures li").all_inner_texts() == ["broken.png: is empty"]
    assert "confidence 95 % \u00b7 no space" in page.locator("#list").inner_text()
    assert not any(each.is_visible() for each in page.locator("form, button, #keys, .turn").all())
    assert "this is a plain list" in page.locator("noscript").inner_text()
    if ODD_NAMES:
        names = page.locator("#list .name").all_text_contents()
        assert names[1].endswith('line\\nend, "quoted" <b>&amp;.png') and names[3].endswith("odd-\\udcff\\udce9.png")
    reviewed.check()


def _box(place: Any) -> dict[str, float]:
    return dict(place.bounding_box())


def test_of_several_captions_of_a_photo_each_is_decided_by_itself(
    capcli: RunCommand, browser: Browser, photos: Path, tmp_path: Path
) -> None:
    form = row_format("csv", ranked=True)
    said = [("plain.png", 2, "Red."), ("plain.png", 1, "A ring."), (NAMES[2], 1, "A blue dot.")]
    rows = [Row(str(photos / name), text, -0.5, None, rank) for name, rank, text in said]
    (tmp_path / "captions.csv").write_bytes(form.header() + b"".join(map(form.record, rows)))
    assert capcli("review", "captions.csv", "-o", "review.html", cwd=tmp_path).code == 0
    reviewed = Reviewed(browser.new_context(), tmp_path / "review.html")
    page = reviewed.open()
    assert page.locator("#list img").count() == 2
    assert captions(page) == ["Red.", "A ring.", "A blue dot."]
    for key in ("x", "a", "j"):
        page.keyboard.press(key)
    # There is nothing to go by, and no filter for it.
    assert not page.locator("#from").is_visible()
    lines = table(downloaded(page, tmp_path))
    assert [(row[1], row[-1]) for row in lines] == [("rank", "review"), ("2", "rejected"), ("1", "accepted"), ("1", "")]
    items, _ = read_captions(photos, tmp_path / "corrected.csv")
    assert [item.captions for item in items] == [("A ring.",)]
    reviewed.check()
    reviewed.context.close()


def test_500_are_shown_at_a_time_and_keys_lead_to_the_next(browser: Browser, tmp_path: Path) -> None:
    file = tmp_path / "captions.csv"
    lines = [f"{number}.jpg,Thing {number}.,{number / 2000}\r\n" for number in range(1201)]
    file.write_text("path,caption,confidence\r\n" + "".join(lines), newline="")
    found = read_captions_file(file, "csv")
    thumbnails = Thumbnails(None, tmp_path)
    # As the command does it with 5,000.
    pages = review_pages(found, photos_a_page=1100)
    names = ["r.html", "r-2.html"]
    for page, name in zip(pages, names, strict=True):
        (tmp_path / name).write_bytes(b"".join(page_html(found, page, names, shown_photos(page, thumbnails))))
    reviewed = Reviewed(browser.new_context(), tmp_path / "r.html")
    view = reviewed.open()
    assert captions(view) == [f"Thing {number}." for number in range(500)]
    view.locator("#list .row").last.focus()
    view.keyboard.press("a")
    assert captions(view) == [f"Thing {number}." for number in range(500, 1000)]
    assert view.evaluate("document.activeElement.querySelector('.caption').textContent") == "Thing 500."
    assert view.locator("#window").inner_text() == "501 to 1,000 of 1,100"
    view.locator("#on").click()
    assert captions(view)[-1] == "Thing 1099." and view.locator("#on").is_disabled()
    view.locator("#back").click()
    view.keyboard.press("k")
    assert view.evaluate("document.activeElement.querySelector('.caption').textContent") == "Thing 499."
    view.locator("#query").fill("999")
    assert captions(view) == ["Thing 999."]
    reviewed.check()
    # The other page has the others, and its own file of them.
    view.get_by_role("link", name="r-2.html").click()
    assert captions(view) == [f"Thing {number}." for number in range(1100, 1201)]
    assert view.locator("#count").inner_text() == "0 accepted, 0 edited, 0 rejected, 101 not reviewed"
    with view.expect_download() as waiting:
        view.locator("#download").click()
    assert waiting.value.suggested_filename == "captions-reviewed-2.csv"
    waiting.value.save_as(tmp_path / "second.csv")
    assert [row[0] for row in table((tmp_path / "second.csv").read_bytes())[1:]] == [
        f"{number}.jpg" for number in range(1100, 1201)
    ]
    reviewed.context.close()
