"""One training run from settings to checkpoints: starts it, or resumes one that was stopped."""

from __future__ import annotations

from pathlib import Path

import torch

from capcli.decoding.filters import caption_filters
from capcli.training.config import TrainConfig
from capcli.training.data import TrainingData, drop_unreadable, read_data
from capcli.training.device import Machine, choose_machine
from capcli.training.initial import initial_model, settings_of_model
from capcli.training.inputs.augment import Augmentation
from capcli.training.inputs.batches import BatchPlan
from capcli.training.inputs.examples import encode_captions
from capcli.training.inputs.sources import prepare_inputs
from capcli.training.model import CaptioningModel
from capcli.training.objectives.choice import check_programs, objective_of
from capcli.training.progress import TrainingListener
from capcli.training.resume import EarlierRun, earlier_run
from capcli.training.run_folder import RunFolder
from capcli.training.run_record import RunRecord, digest_of_training, digest_of_validation
from capcli.training.trainer import Trainer
from capcli.training.validation import few_images, validator_of
from capcli.training.workers import worker_errors


def train(config: TrainConfig, out: Path, *, cache: Path, listener: TrainingListener) -> RunFolder:
    """Trains in `out`, or resumes there a run that was stopped.

    Args:
        config: the settings; of a run that is resumed, those in `TrainConfig.may_change` may be others.
        out: the run's folder; made if missing.
        cache: the folder in which what the encoder takes is kept from run to run.
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
    # What is refused leaves nothing behind.
    earlier_run(folder, config)
    with folder.locked():
        _train(config, folder, earlier_run(folder, config), cache=cache, listener=listener)
    return folder


def _train(
    config: TrainConfig, folder: RunFolder, earlier: EarlierRun | None, *, cache: Path, listener: TrainingListener
) -> None:
    check_programs(config)
    machine = choose_machine(config)
    torch.set_num_threads(machine.threads)
    data = read_data(config)
    _note(listener, data.notes)
    changes: list[str] = []
    if earlier is None:
        # Before anything else, so that a start that is killed is known for what it is.
        folder.write_record(RunRecord.of(machine))
    else:
        config = earlier.complete(config)
        changes = earlier.changes(config, RunRecord.of(machine))
        _note(listener, changes)

    model = initial_model(config, folder, data, listener.note)
    config = settings_of_model(config, model)
    listener.note(_summary(config, data, model, machine))
    network = model.network.to(machine.device)
    network.freeze(config.fine_tune)
    source, errors = prepare_inputs(
        network,
        data.paths,
        input_size=config.input_size,
        augmentation=Augmentation.of(config),
        cache=cache,
        machine=machine,
        listener=listener,
    )
    data = drop_unreadable(data, errors, listener.note)
    _note(listener, few_images(data.validation))
    images = encode_captions(data.train, model.tokenizer, config.max_words)
    plan = BatchPlan.of(config, images, model.tokenizer, source)

    train_digest = digest_of_training(images, source.keys)
    validation_digest = digest_of_validation(data.validation, model.tokenizer, source.keys)
    record = RunRecord.of(machine, train_digest, validation_digest)
    if earlier is None:
        folder.write_record(record)
        folder.write_start(config, model)
    else:
        earlier.resume(folder, config, record, changes, plan.updates_per_epoch)

    if config.word_presence:
        network.add_presence(config.seed).to(machine.device)
    filters = caption_filters(model.tokenizer, model.habits)
    validator = validator_of(config, data.validation, source, model.tokenizer, filters)
    with objective_of(config, network, model.tokenizer, filters, plan) as objective, worker_errors(folder.path):
        Trainer(config, folder, network, objective, plan, validator, machine=machine, listener=listener).run()


def _note(listener: TrainingListener, lines: list[str]) -> None:
    for line in lines:
        listener.note(line)


def _summary(config: TrainConfig, data: TrainingData, model: CaptioningModel, machine: Machine) -> str:
    held = ", ".join(str(len(each.images)) for each in data.validation) or "no"
    captions = sum(len(image.captions) for image in data.train)
    return (
        f"{len(data.train)} training images with {captions} captions, {held} validation images, "
        f"{len(model.tokenizer)} tokens; {config.input_size} pixels, {config.decoder} decoder, on "
        f"{machine.device.type} in {machine.precision}"
    )
