"""What trained networks say of every word of people's captions: the soft targets of another one's training.

Their mean is the voice of an ensemble, which one network then learns (Hinton et al., 2015, arXiv:1503.02531). It is
computed once, from the plain images, and only the most probable words are kept. Knows nothing of files or settings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from capcli.tokens import Tokenizer
from capcli.training.augment import View
from capcli.training.batches import MapSource, Sentences, SoftTargets, TrainingImage
from capcli.training.network import Decoder
from capcli.training.resnet import grid

# Words kept of each distribution; a trained caption network's hold nearly all of the probability.
KEPT = 20

_IMAGES_AT_ONCE = 24


@dataclass(frozen=True)
class Teacher:
    """A trained decoder, and where the outputs of its encoder's last stage come from."""

    decoder: Decoder
    source: MapSource


def ask(
    teachers: Sequence[Teacher],
    images: Sequence[TrainingImage],
    tokenizer: Tokenizer,
    *,
    device: torch.device,
    autocast: torch.dtype | None,
    progress: Callable[[int, int], None],
) -> SoftTargets:
    """The mean of the teachers' distributions at each word of all captions, ends included.

    Args:
        teachers: at least one, of the same vocabulary; decoders on the device and in evaluation mode.
        images: images with captions.
        tokenizer: the vocabulary.
        device: where the decoders are.
        autocast: type of mixed precision, None for float32.
        progress: told how many images of how many are done.
    Returns:
        Rows in the order of the images and their captions; tokens int16 or int32, probabilities float16, so that they
        fit in memory.
    """
    kept = min(KEPT, len(tokenizer))
    token_type = torch.int16 if len(tokenizer) <= torch.iinfo(torch.int16).max else torch.int32
    tokens, probabilities = [], []
    for begin in range(0, len(images), _IMAGES_AT_ONCE):
        chosen = images[begin : begin + _IMAGES_AT_ONCE]
        said = [(row, words) for row, image in enumerate(chosen) for words in image.said(tokenizer.end)]
        sentences = Sentences.lay_out(said, tokenizer.start, tokenizer.unknown)
        mean = torch.stack([_say(teacher, chosen, sentences, device, autocast) for teacher in teachers]).mean(0)
        best = mean.topk(kept)
        # From step by step to sentence after sentence.
        origin = torch.tensor(sentences.order)[sentences.owners]
        order = torch.argsort(origin * (sentences.lengths[0] + 1) + sentences.positions)
        tokens.append(best.indices.cpu()[order].to(token_type))
        probabilities.append((best.values / best.values.sum(1, keepdim=True)).cpu()[order].half())
        progress(min(begin + _IMAGES_AT_ONCE, len(images)), len(images))
    return SoftTargets(torch.cat(tokens), torch.cat(probabilities))


def _say(
    teacher: Teacher,
    images: Sequence[TrainingImage],
    sentences: Sentences,
    device: torch.device,
    autocast: torch.dtype | None,
) -> Tensor:
    maps = teacher.source.read([image.path for image in images], [View()] * len(images)).to(device)
    with torch.inference_mode(), torch.autocast(device.type, autocast, enabled=autocast is not None):
        features = grid(maps if autocast is not None else maps.float())
        logits = teacher.decoder.teacher_forced(
            features, sentences.images.to(device), sentences.tokens.to(device), sentences.lengths
        )
        return torch.softmax(logits.float(), dim=-1)
