"""`capcli review FILE`: captions of a file as pages to accept, correct and reject them in."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from capcli.cli.run_control import check_counts
from capcli.cli.terminal import say, with_bar
from capcli.errors import UsageError
from capcli.messages import first_few
from capcli.settings import MOST_THREADS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from capcli.reviewing.page import ShownPhoto


def review(
    captions: Annotated[
        Path, typer.Argument(metavar="FILE", help="Captions that capcli wrote: .csv, .tsv, .jsonl or .txt.")
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="PAGE",
            help="Page to write (.html). It holds 5,000 photos; more fill others, PAGE-2.html and so on.",
        ),
    ],
    photos: Annotated[
        Path | None,
        typer.Option(help="Folder to look for the photos in. Default: where their paths say, then beside FILE."),
    ] = None,
    format_: Annotated[
        str | None, typer.Option("--format", help="text, csv, tsv or jsonl. Default: by the suffix of FILE.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace pages that exist.")] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print no line about what was written or could not be read.")
    ] = False,
    max_pixels: Annotated[
        int | None, typer.Option(help="Show no photos with more pixels than this. Default: 200 million.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Threads that read and decode photos. Default: one for each core.")
    ] = None,
) -> None:
    """Make pages on which captions are looked at, corrected, accepted and rejected, in a browser and without a server.

    A page opens without a network, keeps what was done in the browser, and gives it back as a corrected CSV.
    """
    from capcli.extras import need
    from capcli.outputs.files import WholeFile
    from capcli.outputs.rows import format_of

    check_counts(max_pixels=max_pixels, workers=workers)
    if output.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"{output}: its suffix must be .html")
    if photos is not None and not os.path.isdir(photos):
        raise UsageError(f"{photos}: {'not a folder' if os.path.exists(photos) else 'no such folder'} of photos")
    form = format_of(captions, format_)
    need("pages", "capcli review")
    from capcli.inputs.images import MAX_PIXELS
    from capcli.reviewing.captions_file import read_captions_file
    from capcli.reviewing.page import page_html, page_path, review_pages, shown_photos
    from capcli.reviewing.thumbnails import Thumbnails
    from capcli.runtime.cores import available_cores

    reviewed = read_captions_file(captions, form)
    thumbnails = Thumbnails(
        photos,
        captions.parent,
        workers=workers or min(available_cores(), MOST_THREADS),
        max_pixels=max_pixels or MAX_PIXELS,
    )
    pages = review_pages(reviewed)
    paths = [page_path(output, page.number) for page in pages]
    unread: list[ShownPhoto] = []
    with ExitStack() as stack:
        # Before the first photo is read: can all of them be written?
        files = [stack.enter_context(WholeFile(path, overwrite=overwrite, inputs=[captions])) for path in paths]
        names = [path.name for path in paths]
        for page, file, name in zip(pages, files, names, strict=True):
            shown = with_bar(shown_photos(page, thumbnails), name, len(page.photos))
            file.write(page_html(reviewed, page, names, _noting(shown, unread)))
    if quiet:
        return
    if unread:
        photos_are = "1 photo is" if len(unread) == 1 else f"{len(unread)} photos are"
        say(f"{photos_are} shown without a picture: {first_few([f'{photo.name}: {photo.error}' for photo in unread])}")
    if sys.stderr.isatty():
        count = sum(len(page.photos) for page in pages)
        say(f"{count} photo{'' if count == 1 else 's'} to review in {', '.join(map(str, paths))}; open it in a browser")


def _noting(photos: Iterable[ShownPhoto], unread: list[ShownPhoto]) -> Iterator[ShownPhoto]:
    """The same photos; notes those without a picture."""
    for photo in photos:
        if photo.error is not None:
            unread.append(photo)
        yield photo
