"""A matching score for the tiny bundle that needs no training: which of its sentences go with which shapes.

By least squares on generated shapes, pictures are laid where their sentences lie.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from capcli import Captioner
from capcli.bundle.bundle import Bundle
from capcli.bundle.matching import CONTEXT, Matching, picture_numbers
from tests.shapes import COLOURS, GROUNDS, SHAPES, draw, sentence_for

WIDTH = 16


def shape_matching(bundle: Bundle) -> Matching:
    """Of eight drawings of each shape; the same each time."""
    captioner, tokenizer = Captioner(bundle, provider="cpu"), bundle.tokenizer()
    place = bundle.manifest.graph.context.index(CONTEXT)
    # Words that are in every sentence tell none apart.
    words = np.linalg.qr(np.random.default_rng(0).normal(size=(len(tokenizer), WIDTH)))[0].astype(np.float32)
    words[tokenizer.encode("a on ground")] *= 0.05
    kinds = [(shape, colour, ground) for shape in SHAPES for colour in COLOURS for ground in GROUNDS for _ in range(8)]
    pixels = np.stack([captioner.load(draw(*kind, seed, 64)) for seed, kind in enumerate(kinds)])
    pictures = np.stack([picture_numbers(context) for context in captioner.encode(pixels)[place]])
    sentences = np.stack([words[tokenizer.encode(sentence_for(*kind))].mean(0) for kind in kinds])
    means, scales = pictures.mean(0), pictures.std(0) + 1e-3
    inputs, bias = (pictures - means) / scales, sentences.mean(0)
    ridge = 10.0 * np.eye(inputs.shape[1])
    projection = np.linalg.solve(inputs.T @ inputs + ridge, inputs.T @ (sentences - bias)).T
    word_scales, projection_scales = (np.abs(table).max(1) / 127 for table in (words, projection))
    return Matching(
        np.rint(words / word_scales[:, None]).astype(np.int8),
        word_scales.astype(np.float32),
        np.rint(projection / projection_scales[:, None]).astype(np.int8),
        projection_scales.astype(np.float32),
        bias.astype(np.float32),
        means,
        scales.astype(np.float32),
        np.zeros(WIDTH, np.float32),
        np.zeros(WIDTH, np.float32),
        np.array(10.0, np.float32),
    )


def score(matching: Matching, picture: np.ndarray, tokens: Sequence[int]) -> float:
    """Of one sentence."""
    return matching.scores(picture, [tokens])[0]
