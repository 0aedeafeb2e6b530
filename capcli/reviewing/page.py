"""A file of captions -> HTML pages to review it in. Knows nothing of where they are written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote_from_bytes

from capcli.errors import ImageError
from capcli.messages import printable
from capcli.pages.rendering import render
from capcli.reviewing.captions_file import CaptionsFile, ReviewRow
from capcli.reviewing.thumbnails import Thumbnail, Thumbnails

PHOTOS_A_PAGE = 5000


@dataclass(frozen=True)
class ReviewPage:
    """One of the pages: its photos, the rows of each, and rows without a caption. `number` counts from 1."""

    number: int
    photos: Sequence[Sequence[ReviewRow]]
    failures: Sequence[ReviewRow]

    @property
    def rows(self) -> list[ReviewRow]:
        """All of its rows, in the order of the file."""
        rows = [row for photo in self.photos for row in photo]
        return sorted([*rows, *self.failures], key=lambda row: row.number)


@dataclass(frozen=True)
class ShownPhoto:
    """A photo as the page shows it; without a thumbnail, `error` says why."""

    name: str
    thumbnail: Thumbnail | None
    error: str | None
    rows: Sequence[ReviewRow]


def review_pages(file: CaptionsFile, photos_a_page: int = PHOTOS_A_PAGE) -> list[ReviewPage]:
    """Divides a file into pages; each row is on one of them.

    Args:
        file: what is reviewed.
        photos_a_page: the most on one page, of photos and of rows without a caption.
    """
    photos, failures = file.photos(), file.failures()
    starts = range(0, max(len(photos), len(failures)), photos_a_page)
    return [
        ReviewPage(number, photos[start : start + photos_a_page], failures[start : start + photos_a_page])
        for number, start in enumerate(starts, start=1)
    ]


def page_html(
    file: CaptionsFile, page: ReviewPage, names: Sequence[str], photos: Iterable[ShownPhoto]
) -> Iterator[bytes]:
    """One page, piece by piece.

    Args:
        file: what is reviewed.
        page: one of its pages.
        names: the file names of all pages, which lie in one folder.
        photos: those of the page; taken as the pieces are asked for.
    Returns:
        ASCII bytes of a whole HTML document.
    """
    name = printable(file.path.name)
    return render(
        "review",
        title=f"capcli review: {name}",
        generator="capcli review",
        shared=("words",),
        name=name,
        number=page.number,
        links=[(printable(other), quote_from_bytes(_bytes(other), safe="")) for other in names],
        count=len(page.photos),
        photos=photos,
        failures=page.failures,
        printable=printable,
        review={
            "sha256": file.sha256,
            "columns": file.columns,
            "marked": file.marked,
            "rows": [[row.number, row.cells] for row in page.rows],
            "confidences": {row.number: row.confidence for row in page.rows if row.confidence is not None},
            "download": corrected_name(file.path, page.number),
        },
    )


def shown_photos(page: ReviewPage, thumbnails: Thumbnails) -> Iterator[ShownPhoto]:
    """The photos of a page, one after the other as they are read."""
    paths = [rows[0].row.path for rows in page.photos]
    with closing(thumbnails.of(paths)) as pictures:
        for rows, picture in zip(page.photos, pictures, strict=True):
            error = str(picture) if isinstance(picture, ImageError) else None
            thumbnail = None if isinstance(picture, ImageError) else picture
            yield ShownPhoto(printable(rows[0].row.path), thumbnail, error, rows)


def corrected_name(path: Path, number: int) -> str:
    """What the corrected rows of a page are called: for captions.csv captions-reviewed.csv, captions-reviewed-2.csv."""
    return f"{printable(path.stem)}-reviewed{'' if number == 1 else f'-{number}'}.csv"


def page_path(path: Path, number: int) -> Path:
    """Where a page lies: review.html, review-2.html and so on."""
    return path if number == 1 else path.with_name(f"{path.stem}-{number}{path.suffix}")


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")
