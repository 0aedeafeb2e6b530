"""Batches of images and captions, in an order that seed and epoch alone decide.

So a resumed run continues with the very batch it would have had. Worker processes prepare batches ahead of the
network. Knows nothing of networks or optimisers.
"""

from __future__ import annotations

import functools
import signal
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from capcli.bundle.tokens import Tokenizer
from capcli.training.config import TrainConfig
from capcli.training.inputs.augment import Augmentation
from capcli.training.inputs.examples import EncodedImage, Sentences, swapped_words
from capcli.training.inputs.sources import InputSource
from capcli.training.workers import socket_folder


@dataclass(frozen=True)
class Batch:
    """What one update sees.

    `inputs`: of the encoder's trained part, maps [N, C, h, w] or images uint8 [N, S, S, 3]. `sentences`: the captions
    to learn. `references`: for each image its captions as token ids, the end token included where the caption was not
    cut. `data_sets`: for each image the number of its data set.
    """

    inputs: Tensor
    sentences: Sentences
    references: list[list[list[int]]]
    data_sets: list[int]

    def pin_memory(self) -> Batch:
        """The same with the inputs in memory that a GPU reads directly; torch's DataLoader calls it."""
        return replace(self, inputs=self.inputs.pin_memory())


class BatchPlan(Dataset[Batch]):
    """The batches of a run, numbered by its updates.

    Args:
        images: the training images.
        source: of their inputs.
        batch_size: images a batch; the last of an epoch may be smaller.
        seed: with the epoch's number, decides order and views.
        start, end, unknown: special token ids; unknown words are not learnt.
        augmentation: what views of the images are drawn from.
        swaps: token ids that change places in a mirrored image's captions.
    """

    def __init__(
        self,
        images: Sequence[EncodedImage],
        source: InputSource,
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

    @classmethod
    def of(
        cls, config: TrainConfig, images: Sequence[EncodedImage], tokenizer: Tokenizer, source: InputSource
    ) -> BatchPlan:
        """The batches of a run with these settings."""
        return cls(
            images,
            source,
            batch_size=config.batch_size,
            seed=config.seed,
            start=tokenizer.start,
            end=tokenizer.end,
            unknown=tokenizer.unknown,
            augmentation=Augmentation.of(config),
            swaps=swapped_words(config.left_right, tokenizer),
        )

    @property
    def updates_per_epoch(self) -> int:
        return -(-len(self._images) // self._batch_size)

    def batches(self, first: int, last: int, *, workers: int, pin_memory: bool = False) -> Iterator[Batch]:
        """Batches of the updates `first` to `last` - 1, in order.

        Args:
            workers: processes that prepare them ahead; 0: this process does, when asked for each.
            pin_memory: for a network on a GPU.
        Raises:
            TrainingError: the processes have no folder for their sockets.
        """
        loader = DataLoader(
            self,
            batch_size=None,
            sampler=range(first, last),
            num_workers=workers,
            collate_fn=_unchanged,
            pin_memory=pin_memory,
            worker_init_fn=functools.partial(_prepare_worker, socket_folder()) if workers else None,
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
        inputs = self._source.read([image.path for image in chosen], views)
        references = [self._references(image, view.flip) for image, view in zip(chosen, views, strict=True)]
        captions = [(index, words) for index, each in enumerate(references) for words in each]
        sentences = Sentences.lay_out(captions, self._start, self._unknown)
        return Batch(inputs, sentences, references, [image.data_set for image in chosen])

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

    def _references(self, image: EncodedImage, flip: bool) -> list[list[int]]:
        captions = image.references(self._end)
        return [[self._swaps.get(word, word) for word in words] for words in captions] if flip else captions


def _unchanged(batch: Any) -> Any:
    return batch


def _prepare_worker(folder: str, _: int) -> None:
    tempfile.tempdir = folder
    # Ctrl-C is the main process's to answer; it ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
