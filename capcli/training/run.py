"""One training run from settings to checkpoints: starts it, or goes on with one that was stopped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from capcli.cores import available_cores
from capcli.errors import UsageError
from capcli.filters import caption_filters
from capcli.training.config import TrainConfig
from capcli.training.preparation import (
    TrainingData,
    batch_plan,
    choose_device,
    choose_precision,
    choose_workers,
    drop_unreadable,
    encode_captions,
    java_for,
    objective_of,
    prepare_maps,
    read_data,
    validator_of,
)
from capcli.training.run_folder import RunFolder
from capcli.training.starting_point import StartingPoint, starting_point, write_start
from capcli.training.trainer import Listener, Trainer


class RunListener(Listener):
    """Told how a run goes, from reading data to the last epoch."""

    def note(self, line: str) -> None: ...

    def encoding(self, done: int, total: int) -> None: ...


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
        TrainingError: the loss is no longer finite.
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
    plan = batch_plan(config, images, start.tokenizer, source)
    filters = caption_filters(start.tokenizer, start.habits)
    if config.word_presence:
        network.add_presence(config.seed).to(device)
    validator = validator_of(config, data.validation, source, start.tokenizer, filters)
    with objective_of(config, network, start.tokenizer, filters, plan, java) as objective:
        Trainer(
            config,
            folder,
            network,
            objective,
            plan,
            validator,
            device=device,
            autocast=autocast,
            workers=choose_workers(config, device),
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
