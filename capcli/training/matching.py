"""Learns the matching score of a bundle: which sentences go with which pictures, from captioned photos.

A dual encoder with a symmetric InfoNCE loss over batches (CLIP, Radford et al., 2021, arXiv:2103.00020), so small that
it learns in a minute on a CPU. Its pictures are numbers that the bundle's own encoder gave. Knows nothing of files.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from capcli.bundle.matching import Matching

WIDTH = 128
EPOCHS = 12
BATCH = 128
# Of a picture's numbers: there are a tenth as many photos as weights.
DROPOUT = 0.5
LEARNING_RATE = 4e-3
WEIGHT_DECAY = 1.0
# Few photos make small batches, rather than few steps.
_FEWEST_BATCHES = 8
# CLIP's first temperature and its bound.
_FIRST_TEMPERATURE, _HIGHEST_TEMPERATURE = 1 / 0.07, 100.0


class DualEncoder(nn.Module):
    """Pictures' numbers and sentences' words, each as a vector of `WIDTH`.

    Args:
        numbers: of a picture.
        vocabulary: tokens there are.
    """

    def __init__(self, numbers: int, vocabulary: int) -> None:
        super().__init__()
        self.picture = nn.Linear(numbers, WIDTH)
        self.words = nn.EmbeddingBag(vocabulary, WIDTH, mode="mean")
        self.log_temperature = nn.Parameter(torch.tensor(_FIRST_TEMPERATURE).log())
        self.dropout = nn.Dropout(DROPOUT)

    @property
    def temperature(self) -> Tensor:
        return self.log_temperature.exp().clamp(max=_HIGHEST_TEMPERATURE)

    def loss(self, pictures: Tensor, tokens: Tensor, starts: Tensor) -> Tensor:
        """How badly each picture is told from the others by its sentence, and each sentence by its picture.

        Args:
            pictures: float32 [N, numbers].
            tokens: int64 ids of the words of N sentences, one after the other; `starts`, int64 [N], where each begins.
        """
        seen = F.normalize(self.picture(self.dropout(pictures)), dim=1)
        said = F.normalize(self.words(tokens, starts), dim=1)
        logits = self.temperature * seen @ said.T
        own = torch.arange(len(logits))
        return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def learn_matching(
    pictures: np.ndarray, captions: Sequence[Sequence[Sequence[int]]], vocabulary: int, *, seed: int = 0
) -> Matching:
    """Learns the weights; the same photos and seed give the same ones.

    Args:
        pictures: float32 [N, F], `picture_numbers` of each photo; N is at least 2.
        captions: of each photo at least one, as ids of its words, at least one.
        vocabulary: how many tokens there are.
    """
    means, scales = pictures.mean(0), pictures.std(0)
    # What is the same in all pictures tells none apart.
    scales = np.where(scales > 1e-6 * np.maximum(1.0, np.abs(means)), scales, 1.0).astype(np.float32)
    inputs = torch.from_numpy((pictures - means) / scales)
    with torch.random.fork_rng(devices=[]), _one_thread():
        torch.manual_seed(seed)
        network = DualEncoder(pictures.shape[1], vocabulary).train()
        _learn(network, inputs, captions, np.random.default_rng(seed))
    known = np.zeros(vocabulary, bool)
    known[[word for sentences in captions for words in sentences for word in words]] = True
    matching = _matching_of(network, means, scales, known)
    return replace(
        matching,
        usual_picture=np.mean([matching.picture(each) for each in pictures], 0),
        usual_sentence=np.mean([matching.sentence(words) for sentences in captions for words in sentences], 0),
    )


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Steps this small wait for threads longer than they work: thirty times as long where cores are shared."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _learn(
    network: DualEncoder, inputs: Tensor, captions: Sequence[Sequence[Sequence[int]]], generator: np.random.Generator
) -> None:
    optimiser = torch.optim.AdamW(
        [
            {"params": [network.picture.weight, network.words.weight], "weight_decay": WEIGHT_DECAY},
            {"params": [network.picture.bias, network.log_temperature], "weight_decay": 0.0},
        ],
        lr=LEARNING_RATE,
    )
    turns = max(len(each) for each in captions)
    batches = max(min(_FEWEST_BATCHES, len(inputs) // 2), len(inputs) // BATCH)
    steps = EPOCHS * turns * batches
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=steps, pct_start=0.1)
    for turn in range(EPOCHS * turns):
        # A photo comes once a turn: in a batch a sentence would go with both of two.
        for photos in np.array_split(generator.permutation(len(inputs)), batches):
            said = [captions[photo][(turn + photo) % len(captions[photo])] for photo in photos]
            starts = np.cumsum([0, *(len(words) for words in said[:-1])])
            tokens = torch.tensor([word for words in said for word in words])
            loss = network.loss(inputs[photos], tokens, torch.from_numpy(starts))
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
            schedule.step()


@torch.inference_mode()
def _matching_of(network: DualEncoder, means: np.ndarray, scales: np.ndarray, known: np.ndarray) -> Matching:
    # A word that was never met says nothing.
    words, word_scales = _rounded(network.words.weight.numpy() * known[:, None])
    projection, projection_scales = _rounded(network.picture.weight.numpy())
    return Matching(
        words,
        word_scales,
        projection,
        projection_scales,
        network.picture.bias.numpy().copy(),
        means.astype(np.float32),
        scales,
        np.zeros(WIDTH, np.float32),
        np.zeros(WIDTH, np.float32),
        np.array(network.temperature.item(), np.float32),
    )


def _rounded(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each row as int8 [N, D] and float32 [N] scales."""
    largest = np.abs(table).max(1)
    scales = np.where(largest > 0, largest / 127, 1.0).astype(np.float32)
    return np.rint(table / scales[:, None]).astype(np.int8), scales
