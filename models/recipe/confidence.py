"""Fits how sure a bundle is of its captions on the dev splits, and puts that into its manifest.

    python models/recipe/confidence.py ../shared/data models/default

captions all dev photos of the three sets, which takes some minutes. `capcli export` does the same for a run; this is
for a bundle that is to stay as it is.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from capcli import Captioner
from capcli.bundle.bundle import Bundle, load_bundle, write_manifest
from capcli.dataset.captions import CaptionedImage, read_captions
from capcli.training.confidence import fit_judged, judge

DEV = {
    "flickr8k": "Flickr_8k.devImages.txt",
    "scenes": "scenes.devImages.txt",
    "wide": "wide.devImages.txt",
}


@dataclass(frozen=True)
class Measured:
    """What a bundle says of a dev photo, with its signals; `image` has the photo's references."""

    data_set: str
    image: CaptionedImage
    caption: str
    score: float
    signals: dict[str, float]


def photos_of(data: Path, name: str, split: str) -> list[CaptionedImage]:
    """The photos of a data set that a split file names, in its order, with their references."""
    images, _ = read_captions(data / name / "Images", data / name / "captions.txt")
    by_name = {image.path.name: image for image in images}
    return [by_name[line] for line in (data / name / split).read_text("utf-8").split()]


def dev_photos(data: Path) -> list[tuple[str, CaptionedImage]]:
    """The dev photos of the three sets with their references, in the order of the splits."""
    return [(name, image) for name, split in DEV.items() for image in photos_of(data, name, split)]


def measure(bundle: Bundle, data: Path, kept: Path | None) -> Iterator[Measured]:
    """Captions what the file of an earlier run lacks, and adds it there."""
    photos = dev_photos(data)
    known = {}
    of = [bundle.says, bundle.matching_fingerprint]
    if kept is not None and kept.exists():
        rows = [json.loads(line) for line in kept.read_text("utf-8").splitlines()]
        known = {tuple(row["key"]): row for row in rows if row.get("of") == of}
    todo = [(name, image) for name, image in photos if (name, image.path.name) not in known]
    if todo:
        results = Captioner(bundle, provider="cpu").stream([image.path for _, image in todo], details=True)
        for (name, image), result in zip(todo, results, strict=True):
            best = result.captions[0]
            row = {
                "of": of,
                "key": [name, image.path.name],
                "caption": best.text,
                "score": best.score,
                "signals": best.signals,
            }
            known[name, image.path.name] = row
            if kept is not None:
                with kept.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
    for name, image in photos:
        row = known[name, image.path.name]
        yield Measured(name, image, row["caption"], row["score"], row["signals"])


def given(description: str | None) -> tuple[Path, Bundle, list[Measured]]:
    """The folder of the data that the command line names, the bundle, and what that says of all dev photos, which the
    file SIGNALS keeps as long as the bundle is the same."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("signals", type=Path, nargs="?")
    arguments = parser.parse_args()
    bundle = load_bundle(arguments.bundle)
    return arguments.data, bundle, list(measure(bundle, arguments.data, arguments.signals))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("bundle", type=Path)
    arguments = parser.parse_args()
    bundle = load_bundle(arguments.bundle)
    judged = list(judge(bundle, [image for _, image in dev_photos(arguments.data)]))
    confidence = fit_judged(bundle, judged)
    write_manifest(bundle.folder, replace(bundle.manifest, confidence=confidence))
    print(f"{len(judged)} photos, the most probable captions {np.mean([each.chances[0] for each in judged]):.3f} right")
    for name, part in confidence.signals.items():
        print(f"{name:<16}{part.weight:9.4f}")


if __name__ == "__main__":
    main()
