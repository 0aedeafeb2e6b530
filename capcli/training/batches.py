"""Captioned images -> batches of maps and token ids, in an order that seed and epoch alone decide.

So a run that was killed goes on with the very batch it would have had. Knows nothing of networks or optimisers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from capcli.training.augment import Augmentation, View
from capcli.training.features import FeatureStore


@dataclass(frozen=True)
class TrainingImage:
    """One image with its captions as token ids, without start and end; `cut[i]` says caption i lost its end.

    `data_set`: the number of its data set.
    """

    path: Path
    captions: tuple[tuple[int, ...], ...]
    cut: tuple[bool, ...]
    data_set: int = 0

    def said(self, end: int) -> list[list[int]]:
        """The captions with their ends, where they were not cut."""
        return [[*words, *([] if cut else [end])] for words, cut in zip(self.captions, self.cut, strict=True)]


@dataclass(frozen=True)
class Sentences:
    """Sentences laid out for teacher forcing.

    `images`: int64 [B], which map each sentence belongs to. `tokens`: int64 [B, L], start token first. `lengths`: of
    the sentences, in falling order. `targets`: int64 [sum(lengths)], the next words, step by step, IGNORED
    where that is an unknown word; `owners`: int64 [sum(lengths)], the sentence of each target, `positions`: its place
    in it. `order`: the place of each sentence where they came from.
    """

    IGNORED: ClassVar[int] = -100

    images: Tensor
    tokens: Tensor
    lengths: list[int]
    targets: Tensor
    owners: Tensor
    positions: Tensor
    order: list[int]

    @classmethod
    def lay_out(cls, said: Sequence[tuple[int, Sequence[int]]], start: int, unknown: int) -> Sentences:
        """Lays out sentences, given as (image, token ids with the end token)."""
        order = sorted(range(len(said)), key=lambda place: -len(said[place][1]))
        captions = [said[place] for place in order]
        lengths = [len(words) for _, words in captions]
        tokens = torch.full((len(captions), lengths[0]), start, dtype=torch.int64)
        for row, (_, words) in enumerate(captions):
            tokens[row, 1 : len(words)] = torch.tensor(words[:-1], dtype=torch.int64)
        targets: list[int] = []
        owners: list[int] = []
        positions: list[int] = []
        for position in range(lengths[0]):
            live = sum(length > position for length in lengths)
            targets.extend(
                cls.IGNORED if words[position] == unknown else words[position] for _, words in captions[:live]
            )
            owners.extend(range(live))
            positions.extend([position] * live)
        return cls(
            images=torch.tensor([image for image, _ in captions], dtype=torch.int64),
            tokens=tokens,
            lengths=lengths,
            targets=torch.tensor(targets, dtype=torch.int64),
            owners=torch.tensor(owners, dtype=torch.int64),
            positions=torch.tensor(positions, dtype=torch.int64),
            order=order,
        )


@dataclass(frozen=True)
class SoftTargets:
    """How probable other words are where people said theirs.

    `tokens`: int64 [T, K]. `probabilities`: float32 [T, K], each row's sum 1. A row for each next word.
    """

    tokens: Tensor
    probabilities: Tensor

    def rows(self, numbers: Tensor) -> SoftTargets:
        return SoftTargets(self.tokens[numbers].long(), self.probabilities[numbers].float())


@dataclass(frozen=True)
class Batch:
    """What one update sees.

    `maps`: input of the encoder's trained part, [N, C, h, w], or images uint8 [N, S, S, 3]. `sentences`: the captions
    to learn. `references`: for each image its captions as token ids, the end token included where the caption was not
    cut. `data_sets`: for each image the number of its data set. `soft`: for each target of `sentences`, if anybody
    was asked.
    """

    maps: Tensor
    sentences: Sentences
    references: list[list[list[int]]]
    data_sets: list[int]
    soft: SoftTargets | None = None


class MapSource(Protocol):
    """Where the inputs of the encoder's trained part come from."""

    def read(self, paths: Sequence[Path], views: Sequence[View]) -> Tensor: ...


class StoredMaps:
    """Maps of the frozen part from the feature store; a mirrored image is approximated by its mirrored map."""

    def __init__(self, store: FeatureStore, keys: dict[Path, str]) -> None:
        self._store = store
        self._keys = keys

    def read(self, paths: Sequence[Path], views: Sequence[View]) -> Tensor:
        maps = self._store.read([self._keys[path] for path in paths])
        for row, view in enumerate(views):
            if view.flip:
                maps[row] = maps[row, :, :, ::-1].copy()
        return torch.from_numpy(maps)


