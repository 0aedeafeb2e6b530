"""A page of a review: whole and harmless, whatever a file of captions says, and a part of the rows of all."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

pytest.importorskip("jinja2", reason="needs the pages extra")

from capcli.outputs.rows import Row, row_format
from capcli.reviewing import Thumbnails, read_captions_file, review_pages
from capcli.reviewing.page import corrected_name, page_html, page_path, shown_photos

HOSTILE = "</script></title><script>alert(1)</script><img src=x onerror=alert(2)> {{ 7 * 7 }} \udcff \u202e"


def pages_of(tmp_path: Path, name: str, text: str) -> list[str]:
    """The pages, of two photos each, of five rows that hold some text in every cell that has one."""
    rows = [Row(f"{text}{number}.jpg", text, -0.5, text, confidence=0.5, note=text) for number in range(3)]
    rows += [Row(f"{text}{number}.jpg", None, None, text) for number in (3, 4)]
    form = row_format("jsonl", ranked=False)
    file = tmp_path / name
    file.write_bytes(b"".join(map(form.record, rows)))
    found = read_captions_file(file, "jsonl")
    pages = review_pages(found, photos_a_page=2)
    names = [page_path(Path(f"{name}.html"), page.number).name for page in pages]
    thumbnails = Thumbnails(None, tmp_path)
    return [b"".join(page_html(found, page, names, shown_photos(page, thumbnails))).decode("ascii") for page in pages]


def test_no_text_becomes_markup(tmp_path: Path) -> None:
    clean, hostile = pages_of(tmp_path, "x", "x"), pages_of(tmp_path, "<b>'a:b&amp;", HOSTILE)
    assert [page.count("<") for page in hostile] == [page.count("<") for page in clean]
    assert "{{ 7 * 7 }}" in hostile[0]
    # Links lead to the other page, whatever it is called: to no other scheme, and to nothing else on the page.
    assert re.findall(r'href="([^"]*)"', hostile[0]) == ["%3Cb%3E%27a%3Ab%26amp%3B-2.html"]


def test_every_row_is_on_one_page_in_the_order_of_the_file(tmp_path: Path) -> None:
    pages = pages_of(tmp_path, "x", "x")
    data = [json.loads(re.findall(r'id="review-data">(.*?)</script>', page)[0]) for page in pages]
    assert [[number for number, _ in each["rows"]] for each in data] == [[0, 1, 3, 4], [2]]
    assert [each["download"] for each in data] == ["x-reviewed.csv", "x-reviewed-2.csv"]
    assert len({each["sha256"] for each in data}) == 1
    assert [page.count('<li class="image">') for page in pages] == [2, 1]


def test_pages_and_what_they_give_are_called_after_the_input() -> None:
    assert page_path(Path("a/review.html"), 1) == Path("a/review.html")
    assert page_path(Path("a/review.html"), 3) == Path("a/review-3.html")
    assert corrected_name(Path("a/my captions.jsonl"), 2) == "my captions-reviewed-2.csv"
