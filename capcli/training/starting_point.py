"""The networks that runs start from: a run's best, a bundle's, the mean of several, or a fresh one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from capcli.bundle.bundle import find_bundle
from capcli.bundle.habits import Habits
from capcli.bundle.tokens import SPECIAL, Tokenizer
from capcli.dataset.captions import CaptionedImage
from capcli.errors import BundleError, DataError, UsageError
from capcli.training.config import OF_NETWORK, TrainConfig, flag_of
from capcli.training.network.decoder import (
    PRESENCE,
    CaptionNetwork,
    DecoderConfig,
    Dropout,
    build_decoder,
    with_present_names,
)
from capcli.training.network.resnet import EncoderConfig, ResNet50
from capcli.training.onnx.graphs import read_bundle_network, read_bundle_tokenizer
from capcli.training.preparation import TrainingData, dropout, first_encoder, learn_vocabulary, new_network
from capcli.training.run_folder import RunFolder
from capcli.training.trainer import load_trained

# What ImageNet classifiers are trained on.
_INPUT_SIZE = 224


@dataclass(frozen=True)
class StartingPoint:
    """A network and its words before the first update; images are `input_size` pixels square.

    `notes`: what --init gave, and what the words lack, line by line; empty where a run is gone on with.
    """

    network: CaptionNetwork
    tokenizer: Tokenizer
    habits: Habits
    input_size: int
    notes: tuple[str, ...] = ()


def starting_point(config: TrainConfig, folder: RunFolder, data: TrainingData) -> StartingPoint:
    """Where a run starts: at its own `start.pt` once it has one, else at --init or afresh.

    Raises:
        UsageError: several --init that are not of one kind, or of several image sizes without --input-size; or settings
            that do not go with their network.
        DataError, BundleError: what --init or --encoder names cannot be read.
    """
    # A start.pt without a config.json is what a killed start has left.
    if folder.has_config:
        return _of_folder(folder, folder.read_config(), dropout(config))
    if config.init:
        points = [(f"--init {name}", load_trained_network("--init", name, dropout(config))) for name in config.init]
        sizes = sorted({point.input_size for _, point in points})
        if len(sizes) > 1 and not config.input_size:
            raise UsageError(
                f"--init: trained on images of {' and '.join(map(str, sizes))} pixels; choose one with --input-size"
            )
        start = mean_of(points)
        _refuse_idle_settings(config, start.network)
        kept = len(start.tokenizer)
        if not config.keep_vocabulary:
            tokenizer, habits = learn_vocabulary(config, data, start.tokenizer)
            torch.manual_seed(config.seed)
            start.network.decoder.grow_vocabulary(len(tokenizer))
            start = replace(start, tokenizer=tokenizer, habits=habits)
        start = replace(start, notes=(_what_init_gave(config, start, kept, data.train),))
    else:
        tokenizer, habits = learn_vocabulary(config, data)
        network = new_network(config, first_encoder(config), len(tokenizer))
        start = StartingPoint(network, tokenizer, habits, _INPUT_SIZE)
    if config.init and config.encoder is not None:
        encoder, decoder = first_encoder(config), start.network.decoder
        if encoder.config.channels != decoder.config.features:
            raise UsageError(
                f"--encoder {config.encoder}: has {encoder.config.channels} channels, and the decoder of --init "
                f"{config.init[0]} takes {decoder.config.features}; leave one of the two out"
            )
        start = replace(start, network=CaptionNetwork(encoder, decoder))
    return replace(start, notes=(*start.notes, *_captions_of_unknown_words(start.tokenizer, data.train)))


def settings_of_network(config: TrainConfig, start: StartingPoint) -> TrainConfig:
    """The settings with kind, sizes and image size of the network that is there."""
    sizes = start.network.decoder.config
    return replace(
        config,
        input_size=config.input_size or start.input_size,
        decoder=sizes.kind,
        hidden=sizes.hidden,
        embedding=sizes.embedding,
        attention=sizes.attention,
    )


def write_start(folder: RunFolder, config: TrainConfig, start: StartingPoint) -> None:
    """Makes the folder that of a run.

    Raises:
        OutputError: it cannot be written.
    """
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
        raise DataError(f"{path}: its best weights are not finite numbers; train again with a lower --learning-rate")
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


def _refuse_idle_settings(config: TrainConfig, network: CaptionNetwork) -> None:
    """Refuses what --init's network decides and the settings would have otherwise."""
    sizes = network.decoder.config
    has = {"decoder": sizes.kind, "hidden": sizes.hidden, "embedding": sizes.embedding, "attention": sizes.attention}
    asked = {name: getattr(config, name) for name in OF_NETWORK}
    others = [name for name in OF_NETWORK if asked[name] is not None and asked[name] != has[name]]
    if others:
        raise UsageError(
            f"{', '.join(f'{flag_of(name)} {asked[name]}' for name in others)}: the network of --init {config.init[0]} "
            f"has {', '.join(f'{name} {has[name]}' for name in others)}; leave out one or the other"
        )
    if config.keep_vocabulary and config.min_count != TrainConfig.min_count:
        raise UsageError("--min-count chooses the words that are added, and --keep-vocabulary adds none; leave one out")


def _what_init_gave(config: TrainConfig, start: StartingPoint, kept: int, images: Sequence[CaptionedImage]) -> str:
    sizes = start.network.decoder.config
    words = Counter(
        number == start.tokenizer.unknown
        for image in images
        for caption in image.captions
        for number in start.tokenizer.encode(caption)
    )
    sized = f"hidden {sizes.hidden}, embedding {sizes.embedding}"
    sized += f", attention {sizes.attention}" if start.network.decoder.attends else ""
    return (
        f"--init {' and '.join(config.init)}: {sizes.kind} decoder ({sized}), {kept - len(SPECIAL)} words kept, "
        f"{len(start.tokenizer) - kept} added; {100 * words[True] / max(1, words.total()):.1f} % of the words in the "
        "training captions are unknown to it"
    )


def _captions_of_unknown_words(tokenizer: Tokenizer, images: Sequence[CaptionedImage]) -> list[str]:
    captions = [tokenizer.encode(caption) for image in images for caption in image.captions]
    lost = sum(bool(ids) and set(ids) == {tokenizer.unknown} for ids in captions)
    if not lost:
        return []
    return [
        f"warning: {lost} of {len(captions)} training captions hold no known word, and nothing is learnt from them; "
        "lower --min-count, and leave out --keep-vocabulary"
    ]


def _of_folder(folder: RunFolder, config: TrainConfig, drop: Dropout | None) -> StartingPoint:
    """Where a run started."""
    saved = folder.load("start")
    network = CaptionNetwork(
        ResNet50(EncoderConfig.from_dict(saved["encoder"])),
        build_decoder(DecoderConfig.from_dict(saved["decoder"]), drop),
    )
    network.load_state_dict(with_present_names(saved["model"]))
    return StartingPoint(network, folder.read_tokenizer(), folder.read_habits(), config.input_size)
