"""Templates -> pages that need nothing else: no network, no other file.

A page is NAME.html on base.html, with one script, NAME.js below what it shares with others, and style.css as its only
style. Its policy lets nothing be fetched, and nothing but these two run or apply. Texts are escaped, and what a script
reads travels as JSON. Knows nothing of what pages show.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from importlib import resources
from typing import Any

import numpy as np
from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

_ROOM = "capcli.pages"


def render(page: str, *, title: str, generator: str, shared: Sequence[str] = (), **values: Any) -> Iterator[bytes]:
    """A page, piece by piece; what `values` iterate over is taken as the pieces are asked for.

    Args:
        page: the name of its template and its script.
        title: of the document.
        generator: the command that writes it.
        shared: names of scripts that its own one builds on.
        values: what its template names.
    Returns:
        ASCII bytes of a whole HTML document.
    """
    # As the template engine gives it out, without the line end of the last line: the policy is of these very bytes.
    script, style = "\n".join(_read(f"{name}.js") for name in (*shared, page)), _read("style.css")
    policy = (
        f"default-src 'none'; img-src data:; script-src {_digest(script)}; style-src {_digest(style)}; base-uri 'none'"
    )
    template = _environment().get_template(f"{page}.html")
    own = {"policy": Markup(policy), "script": Markup(script), "style": Markup(style)}
    for piece in template.generate(**values, **own, title=title, generator=generator):
        # A half character, as a file name may hold, is none in HTML; JSON has an escape for it.
        yield piece.encode("utf-8", "replace").decode("utf-8").encode("ascii", "xmlcharrefreplace")


def picture_uri(pixels: np.ndarray, quality: int) -> str:
    """A picture as a data URI, in WebP.

    Args:
        pixels: uint8 [H, W, 3].
        quality: 0 to 100.
    """
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "WEBP", quality=quality)
    return "data:image/webp;base64," + base64.b64encode(content.getvalue()).decode("ascii")


def _environment() -> Environment:
    environment = Environment(loader=FunctionLoader(_read), autoescape=True, undefined=StrictUndefined)
    environment.filters["data"] = _data
    return environment


def _data(value: Any) -> Markup:
    """A value as JSON for a script element."""
    # Without "<" nothing in it can end the script element or begin a comment; in JSON it only occurs inside strings.
    return Markup(json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c"))


def _read(name: str) -> str:
    return resources.files(_ROOM).joinpath(name).read_text("utf-8")


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}'"
