"""How much a new bundle's matching score counts where one of a beam's captions is chosen. Knows no file and no loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from capcli.bundle.bundle import MATCHING, Bundle
from capcli.captioner import Captioner, Found
from capcli.dataset.captions import CaptionedImage
from capcli.decoding.choice import best_first
from capcli.pipeline import Pipeline, PipelineInput, PipelineSettings
from capcli.training.objectives.rewards import CiderReward

# A matching score spreads over some units, a mean log-probability over some tenths. CIDEr of the shipped bundle's dev
# captions is highest between 0.01 and 0.03, and lower than without it from 0.1 on (models/recipe/LOG.md).
WEIGHTS = (0.0, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.04, 0.06, 0.1)


def choose_match_weight(bundle: Bundle, images: Sequence[CaptionedImage], note: Callable[[str], None]) -> Bundle:
    """Captions photos, and finds with which weight the captions chosen have the highest CIDEr-D.

    Args:
        bundle: with a matching score; one without comes back as it is.
        images: with references, none of them trained on.
        note: told what is done.
    Returns:
        The bundle with that weight among its search settings.
    """
    if MATCHING not in bundle.manifest.files:
        return bundle
    search = bundle.manifest.search
    bundle = replace(bundle, manifest=replace(bundle.manifest, search=replace(search, match_weight=WEIGHTS[-1])))
    captioner = Captioner(bundle, provider="cpu")
    settings = captioner.settings()

    def look(pixels: np.ndarray) -> list[list[Found]]:
        return [[found] for found in captioner.find(captioner.encode(pixels), settings)]

    note(f"captioning {len(images)} validation photos for what the matching score counts")
    tokenizer = bundle.tokenizer()
    references = [[tokenizer.encode(caption) for caption in image.captions] for image in images]
    reward = CiderReward({0: references})
    rewards = np.zeros(len(WEIGHTS))
    pipeline = Pipeline(captioner.load, look, PipelineSettings(captioner.batch_size))
    results = pipeline.run(PipelineInput(image.path, image.path) for image in images)
    for wanted, result in zip(references, results, strict=True):
        if result.error is None:
            found = result.captions[0]
            scores = reward.score([each.tokens for each in found.sentences], wanted, 0)
            order = (best_first(found.sentences, found.matches or [], weight, settings)[0] for weight in WEIGHTS)
            rewards += [scores[place] for place in order]
    # Of equals the least.
    weight = WEIGHTS[int(rewards.argmax())]
    return replace(bundle, manifest=replace(bundle.manifest, search=replace(search, match_weight=weight)))
