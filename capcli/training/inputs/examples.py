"""Captions as token ids: of an image, and of a batch laid out for teacher forcing. Knows nothing of pixels or maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from capcli.bundle.tokens import Tokenizer
from capcli.dataset.captions import CaptionedImage
from capcli.errors import DataError


@dataclass(frozen=True)
class EncodedImage:
    """One image with its captions as token ids, without start and end; `cut[i]` says caption i lost its end.

    `data_set`: the number of its data set.
    """

    path: Path
    captions: tuple[tuple[int, ...], ...]
    cut: tuple[bool, ...]
    data_set: int = 0

    @classmethod
    def of(cls, image: CaptionedImage, tokenizer: Tokenizer, max_words: int) -> EncodedImage:
        """Cuts captions longer than `max_words`; captions without a word are left out."""
        captions = [ids for caption in image.captions if (ids := tokenizer.encode(caption))]
        return cls(
            image.path,
            tuple(tuple(ids[:max_words]) for ids in captions),
            tuple(len(ids) > max_words for ids in captions),
            image.data_set,
        )

    def references(self, end: int) -> list[list[int]]:
        """The captions with their ends, where they were not cut."""
        return [[*words, *([] if cut else [end])] for words, cut in zip(self.captions, self.cut, strict=True)]


def encode_captions(images: Sequence[CaptionedImage], tokenizer: Tokenizer, max_words: int) -> list[EncodedImage]:
    """The training images with their captions as token ids; images without a caption that holds a word are left out.

    Raises:
        DataError: none is left.
    """
    encoded = [EncodedImage.of(image, tokenizer, max_words) for image in images]
    kept = [image for image in encoded if image.captions]
    if not kept:
        raise DataError("no training caption holds a word")
    return kept


def swapped_words(left_right: tuple[str, str], tokenizer: Tokenizer) -> dict[int, int]:
    """Ids that change places in a mirrored image's captions; none unless both words are known."""
    left, right = (tokenizer.id_of(word) for word in left_right)
    return {left: right, right: left} if left is not None and right is not None else {}


@dataclass(frozen=True)
class Sentences:
    """Sentences laid out for teacher forcing.

    `images`: int64 [B], the row of each sentence's image. `tokens`: int64 [B, L], start token first. `lengths`: of
    the sentences, in falling order. `targets`: int64 [sum(lengths)], the next words, step by step, IGNORED where that
    is an unknown word; `owners`: int64 [sum(lengths)], the sentence of each target. `order`: for each sentence its
    place before they were laid out.
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
        """Lays out sentences.

        Args:
            sentences: at least one, each with the row of its image and its token ids, the end token included.
            start, unknown: special token ids.
        """
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
