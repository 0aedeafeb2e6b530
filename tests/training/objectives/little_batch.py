"""A batch of two images with features of noise, and a tiny decoder, for tests of objectives."""

from __future__ import annotations

import torch
from torch import Tensor

from capcli.bundle.tokens import Tokenizer
from capcli.training.inputs.batches import Batch
from capcli.training.inputs.examples import Sentences
from capcli.training.network.decoder import Decoder, DecoderConfig, Dropout, build_decoder
from capcli.training.objectives.rewards import CiderReward, Reward

TOKENIZER = Tokenizer.learn(["a red dog", "a blue cat", "the green bird runs"], 1)


def make_decoder(kind: str = "attention") -> Decoder:
    torch.manual_seed(3)
    return build_decoder(DecoderConfig(kind, len(TOKENIZER), 8, 12, 6, 5), Dropout(0.0, 0.0))


def make_batch() -> tuple[Tensor, Batch, list[tuple[float, Reward]]]:
    references = [
        [[*TOKENIZER.encode(text), TOKENIZER.end] for text in texts]
        for texts in (["a red dog", "the red dog"], ["a blue cat", "a cat runs"])
    ]
    said = [(image, words) for image, captions in enumerate(references) for words in captions]
    torch.manual_seed(4)
    return (
        torch.randn(2, 4, 8),
        Batch(torch.zeros(2), Sentences.lay_out(said, TOKENIZER.start, TOKENIZER.unknown), references, [0, 1]),
        [(1.0, CiderReward({0: references, 1: references}))],
    )
