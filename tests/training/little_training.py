"""A network, words and images so small that an update takes milliseconds, for tests of training's arithmetic.

The parts are capcli's own; only the images lie in memory instead of in the feature cache, and some objectives and
validators give what a test wants to see followed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from capcli.bundle.habits import Habits
from capcli.bundle.tokens import Tokenizer
from capcli.decoding.filters import caption_filters
from capcli.decoding.search import SearchSettings
from capcli.training.config import TrainConfig
from capcli.training.device import Machine
from capcli.training.inputs.augment import Augmentation, View
from capcli.training.inputs.batches import Batch, BatchPlan
from capcli.training.inputs.examples import EncodedImage
from capcli.training.network.caption_network import CaptionNetwork
from capcli.training.network.decoder import Decoder, DecoderConfig, Dropout, build_decoder
from capcli.training.network.resnet import EncoderConfig, ResNet50
from capcli.training.objectives import CrossEntropy, Loss, Objective, SelfCritical
from capcli.training.objectives.rewards import CiderReward
from capcli.training.progress import EpochResult, TrainingListener, TrainingProgress
from capcli.training.run_folder import RunFolder
from capcli.training.trainer import Trainer
from capcli.training.validation import ValidationScores, Validator

SIDE = 32
TEXTS = ("a red dog runs left", "the blue cat on a mat", "two green birds", "a man on the right", "a cat", "the dogs")
TOKENIZER = Tokenizer.learn(TEXTS, 1)
FILTERS = caption_filters(TOKENIZER, Habits())


def config(**changes: object) -> TrainConfig:
    """Settings of a run of two epochs of three updates, without anything random or smoothed."""
    plain = dict[str, object](
        epochs=2,
        batch_size=2,
        warmup=0,
        weight_decay=0.0,
        max_grad_norm=0.0,
        label_smoothing=0.0,
        flip=False,
        learning_rate=0.01,
        encoder_learning_rate=0.01,
        save_every=1000,
    )
    return TrainConfig.from_dict({**plain, **changes}, "a test")


def make_network(kind: str = "attention", dropout: Dropout | None = None, seed: int = 0) -> CaptionNetwork:
    """A ResNet of one narrow block a stage and a decoder of 8 cells; the same seed gives the same weights."""
    torch.manual_seed(seed)
    encoder = ResNet50(EncoderConfig(width=2, blocks=(1, 1, 1, 1)))
    sizes = DecoderConfig(kind, len(TOKENIZER), encoder.config.channels, hidden=8, embedding=6, attention=5)
    return CaptionNetwork(encoder, build_decoder(sizes, dropout or Dropout(0.0, 0.0)))


class Pixels:
    """Images in memory, each of its own noise, seen as their views."""

    def read(self, paths: Sequence[Path], views: Sequence[View]) -> Tensor:
        images = [np.random.default_rng(int(path.stem)).integers(0, 256, (SIDE, SIDE, 3), np.uint8) for path in paths]
        return torch.from_numpy(np.stack([view.of(image) for view, image in zip(views, images, strict=True)]))


def make_images(texts: Sequence[str] = TEXTS) -> list[EncodedImage]:
    """An image for each text, which is its caption."""
    return [
        EncodedImage(Path(f"{number}.jpg"), (tuple(TOKENIZER.encode(text)),), (False,))
        for number, text in enumerate(texts)
    ]


def make_plan(settings: TrainConfig) -> BatchPlan:
    return BatchPlan(
        make_images(),
        Pixels(),
        batch_size=settings.batch_size,
        seed=settings.seed,
        start=TOKENIZER.start,
        end=TOKENIZER.end,
        unknown=TOKENIZER.unknown,
        augmentation=Augmentation(flip=False),
        swaps={},
    )


def self_critical(plan: BatchPlan) -> SelfCritical:
    search = SearchSettings(beam=3, captions=3, max_length=5)
    return SelfCritical([(1.0, CiderReward(plan.references()))], search, TOKENIZER, FILTERS, CrossEntropy(0.0), 0.2)


class Push:
    """A loss whose gradient is `gradient(update)` in every trained number, whatever the batch; updates count from 1.

    AdamW moves a number whose gradient never changes by exactly the learning rate, so that weights tell it. As its
    nats, of one word, it gives the number of the update.
    """

    def __init__(self, network: CaptionNetwork, gradient: Callable[[int], float] = lambda update: 1.0) -> None:
        self._network = network
        self._gradient = gradient
        self.update = 0

    def __call__(self, decoder: Decoder, features: Tensor, batch: Batch) -> Loss:
        self.update += 1
        trained = [tensor for tensor in self._network.parameters() if tensor.requires_grad]
        loss = torch.stack([tensor.sum() for tensor in trained]).sum() * self._gradient(self.update)
        return Loss(loss, float(self.update), 1)


class Scripted(Validator):
    """Gives the scores of a script, one call after the other; keeps the type of the features it could see."""

    def __init__(self, *scores: float | tuple[float, ...]) -> None:
        self._scores = [score if isinstance(score, tuple) else (score,) for score in scores]
        self.dtypes: list[torch.dtype] = []

    def __call__(self, network: CaptionNetwork, progress: Callable[[int, int], None]) -> ValidationScores:
        assert not network.training
        self.dtypes.append(network.features(Pixels().read([Path("0.jpg")], [View()])).dtype)
        return ValidationScores(self._scores.pop(0), 1.0)


class Watch(TrainingListener):
    """Keeps a copy of all weights after every update and what was told; `stop`: the update to be interrupted at."""

    def __init__(self, network: CaptionNetwork, stop: int | None = None) -> None:
        self._network = network
        self._stop = stop
        self.weights = [self._copy()]
        self.told: list[TrainingProgress] = []
        self.results: list[EpochResult] = []

    def _copy(self) -> dict[str, Tensor]:
        return {name: tensor.detach().clone() for name, tensor in self._network.named_parameters()}

    def progress(self, progress: TrainingProgress) -> None:
        self.weights.append(self._copy())
        self.told.append(progress)
        if progress.update == self._stop:
            raise KeyboardInterrupt

    def epoch(self, result: EpochResult) -> None:
        self.results.append(result)

    def moves(self, name: str) -> list[float]:
        """How far a tensor's numbers went down in each update, all of them equally far."""
        moves = []
        for before, after in zip(self.weights, self.weights[1:], strict=False):
            move = before[name].double() - after[name].double()
            assert torch.allclose(move, move.mean().expand_as(move), atol=1e-6), name
            moves.append(float(move.mean()))
        return moves


def run(
    folder: Path,
    settings: TrainConfig,
    network: CaptionNetwork,
    objective: Objective | None = None,
    *,
    validator: Validator | None = None,
    autocast: torch.dtype | None = None,
    stop: int | None = None,
) -> Watch:
    """Trains `network` in `folder`, by default on the cross-entropy of its captions."""
    watch = Watch(network, stop)
    home = RunFolder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    network.freeze(settings.fine_tune)
    Trainer(
        settings,
        home,
        network,
        objective or CrossEntropy(settings.label_smoothing),
        make_plan(settings),
        validator,
        machine=Machine(torch.device("cpu"), autocast, threads=1, workers=0),
        listener=watch,
    ).run()
    return watch
