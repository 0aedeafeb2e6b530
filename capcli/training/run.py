"""One training run from settings to checkpoints: starts it, or goes on with one that was stopped."""

from __future__ import annotations

from pathlib import Path

import torch

from capcli.decoding.filters import caption_filters
from capcli.training.config import TrainConfig
from capcli.training.device import Machine, choose_machine
from capcli.training.preparation import (
    TrainingData,
    batch_plan,
    drop_unreadable,
    encode_captions,
    java_for,
    objective_of,
    prepare_maps,
    read_data,
    validator_of,
)
from capcli.training.resume import EarlierRun, earlier_run
from capcli.training.run_folder import RunFolder
from capcli.training.run_record import RunRecord, digest_of_training, digest_of_validation
from capcli.training.starting_point import StartingPoint, settings_of_network, starting_point, write_start
from capcli.training.trainer import Listener, Trainer
from capcli.training.validation import FEW_IMAGES
from capcli.training.workers import worker_errors


class RunListener(Listener):
    """Told how a run goes, from reading data to the last epoch."""

    def note(self, line: str) -> None: ...

    def encoding(self, done: int, total: int) -> None: ...


def train(config: TrainConfig, out: Path, *, cache: Path, listener: RunListener) -> RunFolder:
    """Trains in `out`, or goes on there with a run that was stopped.

    Args:
        config: the settings; of a run that is gone on with, those in `TrainConfig.may_change` may be others.
        out: the run's folder; made if missing.
        cache: where feature maps are kept from run to run.
        listener: told how it goes.
    Raises:
        UsageError: `out` holds a run with other settings or data, or something else.
        DataError: no usable data.
        BundleError: what --init or --encoder names cannot be read.
        OutputError: the run folder or the cache cannot be written.
        DependencyError: the objective needs a program that is not there or fails.
        TrainingError: the loss is no longer finite, or a process that prepares batches died.
    """
    folder = RunFolder(out)
    earlier = earlier_run(folder, config)
    java = java_for(config)
    machine = choose_machine(config)
    torch.set_num_threads(machine.threads)
    device, autocast = machine.device, machine.autocast
    data = read_data(config)
    for line in data.notes:
        listener.note(line)
    folder.create()
    changes: list[str] = []
    if earlier is None:
        # Before anything else, so that a start that is killed is known for what it is.
        folder.write_record(RunRecord.of(machine))
    else:
        config = earlier.complete(config)
        changes = earlier.changes(config, RunRecord.of(machine))
    start = starting_point(config, folder, data)
    config = settings_of_network(config, start)
    for line in (*changes, *start.notes):
        listener.note(line)
    network = start.network.to(device)
    listener.note(_summary(config, data, start, machine))
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
    held = sum(len(each.images) for each in data.validation)
    if 0 < held < FEW_IMAGES:
        images_are = "image: the" if held == 1 else "images: the"
        listener.note(f"only {held} validation {images_are} best epoch is chosen by chance; give more (--val)")
    images = encode_captions(data.train, start.tokenizer, config.max_words)
    plan = batch_plan(config, images, start.tokenizer, source)
    record = RunRecord.of(
        machine,
        digest_of_training(images, source.keys),
        digest_of_validation(data.validation, start.tokenizer, source.keys),
    )
    if earlier is None:
        folder.write_record(record)
        write_start(folder, config, start)
    else:
        _go_on(folder, earlier, config, record, changes, plan.updates_per_epoch)
    filters = caption_filters(start.tokenizer, start.habits)
    if config.word_presence:
        network.add_presence(config.seed).to(device)
    validator = validator_of(config, data.validation, source, start.tokenizer, filters)
    with objective_of(config, network, start.tokenizer, filters, plan, java) as objective, worker_errors(out):
        Trainer(
            config,
            folder,
            network,
            objective,
            plan,
            validator,
            device=device,
            autocast=autocast,
            workers=machine.workers,
            listener=listener,
        ).run()
    return folder


def _go_on(
    folder: RunFolder,
    earlier: EarlierRun,
    config: TrainConfig,
    record: RunRecord,
    changes: list[str],
    updates_per_epoch: int,
) -> None:
    """Checks what only the data can tell, then keeps what is other than before."""
    earlier.check_data(folder, config, record)
    earlier.check_epochs(folder, config, updates_per_epoch)
    if changes:
        # The log first: a change that is logged twice is better than one that is not.
        folder.log_changes(changes)
        folder.write_config(config)
    if record != earlier.record:
        folder.write_record(record)


def _summary(
    config: TrainConfig,
    data: TrainingData,
    start: StartingPoint,
    machine: Machine,
) -> str:
    held = ", ".join(str(len(each.images)) for each in data.validation) or "no"
    captions = sum(len(image.captions) for image in data.train)
    return (
        f"{len(data.train)} training images with {captions} captions, {held} validation images, "
        f"{len(start.tokenizer)} tokens; {config.input_size} pixels, {config.decoder} decoder, on "
        f"{machine.device.type} in {machine.precision}"
    )
