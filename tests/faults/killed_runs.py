"""The runs that are killed: a folder of photos that somebody has written to before, and a command for it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from capcli.outputs.metadata import write_description
from capcli.outputs.rows import Row
from capcli.outputs.xmp_sidecars import XmpSidecars
from tests.conftest import TINY_BUNDLE, environment
from tests.shapes import COLOURS, SHAPES, draw

BY_HAND = "By hand, and not to be lost."
_HEADER = "path,caption,score,error,confidence,note\r\n"
_MODEL = ("--model", str(TINY_BUNDLE), "--batch-size", "2")
_ALL = ("--sidecar", ".txt", "--xmp", "--write-metadata")


@dataclass(frozen=True)
class KilledRun:
    """A command and what a user gives after a kill: the same, or another one that goes on.

    `prepare` fills the folder in which both are run; `rows`: the file there that gets rows; `code`: what both end with.
    """

    name: str
    prepare: Callable[[Path], None]
    command: tuple[str, ...]
    again: tuple[str, ...]
    rows: str | None = None
    code: int = 0


def run_capcli(folder: Path, *arguments: str) -> None:
    """Runs the command in a folder, to prepare it."""
    code = "from capcli.cli import main; main()"
    subprocess.run([sys.executable, "-c", code, *arguments], cwd=folder, env=environment(), check=True)


def photos(folder: Path) -> None:
    """Seven photos of four kinds and a broken one: every other has texts of its own in all places."""
    place = folder / "photos"
    (place / "sub").mkdir(parents=True)
    kinds = (".jpg", ".png", ".webp", ".tif", ".jpg", ".png", ".jpg")
    for number, kind in enumerate(kinds):
        shape, colour = SHAPES[number % 3], list(COLOURS)[number % 4]
        photo = place / ("sub" if number > 4 else "") / f"{number}{kind}"
        exif = Image.Exif()
        exif[0x010F] = "Maker"
        draw(shape, colour, "white", number, 64).save(photo, exif=exif)
        if number % 2 == 0:
            write_description(photo, f"{BY_HAND} {number}")
            XmpSidecars().put([Row(str(photo), f"{BY_HAND} {number}", None, None)])
            photo.with_suffix(".txt").write_text(f"{BY_HAND} {number}\n")
    (place / "3b.jpg").write_bytes((place / "0.jpg").read_bytes()[:300])


def _whole_photos(folder: Path) -> None:
    photos(folder)
    (folder / "photos" / "3b.jpg").unlink()


def _given(folder: Path) -> None:
    """Photos, and captions for them in a file."""
    _whole_photos(folder)
    run_capcli(folder, "caption", "photos", "-o", "captions.csv", "-q", *_MODEL)


def _written(folder: Path) -> None:
    """Photos with captions in place of their own texts, which the rows tell of."""
    _whole_photos(folder)
    run_capcli(folder, "caption", "photos", "-o", "captions.csv", *_ALL[2:], "--existing", "replace", "-q", *_MODEL)


def _mended(folder: Path) -> None:
    """Rows of photos, of which two had failed and can be read now."""
    _given(folder)
    rows = (folder / "captions.csv").read_text().splitlines(keepends=True)
    names = [row.partition(",")[0] for row in rows]
    rows[2], rows[5] = (f"{names[number]},,,is damaged (x),,\r\n" for number in (2, 5))
    (folder / "captions.csv").write_text("".join(rows), newline="")


def _old_file(folder: Path) -> None:
    photos(folder)
    rows = "".join(f"photos/{number}.jpg,Of long ago.,-0.5000,,,\r\n" for number in range(40))
    (folder / "captions.csv").write_text(_HEADER + rows, newline="")


def _bundled(folder: Path) -> None:
    """Photos to prove a bundle with, and one in its place that is another."""
    _whole_photos(folder)
    shutil.copytree(TINY_BUNDLE, folder / "bundle")
    (folder / "bundle" / "old.txt").write_text("Of the old one.")


def _listed(folder: Path) -> None:
    photos(folder)
    shutil.make_archive(str(folder / "photos"), "tar", folder, "photos")
    shutil.rmtree(folder / "photos")


def _caption(
    name: str,
    *options: str,
    rows: str | None = None,
    prepare: Callable[[Path], None] = photos,
    again: tuple[str, ...] = ("--resume",),
    code: int = 1,
    inputs: str = "photos",
) -> KilledRun:
    where = () if rows is None else ("-o", rows)
    command = ("caption", inputs, *where, *options, *_MODEL)
    return KilledRun(name, prepare, command, (*command, *(again if rows else ())), rows, code)


_APPLY = ("apply", "captions.csv", *_ALL, "--existing", "replace")
_UNDO = ("apply", "captions.csv", "--undo")
_EXPORT = (
    *("export", str(TINY_BUNDLE), "bundle", "--overwrite", "--precision", "float32"),
    *("--proof-images", "photos", "--name", "x"),
)
_REVIEW = ("review", "captions.csv", "-o", "page.html")

RUNS = (
    _caption("caption, CSV", rows="captions.csv"),
    _caption("caption, 3 a photo, JSON", "--captions", "3", rows="captions.jsonl"),
    _caption("caption, a tar", rows="captions.csv", prepare=_listed, inputs="photos.tar"),
    _caption("caption, image folder", "--format", "imagefolder", rows="photos/metadata.jsonl"),
    _caption("caption, sidecars", *_ALL[:2]),
    _caption("caption, sidecars added to", *_ALL[:2], "--existing", "append", rows="captions.csv"),
    _caption("caption, XMP", "--xmp", "--existing", "replace", rows="captions.csv"),
    _caption("caption, metadata", "--write-metadata", "--existing", "replace", rows="captions.csv"),
    _caption("caption, all places", *_ALL, "--existing", "replace", rows="captions.csv"),
    _caption("caption, all, no rows", *_ALL, "--existing", "replace"),
    _caption("caption, all, kept", *_ALL, rows="captions.tsv.csv"),
    KilledRun(
        "caption, overwrite",
        _old_file,
        ("caption", "photos", "-o", "captions.csv", "--overwrite", *_MODEL),
        ("caption", "photos", "-o", "captions.csv", "--overwrite", *_MODEL),
        "captions.csv",
        1,
    ),
    _caption(
        "caption, retry failed",
        *("--resume", "--retry-failed"),
        rows="captions.csv",
        prepare=_mended,
        again=(),
        code=0,
    ),
    KilledRun("apply", _given, _APPLY, _APPLY),
    KilledRun("apply, rows", _given, (*_APPLY, "-o", "done.csv"), (*_APPLY, "-o", "done.csv", "--resume"), "done.csv"),
    KilledRun("apply --undo", _written, _UNDO, _UNDO),
    KilledRun("apply --undo, rows", _written, (*_UNDO, "-o", "x.csv"), (*_UNDO, "-o", "x.csv", "--resume"), "x.csv"),
    KilledRun("export", _bundled, _EXPORT, _EXPORT),
    KilledRun("review", _given, _REVIEW, (*_REVIEW, "--overwrite")),
)
