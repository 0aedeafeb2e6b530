"""Captioned images -> batches of maps and token ids, in an order that seed and epoch alone decide.

So a run that was killed goes on with the very batch it would have had. Worker processes prepare batches ahead of the
network. Knows nothing of networks or optimisers.
"""

from __future__ import annotations

import signal
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from capcli.training.inputs.augment import Augmentation, View
from capcli.training.inputs.features import FeatureStore


@dataclass(frozen=True)
class TrainingImage:
    """One image with its captions as token ids, without start and end; `cut[i]` says caption i lost its end.

    `data_set`: the number of its data set.
    """

    path: Path
    captions: tuple[tuple[int, ...], ...]
    cut: tuple[bool, ...]
    data_set: int = 0

    def references(self, end: int) -> list[list[int]]:
        """The captions with their ends, where they were not cut."""
        return [[*words, *([] if cut else [end])] for words, cut in zip(self.captions, self.cut, strict=True)]


@dataclass(frozen=True)
class Sentences:
    """Sentences laid out for teacher forcing.

    `images`: int64 [B], which map each sentence belongs to. `tokens`: int64 [B, L], start token first. `lengths`: of
    the sentences, in falling order. `targets`: int64 [sum(lengths)], the next words, step by step, IGNORED
    where that is an unknown word; `owners`: int64 [sum(lengths)], the sentence of each target. `order`: the place of
    each sentence where they came from.
    """

    IGNORED: ClassVar[int] = -100

    images: Tensor
    tokens: Tensor
    lengths: list[int]
    targets: Tensor
    owners: Tensor
    order: list[int]

    @classmethod
    def lay_out(cls, sentences: Sequence[tuple[int, Sequence[int]]], start: int, unknown: int) -> Sentences:
        """Lays out sentences, given as (image, token ids with the end token)."""
        order = sorted(range(len(sentences)), key=lambda place: -len(sentences[place][1]))
        captions = [sentences[place] for place in order]
        lengths = [len(words) for _, words in captions]
        tokens = np.full((len(captions), lengths[0] + 1), start, dtype=np.int64)
        for row, (_, words) in enumerate(captions):
            tokens[row, 1 : len(words) + 1] = words
        live = np.arange(lengths[0])[:, None] < np.array(lengths)
        targets = tokens[:, 1:].T[live]
        return cls(
            images=torch.tensor([image for image, _ in captions], dtype=torch.int64),
            # What follows a sentence's last input is never read, but it is one and the same.
            tokens=torch.from_numpy(np.where(live.T, tokens[:, :-1], start)),
            lengths=lengths,
            targets=torch.from_numpy(np.where(targets == unknown, cls.IGNORED, targets)),
            owners=torch.from_numpy(np.nonzero(live)[1]),
            order=order,
        )


@dataclass(frozen=True)
class Batch:
    """What one update sees.

    `maps`: input of the encoder's trained part, [N, C, h, w], or images uint8 [N, S, S, 3]. `sentences`: the captions
    to learn. `references`: for each image its captions as token ids, the end token included where the caption was not
    cut. `data_sets`: for each image the number of its data set.
    """

    maps: Tensor
    sentences: Sentences
    references: list[list[list[int]]]
    data_sets: list[int]

    def pin_memory(self) -> Batch:
        """The same with the maps in memory that a GPU reads directly; torch's DataLoader calls it."""
        return replace(self, maps=self.maps.pin_memory())


class MapSource(Protocol):
    """Where the inputs of the encoder's trained part come from. Travels to worker processes."""

    def read(self, paths: Sequence[Path], views: Sequence[View]) -> Tensor: ...


class StoredMaps:
    """Maps of the frozen part from the feature store; a mirrored image is approximated by its mirrored map.

    `keys`: the content key of every image.
    """

    def __init__(self, store: FeatureStore, keys: dict[Path, str]) -> None:
        self._store = store
        self.keys = keys

    def read(self, paths: Sequence[Path], views: Sequence[View]) -> Tensor:
        maps = self._store.read([self.keys[path] for path in paths])
        for row, view in enumerate(views):
            if view.flip:
                maps[row] = maps[row, :, :, ::-1].copy()
        return torch.from_numpy(maps)


