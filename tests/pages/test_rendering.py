"""Pages from templates: texts stay texts, and nothing but the page's own script and style may run."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator

import numpy as np
import pytest

pytest.importorskip("jinja2", reason="needs the pages extra")

from capcli.pages import picture_uri, render

HOSTILE = "</title></script><script>alert(1)</script><img src=x onerror=alert(2)> \U0001f436 \udcff {{ 7 * 7 }}"


def report(text: str) -> str:
    pieces = render("report", title=text, generator=text, summary={"captions": text}, images=iter([{"name": text}]))
    return b"".join(pieces).decode("ascii")


def test_no_text_becomes_markup() -> None:
    clean, hostile = report("x"), report(HOSTILE)
    assert hostile.count("<") == clean.count("<")
    assert "alert(1)" in hostile and "49" not in re.sub(r"[^{}0-9]", "", hostile).split("{")[0]


def test_the_policy_names_the_page_s_own_script_and_style_and_nothing_else() -> None:
    page = report("x")
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    digests = {
        kind: base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for kind, text in re.findall(r"<(script|style)>(.*?)</\1>", page, re.DOTALL)
    }
    assert policy == (
        f"default-src 'none'; img-src data:; script-src 'sha256-{digests['script']}'; "
        f"style-src 'sha256-{digests['style']}'; base-uri 'none'"
    )


def test_a_page_is_made_as_its_pieces_are_asked_for() -> None:
    taken = []

    def images() -> Iterator[dict[str, int]]:
        for number in range(100):
            taken.append(number)
            yield {"number": number}

    pieces = render("report", title="x", generator="x", summary={}, images=images())
    while b'"number":3' not in next(pieces):
        pass
    assert len(taken) < 10


def test_a_picture_travels_in_the_page() -> None:
    kind, _, content = picture_uri(np.zeros((4, 6, 3), np.uint8), 80).partition(",")
    assert kind == "data:image/webp;base64"
    assert base64.b64decode(content)[8:12] == b"WEBP"
