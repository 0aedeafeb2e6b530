"""The proof of an export: float32 bundle and PyTorch network caption real images alike, in words and in scores.

Both hold the same rounded weights, so all that may part them is the order in which float32 sums are taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from capcli.bundle.tokens import Tokenizer
from capcli.captioner import Captioner
from capcli.decoding.filters import caption_filters
from capcli.decoding.search import Hypothesis, SearchSettings
from capcli.errors import CapcliError, DataError
from capcli.training.model import CaptioningModel
from capcli.training.network.decoder import Decoder
from capcli.training.network.search import search_grid
from capcli.training.photos import Photos, photos_of, read_evenly

IMAGES = 32
# Largest difference of two scores, mean log-probabilities of a token. Between the shipped bundle and its network it was
# at most 1.1e-6 over 64 photos, with the tests' bundle 0.7e-6 over 320. A hundred times that leaves room for other CPUs
# and is what the four decimals of a printed score can show.
TOLERANCE = 1e-4
# The best two sentences of those photos were within 1e-3 of each other for 1 in 64, so rounding decides for 1 image in
# some ten thousand. More ties than 1 in 16 mean a network that tells no sentences apart, or another one.
IMAGES_A_TIE = 16


def read_proof_images(places: Sequence[Path], size: int) -> Photos:
    """Reads up to `IMAGES` images of folders, see `photos_of`.

    Raises:
        DataError: there is no readable image.
    """
    photos = read_evenly(photos_of(places), IMAGES, size)
    if photos is None:
        looked = f"no readable image in {', '.join(map(str, places))}" if places else "there are no photos"
        raise DataError(f"{looked} to verify the bundle on; give a folder of photos with --proof-images DIR")
    return photos


def prove(bundle: Path, model: CaptioningModel, settings: SearchSettings, images: Photos) -> int:
    """Captions real images with the network and with the bundle, and compares sentences and scores.

    A tie is another sentence of the same score: rounding decided between two that the network finds equally good. It
    must give the bundle's sentence the score that the bundle gives it.

    Args:
        bundle: the folder of the bundle, in its float32 form; what int8 changes, `agreement` measures.
        model: its network is rounded as the bundle's weights are, on the CPU, in evaluation mode.
        settings: how both search.
        images: resized as the bundle wants them.
    Returns:
        How many images tied.
    Raises:
        CapcliError: a sentence or a score differs, or more than one image in `IMAGES_A_TIE` ties.
    """
    decoder, tokenizer = model.network.decoder, model.tokenizer
    with torch.inference_mode():
        grid = model.network.encoder(torch.from_numpy(images.pixels))
    expected = search_grid(decoder, grid, tokenizer, settings, caption_filters(tokenizer, model.habits))
    given = Captioner(bundle, provider="cpu").caption_pixels(images.pixels, settings)
    ties = 0
    for row, path in enumerate(images.paths):
        ours, theirs = expected[row][0], given[row][0]
        same = tokenizer.tokens(ours.tokens) == theirs.tokens
        agreed = ours if same else _scored(decoder, grid[row : row + 1], tokenizer, theirs.tokens)
        length = len(theirs.tokens) + 1
        if (
            agreed is None
            or not _near(agreed.mean_log_prob, theirs.score)
            # Sentences of different length are as good as each other by their ranking scores, not by their means.
            or not _near(
                settings.ranking_score(agreed.log_prob, agreed.length),
                settings.ranking_score(ours.log_prob, ours.length),
                settings.ranking_score(length, length),
            )
        ):
            raise CapcliError(
                f"the exported bundle does not say what the network says: for {path} {theirs.raw!r} with score "
                f"{theirs.score:.4f} instead of {' '.join(tokenizer.tokens(ours.tokens))!r} with "
                f"{ours.mean_log_prob:.4f}; nothing was written"
            )
        ties += not same
    allowed = max(1, len(images.paths) // IMAGES_A_TIE)
    if ties > allowed:
        raise CapcliError(
            f"the exported bundle says other sentences of the same score for {ties} of {len(images.paths)} images, "
            f"at most {allowed} may; train on, or choose other images with --proof-images DIR; nothing was written"
        )
    return ties


def _scored(decoder: Decoder, grid: torch.Tensor, tokenizer: Tokenizer, tokens: Sequence[str]) -> Hypothesis | None:
    """A sentence with the decoder's own score for it; None if it holds what is no word of the vocabulary.

    Args:
        grid: float [1, P, features].
    """
    ids = [number for token in tokens if (number := tokenizer.id_of(token)) is not None]
    if len(ids) < len(tokens):
        return None
    with torch.inference_mode():
        logits = decoder.teacher_forced(
            grid, torch.zeros(1, dtype=torch.int64), torch.tensor([[tokenizer.start, *ids]]), [len(ids) + 1]
        )
        scores = torch.log_softmax(logits.double(), -1)
    log_probs = scores[torch.arange(len(ids) + 1), torch.tensor([*ids, tokenizer.end])].numpy()
    return Hypothesis(tuple(ids), float(log_probs.sum()), log_probs)


def _near(one: float, other: float, factor: float = 1.0) -> bool:
    # NaN is near nothing.
    return abs(one - other) <= TOLERANCE * factor
