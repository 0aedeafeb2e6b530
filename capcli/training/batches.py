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
class Batch:
    """What one update sees.

    `maps`: input of the encoder's trained part, [N, C, h, w], or images uint8 [N, S, S, 3]. `images`: int64 [B],
    which map each caption belongs to. `tokens`: int64 [B, L], start token first. `targets`: int64 [sum(lengths)],
    the next words, step by step. `lengths`: of the captions, in falling order.
    """

    maps: Tensor
    images: Tensor
    tokens: Tensor
    targets: Tensor
    lengths: list[int]


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

    def _batch(self, rows: np.ndarray, flips: np.ndarray) -> Batch:
        chosen = [self._images[row] for row in rows]
        maps = self._source.read([image.path for image in chosen], [bool(flip) for flip in flips])
        captions = []
        for index, (image, flip) in enumerate(zip(chosen, flips, strict=True)):
            for words, cut in zip(image.captions, image.cut, strict=True):
                said = [self._swaps.get(word, word) for word in words] if flip else list(words)
                captions.append((index, said if cut else [*said, self._end]))
        captions.sort(key=lambda caption: -len(caption[1]))
        lengths = [len(said) for _, said in captions]
        tokens = torch.full((len(captions), lengths[0]), self._start, dtype=torch.int64)
        targets: list[int] = []
        for row, (_, said) in enumerate(captions):
            tokens[row, 1 : len(said)] = torch.tensor(said[:-1], dtype=torch.int64)
        for position in range(lengths[0]):
            targets.extend(said[position] for _, said in captions if len(said) > position)
        wanted = torch.tensor(targets, dtype=torch.int64)
        wanted[wanted == self._unknown] = self.IGNORED
        images = torch.tensor([index for index, _ in captions], dtype=torch.int64)
        return Batch(maps, images, tokens, wanted, lengths)