class StoredPixels:
    """The resized images from the store, for training the whole encoder, or a part of it on ever new views."""

    def __init__(self, store: FeatureStore, keys: dict[Path, str]) -> None:
        self._store = store
        self._keys = keys

    def read(self, paths: Sequence[Path], views: Sequence[View]) -> Tensor:
        images = self._store.read([self._keys[path] for path in paths])
        return torch.from_numpy(np.stack([view.of(image) for view, image in zip(views, images, strict=True)]))


class BatchPlan:
    """Batches of one epoch after another.

    Args:
        images: the training images.
        source: where maps come from.
        batch_size: images a batch; the last of an epoch may be smaller.
        seed: with the epoch's number, decides order and views.
        start, end, unknown: special token ids; unknown words are not learnt.
        augmentation: what views of the images are drawn from.
        swaps: token ids that change places in a mirrored image's captions.
        soft: a row for each word of all captions, ends included, in their order.
    """

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
        augmentation: Augmentation,
        swaps: dict[int, int],
        soft: SoftTargets | None = None,
    ) -> None:
        self._images = images
        self._source = source
        self._batch_size = batch_size
        self._seed = seed
        self._start, self._end, self._unknown = start, end, unknown
        self._augmentation = augmentation
        self._swaps = swaps
        self._soft = soft
        self._first_rows = [] if soft is None else _first_rows(images, end)

    @property
    def updates_per_epoch(self) -> int:
        return -(-len(self._images) // self._batch_size)

    def epoch(self, number: int, first: int = 0) -> Iterator[Batch]:
        """Batches `first`, first+1, ... of epoch `number`, each prepared while the one before is in use."""
        random = np.random.default_rng([self._seed, number])
        order = random.permutation(len(self._images))
        views = self._augmentation.draw(random, len(self._images))
        starts = range(first * self._batch_size, len(order), self._batch_size)
        with ThreadPoolExecutor(1) as pool:
            pending = None
            for begin in starts:
                rows = order[begin : begin + self._batch_size]
                upcoming = pool.submit(self._batch, rows, [views[row] for row in rows])
                if pending is not None:
                    yield pending.result()
                pending = upcoming
            if pending is not None:
                yield pending.result()

    def references(self) -> dict[int, list[list[list[int]]]]:
        """The captions of every training image, as in `Batch.references`, under the number of its data set."""
        said: dict[int, list[list[list[int]]]] = defaultdict(list)
        for image in self._images:
            said[image.data_set].append(self._said(image, False))
        return said

    def _said(self, image: TrainingImage, flip: bool) -> list[list[int]]:
        captions = image.said(self._end)
        return [[self._swaps.get(word, word) for word in words] for words in captions] if flip else captions

    def _asked(self, rows: np.ndarray, views: list[View], sentences: Sentences) -> SoftTargets | None:
        """The soft targets of the sentences, mirrored like their images."""
        if self._soft is None:
            return None
        first = torch.tensor([first for row in rows for first in self._first_rows[row]])
        soft = self._soft.rows(first[torch.tensor(sentences.order)][sentences.owners] + sentences.positions)
        mirrored = torch.tensor([view.flip for view in views])[sentences.images[sentences.owners]][:, None]
        tokens = soft.tokens.clone()
        for word, other in self._swaps.items():
            tokens[mirrored & (soft.tokens == word)] = other
        return SoftTargets(tokens, soft.probabilities)

    def _batch(self, rows: np.ndarray, views: list[View]) -> Batch:
        chosen = [self._images[row] for row in rows]
        maps = self._source.read([image.path for image in chosen], views)
        references = [self._said(image, view.flip) for image, view in zip(chosen, views, strict=True)]
        said = [(index, words) for index, captions in enumerate(references) for words in captions]
        sentences = Sentences.lay_out(said, self._start, self._unknown)
        data_sets = [image.data_set for image in chosen]
        return Batch(maps, sentences, references, data_sets, self._asked(rows, views, sentences))


def _first_rows(images: Sequence[TrainingImage], end: int) -> list[list[int]]:
    """For each image, the row of each of its captions' first words among those of all captions."""
    lengths = [[len(words) for words in image.said(end)] for image in images]
    starts = accumulate((length for each in lengths for length in each), initial=0)
    return [[next(starts) for _ in each] for each in lengths]
