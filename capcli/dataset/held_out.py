"""Takes out of the training images what is held out for validation or test too, by the bytes of the files.

Names do not tell: two captions files spell one differently, a folder is given twice, a photo was copied. Knows nothing
of pixels: the same photo saved anew is another file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from capcli.dataset.captions import CaptionedImage
from capcli.dataset.content_key import content_key
from capcli.messages import first_few


@dataclass(frozen=True)
class TrainingImages:
    """What is left to train on, and one line on what was taken away, None where nothing was."""

    images: list[CaptionedImage]
    note: str | None = None


def without_held_out(
    train: Sequence[CaptionedImage], validation: Sequence[CaptionedImage], test: Sequence[CaptionedImage]
) -> TrainingImages:
    """Leaves out training images whose file, byte for byte, is held out too.

    A file that cannot be read is like no other. Of two equal training images both stay.

    Args:
        train: the training images of all data sets.
        validation: all images held back for validation, in whichever data set.
        test: all images that a captions file marks as "test".
    """
    # Empty files are no photos; whoever reads them says so.
    sizes = {size for image in (*validation, *test) if (size := _size(image.path))}
    # Files of different sizes differ: of most of them no byte is read here.
    suspects = {path: size for path in {image.path for image in train} if (size := _size(path)) in sizes}
    shared = set(suspects.values())
    held: dict[str | None, str] = {}
    for part, images in (("test", test), ("validation", validation)):
        held |= {_key_of(path): part for path in {image.path for image in images} if _size(path) in shared}
    held.pop(None, None)
    parts = {path: held[key] for path in suspects if (key := _key_of(path)) in held}
    if not parts:
        return TrainingImages(list(train))
    taken = [image for image in train if image.path in parts]
    told = " and ".join(
        f"{count} in {part}"
        for part in ("validation", "test")
        if (count := sum(parts[image.path] == part for image in taken))
    )
    what = "training image is" if len(taken) == 1 else "training images are"
    return TrainingImages(
        [image for image in train if image.path not in parts],
        f"{len(taken)} {what} held out too, the same file or a copy of it ({told}), and not trained on: "
        f"{first_few([str(image.path) for image in taken])}",
    )


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _key_of(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return content_key(file)
    except OSError:
        return None
