"""The networks that runs start from: a run's best, a bundle's, the mean of several, or a fresh one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from capcli.bundle import find_bundle
from capcli.errors import BundleError, DataError, UsageError
from capcli.habits import Habits
from capcli.tokens import Tokenizer
from capcli.training.config import TrainConfig
from capcli.training.graphs import read_bundle_network, read_bundle_tokenizer
from capcli.training.network import PRESENCE, CaptionNetwork, DecoderConfig, Dropout, build_decoder
from capcli.training.preparation import TrainingData, dropout, first_encoder, learn_vocabulary, new_network
from capcli.training.resnet import EncoderConfig, ResNet50
from capcli.training.run_folder import RunFolder
from capcli.training.trainer import load_trained

# What ImageNet classifiers are trained on.
_INPUT_SIZE = 224


@dataclass(frozen=True)
class StartingPoint:
    """A network and its words before the first update; images are `input_size` pixels square."""

    network: CaptionNetwork
    tokenizer: Tokenizer
    habits: Habits
    input_size: int


def starting_point(config: TrainConfig, folder: RunFolder, data: TrainingData) -> StartingPoint:
    """Where a run starts: at its own `start.pt` once it has one, else at --init or afresh.

    Raises:
        UsageError: several --init that are not of one kind, or of several image sizes without --input-size.
        DataError, BundleError: what --init or --encoder names cannot be read.
    """
    if folder.has("start"):
        return _of_folder(folder, folder.read_config(), dropout(config))
    if config.init:
        points = [(f"--init {name}", load_trained_network("--init", name, dropout(config))) for name in config.init]
        sizes = sorted({point.input_size for _, point in points})
        if len(sizes) > 1 and not config.input_size:
            raise UsageError(
                f"--init: trained on images of {' and '.join(map(str, sizes))} pixels; choose one with --input-size"
            )
        start = mean_of(points)
        if not config.keep_vocabulary:
            tokenizer, habits = learn_vocabulary(config, data, start.tokenizer)
            torch.manual_seed(config.seed)
            start.network.decoder.grow_vocabulary(len(tokenizer))
            start = replace(start, tokenizer=tokenizer, habits=habits)
    else:
        tokenizer, habits = learn_vocabulary(config, data)
        network = new_network(config, first_encoder(config), len(tokenizer))
        start = StartingPoint(network, tokenizer, habits, _INPUT_SIZE)
    if config.init and config.encoder is not None:
        start = replace(start, network=CaptionNetwork(first_encoder(config), start.network.decoder))
    return start


def write_start(folder: RunFolder, config: TrainConfig, start: StartingPoint) -> None:
    """Makes the folder that of a run, unless it is one.

    Raises:
        OutputError: it cannot be written.
    """
    if folder.has_config:
        return
    folder.write_vocabulary(start.tokenizer, start.habits)
    folder.save("start", describe_network(start.network))
    # Last, so that a run folder with a config is one that can be gone on with.
    folder.write_config(config)


def mean_of(points: Sequence[tuple[str, StartingPoint]]) -> StartingPoint:
    """The network with the mean weights of several that were trained on from one.

    It is better than each where they ended in one valley (Wortsman et al., 2022, arXiv:2203.05482). Habits and image
    size are the first one's.

    Args:
        points: at least one, with what to call it in error messages.
    Raises:
        UsageError: they are not of one kind.
    """
    (first_name, first), *others = points
    tensors = first.network.state_dict()
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    for name, point in others:
        if {key: tensor.shape for key, tensor in point.network.state_dict().items()} != shapes:
            raise UsageError(f"{name}: not of the same shape as {first_name}; give branches of one network")
        if point.tokenizer.vocabulary != first.tokenizer.vocabulary:
            raise UsageError(f"{name}: has another vocabulary than {first_name}")
    states = [point.network.state_dict() for _, point in points]
    first.network.load_state_dict({name: torch.stack([state[name] for state in states]).mean(0) for name in tensors})
    return first


def run_settings(path: Path) -> TrainConfig:
    """The settings of a run that has a network to give.

    Raises:
        DataError: not a run, or one without a finished epoch.
    """
    folder = RunFolder(path)
    if not folder.has_config:
        raise DataError(f"{path}: not a run of capcli train: it has no config.json")
    if not folder.has("best"):
        raise DataError(f"{path}: no epoch of this run is finished yet; let it train on")
    return folder.read_config()


@dataclass(frozen=True)
class TrainedRun:
    """A run with a finished epoch: its settings, the network of its best epoch, and that epoch's line of the log."""

    path: Path
    config: TrainConfig
    point: StartingPoint
    result: Mapping[str, Any]


def load_trained_run(path: Path, config: TrainConfig, drop: Dropout | None = None) -> TrainedRun:
    """The best network of a run, in float32 on the CPU.

    Args:
        path: the run's folder.
        config: its settings, from `run_settings`.
        drop: dropout, for a network that is trained on.
    Raises:
        DataError: a file is damaged, or its weights are not finite.
    """
    folder = RunFolder(path)
    point = _of_folder(folder, config, drop)
    best = folder.load("best")
    load_trained(point.network, best["model"])
    if not all(bool(torch.isfinite(tensor).all()) for tensor in point.network.state_dict().values()):
        raise DataError(f"{path}: its best weights are not finite numbers; train again with a lower --rate")
    return TrainedRun(path, config, point, best["result"])


def load_run(path: Path, drop: Dropout | None = None) -> StartingPoint:
    """The best network of a run, in float32 on the CPU.

    Raises:
        DataError: not a run, one without a finished epoch, or one that is damaged.
    """
    return load_trained_run(path, run_settings(path), drop).point


def load_trained_network(flag: str, name: str, drop: Dropout | None) -> StartingPoint:
    """A run's best network or a bundle's, named by the option `flag`.

    Raises:
        DataError, BundleError: it cannot be read.
    """
    path = Path(name)
    if RunFolder(path).has_config:
        return load_run(path, drop)
    try:
        network, bundle = read_bundle_network(find_bundle(path), drop)
    except BundleError as error:
        raise BundleError(f"{flag} {path}: {error}") from error
    return StartingPoint(network, read_bundle_tokenizer(bundle), bundle.manifest.habits, bundle.manifest.input_size)


def describe_network(network: CaptionNetwork) -> dict[str, Any]:
    """What `start.pt` holds: how to build the network, and its weights."""
    return {
        "encoder": network.encoder_config.as_dict(),
        "decoder": network.decoder.config.as_dict(),
        "model": {
            name: tensor.detach().cpu()
            for name, tensor in network.state_dict().items()
            if not name.startswith(PRESENCE)
        },
    }


def _of_folder(folder: RunFolder, config: TrainConfig, drop: Dropout | None) -> StartingPoint:
    """Where a run started."""
    saved = folder.load("start")
    network = CaptionNetwork(
        ResNet50(EncoderConfig.from_dict(saved["encoder"])),
        build_decoder(DecoderConfig.from_dict(saved["decoder"]), drop),
    )
    network.load_state_dict(saved["model"])
    return StartingPoint(network, folder.read_tokenizer(), folder.read_habits(), config.input_size)
