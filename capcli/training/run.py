"""One training run from settings to checkpoints: starts it, or goes on with one that was stopped."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from capcli.cores import available_cores
from capcli.errors import UsageError
from capcli.filters import caption_filters
from capcli.tokens import Tokenizer
from capcli.training.batches import SoftTargets
from capcli.training.config import TrainConfig
from capcli.training.preparation import (
    TrainingData,
    batch_plan,
    choose_device,
    choose_precision,
    drop_unreadable,
    encode_captions,
    java_for,
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
        OutputError: the run folder or the cache cannot be written.
        DependencyError: the objective needs a program that is not there or fails.
    """
    folder = RunFolder(out)
    _check_folder(folder, config)
    java = java_for(config)
    torch.set_num_threads(config.threads or available_cores())
    device = choose_device(config.device)
    autocast = choose_precision(config.precision, device)
    data = read_data(config)
    for line in data.notes:
        listener.note(line)
    folder.create()
    start = starting_point(config, folder, data)
    config = replace(config, input_size=config.input_size or start.input_size)
    # Before anything is written: what is refused leaves no run behind.
    taught = [] if folder.has("teachers") else _load_teachers(config, start.tokenizer)
    write_start(folder, config, start)
    network = start.network.to(device)
    listener.note(_summary(config, data, start, device, autocast))
    source, errors = prepare_maps(
        config,
        network,
        data,
        cache=cache,
        device=device,
        autocast=autocast,
        progress=listener.encoding,
        note=listener.note,
    )
    for path, reason in list(errors.items())[:5]:
        listener.note(f"left out: {path}: {reason}")
    if len(errors) > 5:
        listener.note(f"left out: {len(errors) - 5} more images that cannot be read")
    data = drop_unreadable(data, errors)
    images = encode_captions(data.train, start.tokenizer, config.max_words)
    soft = None
    if config.teachers:
        captions = hashlib.sha256(repr([image.said(start.tokenizer.end) for image in images]).encode()).hexdigest()
        soft = _read_soft_targets(folder, captions)
        if soft is None:
            taught = taught or _load_teachers(config, start.tokenizer)
            teachers = _teachers(config, taught, data, cache, device, autocast, listener)
            soft = ask(teachers, images, start.tokenizer, device=device, autocast=autocast, progress=listener.asking)
            _write_soft_targets(folder, captions, soft)
    plan = batch_plan(config, images, start.tokenizer, source, soft)
    filters = caption_filters(start.tokenizer, start.habits)
    with objective_of(config, start.tokenizer, filters, plan, java) as objective:
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
    earlier = folder.read_config()
    now = replace(config, input_size=config.input_size or earlier.input_size).as_dict()
    before = earlier.as_dict()
    changed = sorted(key for key in {*before, *now} if before.get(key) != now.get(key))
    if changed:
        raise UsageError(
            f"{folder.path}: holds a run with other settings ({', '.join(changed)}); "
            "use the same ones to go on with it, or choose another --out"
        )


def _load_teachers(config: TrainConfig, tokenizer: Tokenizer) -> list[StartingPoint]:
    points = [load_trained_network("--teachers", name, None) for name in config.teachers]
    for name, point in zip(config.teachers, points, strict=True):
        if point.tokenizer.vocabulary != tokenizer.vocabulary:
            raise UsageError(f"--teachers {name}: has another vocabulary; start from it with --init")
    return points


def _teachers(
    config: TrainConfig,
    points: Sequence[StartingPoint],
    data: TrainingData,
    cache: Path,
    device: torch.device,
    autocast: torch.dtype | None,
    listener: RunListener,
) -> list[Teacher]:
    """Each network with its own encoder's view of the plain images, at the size it was trained for."""
    data = replace(data, validation=[])
    teachers = []
    for point in points:
        network = point.network.to(device).eval()
        source, _ = prepare_maps(
            replace(config, fine_tune=0, crop=1.0, light=0.0, input_size=point.input_size),
            network,
            data,
            cache=cache,
            device=device,
            autocast=autocast,
            progress=listener.encoding,
            note=listener.note,
        )
        teachers.append(Teacher(network.decoder, source))
    return teachers


def _read_soft_targets(folder: RunFolder, captions: str) -> SoftTargets | None:
    """What the teachers said when they were asked of these captions before, known by their hash."""
    saved = folder.load("teachers") if folder.has("teachers") else None
    if saved is None or saved["captions"] != captions:
        return None
    return SoftTargets(saved["tokens"], saved["probabilities"])


def _write_soft_targets(folder: RunFolder, captions: str, soft: SoftTargets) -> None:
    folder.save("teachers", {"captions": captions, "tokens": soft.tokens, "probabilities": soft.probabilities})


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
        f"{len(start.tokenizer)} tokens; {config.input_size} pixels, {config.decoder} decoder, on {device.type} in "
        f"{precision}"
    )
