"""Learns a bundle's matching score from the training photos of the three sets, and puts that into the bundle.

    python models/recipe/matching.py ../shared/data models/default PROGRESS [PHOTOS]

looks at PHOTOS training photos, evenly taken of the three sets, with the bundle's encoder, which takes an hour for all.
PROGRESS, a folder, keeps what the encoder gave, so that a run that was stopped goes on where it was. `capcli export`
does the same for a run; this is for a bundle that is to stay as it is. Fit the confidence anew afterwards
(`confidence.py`): the one that the bundle has does not read the score.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from confidence import photos_of

from capcli.bundle.bundle import Bundle, load_bundle, write_manifest
from capcli.dataset.captions import CaptionedImage
from capcli.training.matching_choice import add_matching, learn_from, look_at

TRAIN = {
    "flickr8k": "Flickr_8k.trainImages.txt",
    "scenes": "scenes.trainImages.txt",
    "wide": "wide.trainImages.txt",
}
# Looked at between two writes.
PART = 256


def training_photos(data: Path) -> list[CaptionedImage]:
    """The training photos of the three sets by turns, so that the first of them are evenly taken."""
    sets = []
    for name, split in TRAIN.items():
        photos = photos_of(data, name, split)
        sets.append([photos[place] for place in np.random.default_rng(0).permutation(len(photos))])
    return [image for turn in itertools.zip_longest(*sets) for image in turn if image is not None]


def looked_at(bundle: Bundle, photos: Sequence[CaptionedImage], progress: Path) -> np.ndarray:
    """What the encoder gives of photos, float32 [N, F]; at those that an earlier run has not kept it looks now.

    The file is named after the bundle; the photos are always taken in the same order, so that a row has its place.
    """
    progress.mkdir(parents=True, exist_ok=True)
    kept = progress / f"{bundle.fingerprint}.npy"
    rows = list(np.load(kept)) if kept.exists() else []
    coming = zip(photos[len(rows) :], look_at(bundle, photos[len(rows) :]), strict=True)
    while part := list(itertools.islice(coming, PART)):
        if broken := [photo.path for photo, row in part if row is None]:
            raise SystemExit(f"{broken[0]}: cannot be read")
        rows += [row for _, row in part]
        whole = kept.with_suffix(".new.npy")
        np.save(whole, np.stack(rows))
        whole.replace(kept)
        print(f"looked at {len(rows)} of {len(photos)} photos", flush=True)
    return np.stack(rows[: len(photos)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("progress", type=Path)
    parser.add_argument("photos", type=int, nargs="?")
    arguments = parser.parse_args()
    bundle = load_bundle(arguments.bundle)
    photos = training_photos(arguments.data)[: arguments.photos]
    pictures = looked_at(bundle, photos, arguments.progress)
    matching, count = learn_from(bundle, photos, list(pictures))
    if matching is None:
        raise SystemExit(f"{count} photos are too few")
    write_manifest(bundle.folder, add_matching(bundle, matching).manifest)
    print(f"learnt on {count} photos; now fit the confidence anew")


if __name__ == "__main__":
    main()
