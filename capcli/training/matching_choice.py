"""The matching score of a new bundle: which photos it is learnt on, and what it was before. Knows no loss."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from capcli.bundle.bundle import MATCHING, Bundle, describe_file
from capcli.bundle.matching import CONTEXT, FILE, Matching, picture_numbers
from capcli.captioner import Captioner
from capcli.dataset.captions import CaptionedImage
from capcli.training.export_source import ExportSource, RunImages
from capcli.training.matching import learn_matching
from capcli.training.photos import evenly, look_at_each

# Fewer photos would teach it their own captions.
FEWEST = 200
# Some minutes for the shipped model's encoder on two cores. The confidence's AUROC with 1,000, 2,000, 4,000 and 7,500
# photos: 0.785, 0.794, 0.798, 0.799 (models/recipe/LOG.md).
MOST = 4000


def choose_matching(bundle: Bundle, source: ExportSource, images: RunImages, note: Callable[[str], None]) -> Bundle:
    """Puts a matching score into a new bundle's folder, where it can be had: a bundle's own, or one that is learnt on a
    run's training photos.

    Args:
        bundle: the new bundle, without one.
        source: what it is made of.
        images: of the source's runs.
        note: told what is done, and why there is none.
    Returns:
        The bundle with it; the same one where there is none.
    """
    if source.matching is not None:
        return keep_matching(bundle, source)
    if CONTEXT not in bundle.manifest.graph.context:
        note("no matching score is learnt: the decoder does not look at places of the photo")
        return bundle
    if not source.runs:
        note("no matching score is learnt: a bundle brings no training photos; the run that it was made of does")
        return bundle
    matching = _learn(bundle, images, note)
    return bundle if matching is None else add_matching(bundle, matching)


def keep_matching(bundle: Bundle, source: ExportSource) -> Bundle:
    """Puts the matching score of the bundle that a new one is made of into the new one, if it has one.

    It goes with any form of a network: int8 rounds what it reads of a photo.
    """
    if source.matching is None:
        return bundle
    shutil.copyfile(source.matching, bundle.folder / FILE)
    return _with_file(bundle)


def add_matching(bundle: Bundle, matching: Matching) -> Bundle:
    """Writes a matching score into a bundle's folder, over the one that was there; its manifest on the disk stays."""
    matching.save(bundle.folder / FILE)
    return _with_file(bundle)


def look_at(bundle: Bundle, images: Sequence[CaptionedImage]) -> Iterator[np.ndarray | None]:
    """The `picture_numbers` of each photo by a bundle's encoder: float32 [F], None where it cannot be read."""
    place = bundle.manifest.graph.context.index(CONTEXT)
    return look_at_each(Captioner(bundle, provider="cpu"), images, lambda encoded: map(picture_numbers, encoded[place]))


def learn_from(
    bundle: Bundle, images: Sequence[CaptionedImage], pictures: Sequence[np.ndarray | None]
) -> tuple[Matching | None, int]:
    """Learns a bundle's matching score.

    Args:
        bundle: its words are those of the sentences.
        images: with captions.
        pictures: what `look_at` gave of them.
    Returns:
        The matching score, None where too few photos can be used, and how many can.
    """
    tokenizer = bundle.tokenizer()
    known, said = [], []
    for image, picture in zip(images, pictures, strict=True):
        captions = [words for caption in image.captions if (words := tokenizer.encode(caption))]
        if picture is not None and captions:
            known.append(picture)
            said.append(captions)
    enough = len(known) >= FEWEST
    return (learn_matching(np.stack(known), said, len(tokenizer)) if enough else None), len(known)


def _learn(bundle: Bundle, images: RunImages, note: Callable[[str], None]) -> Matching | None:
    missing = f" ({images.problem})" if images.problem else ""
    count = len(images.train)
    if count >= FEWEST:
        chosen = evenly(images.train, MOST)
        note(f"learning a matching score of pictures and captions on {len(chosen)} training photos")
        matching, count = learn_from(bundle, chosen, list(look_at(bundle, chosen)))
        if matching is not None:
            return matching
    note(
        f"no matching score is learnt: {count} training photos with captions can be read, {FEWEST} are needed{missing}"
    )
    return None


def _with_file(bundle: Bundle) -> Bundle:
    files = {**bundle.manifest.files, MATCHING: describe_file(bundle.folder, FILE)}
    return replace(bundle, manifest=replace(bundle.manifest, files=files))
