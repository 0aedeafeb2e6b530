"""Fits how sure a bundle is of its captions on the dev splits, and puts that into its manifest.

    python models/recipe/confidence.py ../shared/data models/default

captions all dev photos of the three sets, which takes some minutes. `capcli export` does the same for a run; this is
for a bundle that is to stay as it is.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from capcli.bundle.bundle import load_bundle, write_manifest
from capcli.dataset.captions import CaptionedImage, read_captions
from capcli.training.confidence import fit_judged, judge

DEV = {
    "flickr8k": "Flickr_8k.devImages.txt",
    "scenes": "scenes.devImages.txt",
    "wide": "wide.devImages.txt",
}


def photos_of(data: Path, name: str, split: str) -> list[CaptionedImage]:
    """The photos of a data set that a split file names, in its order, with their references."""
    images, _ = read_captions(data / name / "Images", data / name / "captions.txt")
    by_name = {image.path.name: image for image in images}
    return [by_name[line] for line in (data / name / split).read_text("utf-8").split()]


def dev_photos(data: Path) -> list[tuple[str, CaptionedImage]]:
    """The dev photos of the three sets with their references, in the order of the splits."""
    return [(name, image) for name, split in DEV.items() for image in photos_of(data, name, split)]


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
