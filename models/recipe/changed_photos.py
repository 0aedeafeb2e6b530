"""Makes changed copies of a split's photos, to see whether captions depend on the picture or on its file.

    python models/recipe/changed_photos.py SPLIT_FILE IMAGES OUT [KIND ...]

writes OUT/KIND/NAME for every photo that SPLIT_FILE names, one a line, and every kind (all by default). A copy keeps
its photo's name, so that the same captions file and split file serve `capcli evaluate`, which goes by what is in a file
and not by its suffix: JPEG and WebP kinds are such files, all others are PNG. The same photo is changed in the same way
each time.
"""

from __future__ import annotations

import argparse
import sys
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from capcli.training.inputs.corruptions import Corruption, Grey, Noise, Rescale, Sharpen

# A kind is a file format with its quality, or a change that is saved without loss.
FILES = {"jpeg75": ("JPEG", 75), "jpeg50": ("JPEG", 50), "webp75": ("WEBP", 75)}
CHANGES = ("grey", "noise", "sharpened", "rescaled", "enlarged")


def change(kind: str, name: str) -> Corruption | None:
    """The change that a kind makes to the photo of this name; None for "enlarged"."""
    seed = zlib.crc32(name.encode())
    return {
        "grey": Grey(),
        "noise": Noise(12, "colour", seed),
        "sharpened": Sharpen(2, 150),
        "rescaled": Rescale(0.6, Image.Resampling.LANCZOS, Image.Resampling.BICUBIC),
    }.get(kind)


def write_changed(photo: Path, target: Path, kind: str) -> None:
    """Writes one changed copy."""
    with Image.open(photo) as opened:
        image = opened.convert("RGB")
    if kind in FILES:
        saved_as, quality = FILES[kind]
        image.save(target, saved_as, quality=quality)
        return
    changed = change(kind, photo.name)
    if changed is not None:
        image = Image.fromarray(changed.apply(np.asarray(image)))
    else:
        # As large as a photo that was made smaller for the web, and sharp as one.
        image = Image.fromarray(Sharpen(1, 100).apply(np.asarray(image.resize((640, 480), Image.Resampling.LANCZOS))))
    image.save(target, "PNG", compress_level=1)


def main() -> int:
    parser = argparse.ArgumentParser(description="Makes changed copies of a split's photos.")
    parser.add_argument("split", type=Path, help="file that names the photos, one a line")
    parser.add_argument("images", type=Path, help="folder of the photos")
    parser.add_argument("out", type=Path, help="where a folder for each kind is made")
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=", ".join([*FILES, *CHANGES]))
    given = parser.parse_args()
    unknown = [kind for kind in given.kinds if kind not in FILES and kind not in CHANGES]
    if unknown:
        parser.error(f"no such kind: {', '.join(unknown)}; there are {', '.join([*FILES, *CHANGES])}")
    names = given.split.read_text("utf-8").split()
    for kind in given.kinds or (*FILES, *CHANGES):
        folder = given.out / kind
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            write_changed(given.images / name, folder / name, kind)
        print(f"{folder}: {len(names)} photos", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