class StoredPixels:
    """The resized images from the store, for training the whole encoder, or a part of it on ever new views.

    `keys`: the content key of every image.
    """

    def __init__(self, store: FeatureStore, keys: dict[Path, str]) -> None:
        self._store = store
        self.keys = keys

    def read(self, paths: Sequence[Path], views: Sequence[View]) -> Tensor:
        images = self._store.read([self.keys[path] for path in paths])
        return torch.from_numpy(np.stack([view.of(image) for view, image in zip(views, images, strict=True)]))


class BatchPlan(Dataset[Batch]):
    """The batches of a run, numbered by its updates.

    Args:
        images: the training images.
        source: where maps come from.
        batch_size: images a batch; the last of an epoch may be smaller.
        seed: with the epoch's number, decides order and views.
        start, end, unknown: special token ids; unknown words are not learnt.
        augmentation: what views of the images are drawn from.
        swaps: token ids that change places in a mirrored image's captions.
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
    ) -> None:
        self._images = images
        self._source = source
        self._batch_size = batch_size
        self._seed = seed
        self._start, self._end, self._unknown = start, end, unknown
        self._augmentation = augmentation
        self._swaps = swaps
        self._order: tuple[int, np.ndarray] | None = None

    @property
    def updates_per_epoch(self) -> int:
        return -(-len(self._images) // self._batch_size)

    def batches(self, first: int, last: int, *, workers: int, pin_memory: bool = False) -> Iterator[Batch]:
        """Batches of the updates `first` to `last` - 1, in order.

        Args:
            workers: processes that prepare them ahead; 0: this process does, when asked for each.
            pin_memory: for a network on a GPU.
        """
        loader = DataLoader(
            self,
            batch_size=None,
            sampler=range(first, last),
            num_workers=workers,
            collate_fn=_unchanged,
            pin_memory=pin_memory,
            worker_init_fn=_prepare_worker,
            # Its own, so that the run's random state does not depend on how often it was resumed.
            generator=torch.Generator(),
        )
        return iter(loader)

    def __len__(self) -> int:
        """Batches of one epoch."""
        return self.updates_per_epoch

    def __getitem__(self, update: int) -> Batch:
        """The batch of update `update`, counted from 0 over all epochs."""
        epoch, number = divmod(update, self.updates_per_epoch)
        rows = self._rows(epoch)[number * self._batch_size : (number + 1) * self._batch_size]
        chosen = [self._images[row] for row in rows]
        views = [self._augmentation.draw(np.random.default_rng([self._seed, epoch, row])) for row in rows]
        maps = self._source.read([image.path for image in chosen], views)
        references = [self._references(image, view.flip) for image, view in zip(chosen, views, strict=True)]
        captions = [(index, words) for index, each in enumerate(references) for words in each]
        sentences = Sentences.lay_out(captions, self._start, self._unknown)
        return Batch(maps, sentences, references, [image.data_set for image in chosen])

    def references(self) -> dict[int, list[list[list[int]]]]:
        """The captions of every training image, as in `Batch.references`, under the number of its data set."""
        by_set: dict[int, list[list[list[int]]]] = defaultdict(list)
        for image in self._images:
            by_set[image.data_set].append(self._references(image, False))
        return by_set

    def _rows(self, epoch: int) -> np.ndarray:
        if self._order is None or self._order[0] != epoch:
            self._order = epoch, np.random.default_rng([self._seed, epoch]).permutation(len(self._images))
        return self._order[1]

    def _references(self, image: TrainingImage, flip: bool) -> list[list[int]]:
        captions = image.references(self._end)
        return [[self._swaps.get(word, word) for word in words] for words in captions] if flip else captions


def _unchanged(batch: Any) -> Any:
    return batch


def _prepare_worker(_: int) -> None:
    # Ctrl-C is the main process's to answer; it ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
