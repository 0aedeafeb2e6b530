"""One training run from settings to checkpoints: starts it, or goes on with one that was stopped."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from capcli.cores import available_cores
from capcli.errors import UsageError
from capcli.filters import caption_filters
from capcli.tokens import Tokenizer
from capcli.training.batches import SoftTargets, TrainingImage
from capcli.training.config import TrainConfig
from capcli.training.network import CaptionNetwork
from capcli.training.preparation import (
    TrainingData,
    batch_plan,
    check_rewards,
    choose_device,
    choose_precision,
    drop_unreadable,
    encode_captions,
    objective_of,
    prepare_maps,
    read_data,
)
from capcli.training.run_folder import RunFolder
from capcli.training.starting_point import StartingPoint, load_trained_network, starting_point, write_start
from capcli.training.teachers import Teacher, ask
from capcli.training.trainer import Listener, Trainer


class RunListener(Listener):
    """Told how a run goes, from reading data to the last epoch."""

    def note(self, line: str) -> None: ...

    def encoding(self, done: int, total: int) -> None: ...

    def asking(self, done: int, total: int) -> None: ...


def train(config: TrainConfig, out: Path, *, cache: Path, listener: RunListener) -> RunFolder:
    """Trains in `out`, or goes on there if an earlier call with the same settings was stopped.

    Args:
        config: the settings.
        out: the run's folder; made if missing.
        cache: where feature maps are kept from run to run.
        listener: told how it goes.
    Raises:
        UsageError: `out` holds a run with other settings, or something else.
        DataError: no usable data.
        BundleError: what --init or --encoder names cannot be read.
        OutputError: the run folder cannot be written.
        DependencyError: the objective needs a program that is not there or fails.
    """
    folder = RunFolder(out)
    _check_folder(folder, config)
    check_rewards(config)
    torch.set_num_threads(config.threads or available_cores())
    device = choose_device(config.device)
    autocast = choose_precision(config.precision, device)
    data = read_data(config)
    for line in data.notes:
        listener.note(line)
    folder.create()
    start = starting_point(config, folder, data)
    if not folder.has("teachers"):
        # Before anything is written: what is refused leaves no run behind.
        for name in config.teachers:
            _load_teacher(name, start.tokenizer)
    write_start(folder, config, start)
    network = start.network.to(device)
    listener.note(_summary(config, data, start, device, autocast))
    source, errors = prepare_maps(
        config, network, data, cache=cache, device=device, autocast=autocast, progress=listener.encoding
    )
    for path, reason in list(errors.items())[:5]:
        listener.note(f"left out: {path}: {reason}")
    if len(errors) > 5:
        listener.note(f"left out: {len(errors) - 5} more images that cannot be read")
    data = drop_unreadable(data, errors)
    images = encode_captions(data.train, start.tokenizer, config.max_words)
    soft = None
    if config.teachers:
        teachers = _teachers(config, start.tokenizer, data, cache, device, autocast, listener)
        soft = _soft_targets(folder, teachers, images, start.tokenizer, device, autocast, listener)
    plan = batch_plan(config, images, start.tokenizer, source, soft)
    filters = caption_filters(start.tokenizer, start.habits)
    with objective_of(config, start.tokenizer, filters, plan) as objective:
        Trainer(
            config,
            folder,
            network,
            start.tokenizer,
            filters,
            objective,
            plan,
            data.validation,
            source,
            device=device,
            autocast=autocast,
            listener=listener,
        ).run()
    return folder


def _check_folder(folder: RunFolder, config: TrainConfig) -> None:
    if not folder.has_config:
        if folder.path.exists() and (not folder.path.is_dir() or any(folder.path.iterdir())):
            raise UsageError(f"{folder.path}: not empty and not a run of capcli train; choose another --out")
        return
    # A setting that is newer than the run had its default.
    before, now = TrainConfig.from_dict(folder.read_config(), str(folder.path)).as_dict(), config.as_dict()
    changed = sorted(key for key in {*before, *now} if before.get(key) != now.get(key))
    if changed:
        raise UsageError(
            f"{folder.path}: holds a run with other settings ({', '.join(changed)}); "
            "use the same ones to go on with it, or choose another --out"
        )


def _teachers(
    config: TrainConfig,
    tokenizer: Tokenizer,
    data: TrainingData,
    cache: Path,
    device: torch.device,
    autocast: torch.dtype | None,
    listener: RunListener,
) -> Iterator[Teacher]:
    """Loads the teachers one after another, each with its own encoder's view of the plain images."""
    plain = replace(config, fine_tune=0, crop=1.0, light=0.0)
    data = replace(data, validation=[])
    for name in config.teachers:
        network = _load_teacher(name, tokenizer).to(device).eval()
        source, _ = prepare_maps(
            plain, network, data, cache=cache, device=device, autocast=autocast, progress=listener.encoding
        )
        yield Teacher(network.decoder, source)


def _load_teacher(name: str, tokenizer: Tokenizer) -> CaptionNetwork:
    point = load_trained_network("--teachers", name, None)
    if point.tokenizer.vocabulary != tokenizer.vocabulary:
        raise UsageError(f"--teachers {name}: has another vocabulary; start from it with --init")
    return point.network


def _soft_targets(
    folder: RunFolder,
    teachers: Iterable[Teacher],
    images: Sequence[TrainingImage],
    tokenizer: Tokenizer,
    device: torch.device,
    autocast: torch.dtype | None,
    listener: RunListener,
) -> SoftTargets:
    """What the teachers say, from the run's folder if they were asked of these captions before."""
    captions = hashlib.sha256(repr([image.said(tokenizer.end) for image in images]).encode()).hexdigest()
    if folder.has("teachers"):
        saved = folder.load("teachers")
        if saved["captions"] == captions:
            return SoftTargets(saved["tokens"], saved["probabilities"])
    soft = ask(list(teachers), images, tokenizer, device=device, autocast=autocast, progress=listener.asking)
    folder.save("teachers", {"captions": captions, "tokens": soft.tokens, "probabilities": soft.probabilities})
    return soft


def _summary(
    config: TrainConfig,
    data: TrainingData,
    start: StartingPoint,
    device: torch.device,
    autocast: torch.dtype | None,
) -> str:
    held = ", ".join(str(len(each.images)) for each in data.validation) or "no"
    captions = sum(len(image.captions) for image in data.train)
    precision = "float32" if autocast is None else str(autocast).removeprefix("torch.")
    return (
        f"{len(data.train)} training images with {captions} captions, {held} validation images, "
        f"{len(start.tokenizer)} tokens; {config.decoder} decoder, on {device.type} in {precision}"
    )
