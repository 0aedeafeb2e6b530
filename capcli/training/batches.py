"""Captioned images -> batches of maps and token ids, in an order that seed and epoch alone decide.

So a run that was killed goes on with the very batch it would have had. Knows nothing of networks or optimisers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from capcli.training.features import FeatureStore, load_for_training


@dataclass(frozen=True)
class TrainingImage:
    """One image with its captions as token ids, without start and end; `cut[i]` says caption i lost its end."""

    path: Path
    captions: tuple[tuple[int, ...], ...]
    cut: tuple[bool, ...]


@dataclass(frozen=True)
class Sentences:
    """Sentences laid out for teacher forcing.

    `images`: int64 [B], which map each sentence belongs to. `tokens`: int64 [B, L], start token first. `lengths`: of
    the sentences, in falling order. `targets`: int64 [sum(lengths)], the next words, step by step; `owners`: int64
    [sum(lengths)], the sentence of each target. `order`: the place of each sentence where they came from.
    """

    images: Tensor
    tokens: Tensor
    lengths: list[int]
    targets: Tensor
    owners: Tensor
    order: list[int]

    @classmethod
    def lay_out(cls, said: Sequence[tuple[int, Sequence[int]]], start: int) -> Sentences:
        """Lays out sentences, given as (image, token ids with the end token)."""
        order = sorted(range(len(said)), key=lambda place: -len(said[place][1]))
        captions = [said[place] for place in order]
        lengths = [len(words) for _, words in captions]
        tokens = torch.full((len(captions), lengths[0]), start, dtype=torch.int64)
        for row, (_, words) in enumerate(captions):
            tokens[row, 1 : len(words)] = torch.tensor(words[:-1], dtype=torch.int64)
        targets: list[int] = []
        owners: list[int] = []
        for position in range(lengths[0]):
            live = sum(length > position for length in lengths)
            targets.extend(words[position] for _, words in captions[:live])
            owners.extend(range(live))
        return cls(
            images=torch.tensor([image for image, _ in captions], dtype=torch.int64),
            tokens=tokens,
            lengths=lengths,
            targets=torch.tensor(targets, dtype=torch.int64),
            owners=torch.tensor(owners, dtype=torch.int64),
            order=order,
        )


@dataclass(frozen=True)
class Batch:
    """What one update sees.

    `maps`: input of the encoder's trained part, [N, C, h, w], or images uint8 [N, S, S, 3]. `sentences`: the captions
    to learn; targets that are unknown words are `BatchPlan.IGNORED`. `references`: for each image its captions as
    token ids, the end token included where the caption was not cut.
    """

    maps: Tensor
    sentences: Sentences
    references: list[list[list[int]]]


class MapSource(Protocol):
    """Where the inputs of the encoder's trained part come from."""

    def read(self, paths: Sequence[Path], flips: Sequence[bool]) -> Tensor: ...


class StoredMaps:
    """Maps of the frozen part from the feature store; a mirrored image is approximated by its mirrored map."""

    def __init__(self, store: FeatureStore, keys: dict[Path, str]) -> None:
        self._store = store
        self._keys = keys

    def read(self, paths: Sequence[Path], flips: Sequence[bool]) -> Tensor:
        maps = self._store.read([self._keys[path] for path in paths])
        for row, flip in enumerate(flips):
            if flip:
                maps[row] = maps[row, :, :, ::-1].copy()
        return torch.from_numpy(maps)


class Pixels:
    """The images themselves, decoded anew each time, for training the whole encoder."""

    def __init__(self, input_size: int) -> None:
        self._input_size = input_size
        self._pool = ThreadPoolExecutor(2)

    def read(self, paths: Sequence[Path], flips: Sequence[bool]) -> Tensor:
        images = list(self._pool.map(lambda path: load_for_training(path, self._input_size), paths))
        pixels = []
        for image, flip in zip(images, flips, strict=True):
            if image.pixels is None:
                raise FileNotFoundError(f"{image.path}: {image.error}")
            pixels.append(image.pixels[:, ::-1] if flip else image.pixels)
        return torch.from_numpy(np.stack(pixels))


class BatchPlan:
    """Batches of one epoch after another.

    Args:
        images: the training images.
        source: where maps come from.
        batch_size: images a batch; the last of an epoch may be smaller.
        seed: with the epoch's number, decides order and flips.
        start, end, unknown: special token ids; unknown words are not learnt.
        flip: mirror half of the images.
        swaps: token ids that change places in a mirrored image's captions.
    """

    IGNORED = -100

    def __init__(
        self,
        images: Sequence[TrainingImage],
        source: MapSource,
        *,
        batch_size: int,
        seed: int,
        start: int,
        end: int,
        unknown: int,
        flip: bool,
        swaps: dict[int, int],
    ) -> None:
        self._images = images
        self._source = source
        self._batch_size = batch_size
        self._seed = seed
        self._start, self._end, self._unknown = start, end, unknown
        self._flip = flip
        self._swaps = swaps

    @property
    def updates_per_epoch(self) -> int:
        return -(-len(self._images) // self._batch_size)

    def epoch(self, number: int, first: int = 0) -> Iterator[Batch]:
        """Batches `first`, first+1, ... of epoch `number`, each prepared while the one before is in use."""
        random = np.random.default_rng([self._seed, number])
        order = random.permutation(len(self._images))
        flips = (random.random(len(self._images)) < 0.5) & self._flip
        starts = range(first * self._batch_size, len(order), self._batch_size)
        with ThreadPoolExecutor(1) as pool:
            pending = None
            for begin in starts:
                rows = order[begin : begin + self._batch_size]
                upcoming = pool.submit(self._batch, rows, flips[rows])
                if pending is not None:
                    yield pending.result()
                pending = upcoming
            if pending is not None:
                yield pending.result()

    def references(self) -> list[list[list[int]]]:
        """The captions of every training image, as in `Batch.references`."""
        return [self._said(image, False) for image in self._images]

    def _said(self, image: TrainingImage, flip: bool) -> list[list[int]]:
        return [
            [*(self._swaps.get(word, word) if flip else word for word in words), *([] if cut else [self._end])]
            for words, cut in zip(image.captions, image.cut, strict=True)
        ]

    def _batch(self, rows: np.ndarray, flips: np.ndarray) -> Batch:
        chosen = [self._images[row] for row in rows]
        maps = self._source.read([image.path for image in chosen], [bool(flip) for flip in flips])
        references = [self._said(image, bool(flip)) for image, flip in zip(chosen, flips, strict=True)]
        said = [(index, words) for index, captions in enumerate(references) for words in captions]
        sentences = Sentences.lay_out(said, self._start)
        sentences.targets[sentences.targets == self._unknown] = self.IGNORED
        return Batch(maps, sentences, references)
