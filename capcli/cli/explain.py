"""`capcli explain PHOTO`: one caption word by word, in the terminal, as a page or as a picture."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from capcli.cli.terminal import answer
from capcli.errors import ImageError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from capcli.explanation import Explanation

_BAR = 30
_KINDS = (".html", ".htm", ".png")


def explain(
    photo: Annotated[Path, typer.Argument(help="A photo.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Page (.html, needs the pages extra) or picture (.png) to write."
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a page that exists; a picture never is.")
    ] = False,
    model: Annotated[str, typer.Option(help="A bundle's name or folder.")] = "default",
    provider: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Show how sure a caption is, word by word, and where the model looked."""
    from capcli.extras import need
    from capcli.outputs.files import WholeFile

    kind = None if output is None else output.suffix.lower()
    if kind is not None and kind not in _KINDS:
        raise UsageError(f"{output}: its suffix must be .html or .png")
    if kind in (".html", ".htm"):
        need("pages", "capcli explain -o FILE.html")
    with (
        nullcontext()
        if output is None
        else WholeFile(output, overwrite=overwrite, inputs=[photo], makes_picture=kind == ".png")
    ) as file:
        from capcli.captioner import Captioner
        from capcli.explanation.parts import explain as explain_photo

        captioner = Captioner(model, provider=provider)
        try:
            found = explain_photo(captioner, photo)
        except ImageError as error:
            raise UsageError(f"{photo}: {error}") from error
        if file is None:
            _tell(found)
        elif kind == ".png":
            file.write([_png(found)])
        else:
            from capcli.explanation.page import explanation_page

            file.write(explanation_page(found, name=photo.name, model=captioner.bundle.manifest.name))


def _png(found: Explanation) -> bytes:
    import io

    from capcli.explanation.picture import explanation_picture

    content = io.BytesIO()
    explanation_picture(found).save(content, "PNG", optimize=True)
    return content.getvalue()


def _tell(found: Explanation) -> None:
    for line in _lines(found, _bar_sign()):
        answer(line)


def _lines(found: Explanation, sign: str) -> Iterator[str]:
    yield found.caption
    yield (
        "how likely it is right is not known"
        if found.confidence is None
        else f"right with an estimated chance of {found.confidence:.0%}"
    )
    for reason in found.reasons:
        yield f"  {'for it' if reason.logit > 0 else 'against it'}: {reason.text} ({reason.logit:+.2f})"
    yield ""
    widest = max(len(word.text or "(end)") for word in found.words)
    for word in found.words:
        bar = sign * round(_BAR * word.probability)
        look = f"  looked {word.peak}" if word.peak else ""
        yield f"{word.text or '(end)':<{widest}}  {bar:<{_BAR}} {word.probability:4.0%}{look}"
    if found.attends:
        yield "A look is where the decoder read from as it said a word; it proves nothing about why."
    else:
        yield "This model has no attention: it cannot show where it looked."
    if found.others:
        yield ""
        yield "What else it might have said, with the mean probability of a word:"
        yield from (f"{other.probability:4.0%}  {other.text}" for other in found.others)


def _bar_sign() -> str:
    try:
        "█".encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return "#"
    return "█"
