"""The page of an explanation in a real browser: words by pointer and keyboard, and nothing fetched."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("jinja2", reason="needs the pages extra")

from capcli import Captioner
from capcli.explanation import explain
from tests.shapes import draw

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def page_file(sure: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from capcli.explanation.page import explanation_page

    found = explain(Captioner(sure, provider="cpu"), draw("circle", "red", "white", 1000, 64))
    file = tmp_path_factory.mktemp("page") / "look.html"
    file.write_bytes(b"".join(explanation_page(found, name="circle.png", model="tiny")))
    return file


@pytest.mark.parametrize(("scheme", "width"), [("light", 1200), ("dark", 320)])
def test_words_are_reached_by_pointer_and_keyboard(scheme: str, width: int, browser: Browser, page_file: Path) -> None:
    page = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 900})  # type: ignore[arg-type]
    troubles: list[str] = []
    fetched: list[str] = []
    page.on("console", lambda message: troubles.append(message.text))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("request", lambda request: fetched.append(request.url))
    page.goto(page_file.as_uri())

    words, told = page.locator(".said-word"), page.locator("#told")
    opacities = "all => all.map(place => Number(getComputedStyle(place).fillOpacity))"
    assert page.locator(".place").evaluate_all(opacities) == [0, 0, 0, 0]
    words.nth(2).click()
    assert told.inner_text().startswith("\u201ccircle\u201d: probability ")
    assert words.nth(2).get_attribute("aria-pressed") == "true"
    clicked = page.locator(".place").evaluate_all(opacities)
    assert 0 < max(clicked) <= 0.85 + 1e-6
    page.keyboard.press("Tab")
    assert told.inner_text().startswith("\u201con\u201d: probability ")
    assert [word.get_attribute("aria-pressed") for word in words.all()].count("true") == 1
    assert page.locator(".place").evaluate_all(opacities) != clicked

    # Nothing to scroll sideways, and the colours follow the scheme.
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(22, 24, 26)") == (scheme == "dark")
    assert troubles == []
    assert [url for url in fetched if not url.startswith("data:")] == [page_file.as_uri()]
    page.close()
