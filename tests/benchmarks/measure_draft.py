"""What decoding at a reduced size changes and saves: python -m tests.benchmarks.measure_draft FOLDER [--model BUNDLE].

Captions every JPEG and JPEG 2000 of FOLDER (large photos) decoded in full and at the reduced sizes that several margins
allow, and prints how many captions differ from those of the full decode, the largest mean difference of pixels, and the
time taken; beside them how many captions differ if every pixel is changed by at most one level. Not a test: the photos
are yours.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from capcli import Captioner
from capcli.inputs import images

_SUFFIXES = (".jpg", ".jpeg", ".jp2", ".j2k")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="default")
    arguments = parser.parse_args()
    photos = sorted(path for path in arguments.folder.rglob("*") if path.suffix.lower() in _SUFFIXES)
    captioner = Captioner(arguments.model, provider="cpu")
    shipped = images._DRAFT_MARGIN
    full: list[np.ndarray] = []
    captions: list[str] = []
    # A margin so wide that nothing is reduced, then narrower ones.
    for margin in (1000, 4, 2, 1):
        images._DRAFT_MARGIN = margin
        begin = time.perf_counter()
        pixels = [captioner.load(str(path)) for path in photos]
        seconds = time.perf_counter() - begin
        said = [caption.text for caption in captioner.caption(pixels)]
        if not full:
            full, captions = pixels, said
            print(f"{len(photos)} photos decoded in full: {seconds:.2f} s")
            # For scale: the least change there is, one level up or down at random.
            noise = np.random.default_rng(0)
            shaken = [np.clip(p + noise.integers(-1, 2, p.shape), 0, 255).astype(np.uint8) for p in pixels]
            differ = sum(a.text != b for a, b in zip(captioner.caption(shaken), captions, strict=True))
            print(f"full decode, every value -1, 0 or +1: {differ} of {len(photos)} captions differ")
            continue
        differ = sum(mine != theirs for mine, theirs in zip(said, captions, strict=True))
        worst = max(float(np.abs(a.astype(int) - b).mean()) for a, b in zip(pixels, full, strict=True))
        mark = " (shipped)" if margin == shipped else ""
        print(
            f"margin {margin}{mark}: {seconds:.2f} s, {differ} of {len(photos)} captions differ, "
            f"mean pixel difference at most {worst:.2f} of 255"
        )
        for path, mine, theirs in zip(photos, said, captions, strict=True):
            if mine != theirs:
                print(f"  {path.name}: {theirs} -> {mine}")


if __name__ == "__main__":
    main()
