"""What a run trains and validates on: the captioned images of its data sets, and the words of their captions.

Knows nothing of pixels or networks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from capcli.bundle.habits import Habits, learn_habits
from capcli.bundle.tokens import Tokenizer
from capcli.dataset.captions import CaptionedImage, read_captions
from capcli.dataset.held_out import without_held_out
from capcli.dataset.splits import choose_split
from capcli.errors import DataError, UsageError
from capcli.training.config import TrainConfig
from capcli.training.photos import evenly

# Unreadable images that are named, each in a line.
_NAMED = 5


@dataclass(frozen=True)
class ValidationSet:
    """Held-back images of one data set, with their references."""

    name: str
    images: list[CaptionedImage]


@dataclass(frozen=True)
class TrainingData:
    """Training images of all data sets together; validation images set by set; what reading them had to say."""

    train: list[CaptionedImage]
    validation: list[ValidationSet]
    notes: list[str]

    @property
    def paths(self) -> list[Path]:
        """The files of all images, those that are trained on first."""
        train = dict.fromkeys(image.path for image in self.train)
        held = dict.fromkeys(image.path for each in self.validation for image in each.images)
        return [*train, *held]


def read_data(config: TrainConfig) -> TrainingData:
    """Reads and splits every data set. What one of them holds out is trained on in none.

    Raises:
        UsageError: there is no data set.
        DataError: captions cannot be read, or no training image is left.
    """
    if not config.data:
        raise UsageError("no training data: give --images DIR and --captions FILE, or [[data]] in --config FILE")
    train: list[CaptionedImage] = []
    all_held: list[CaptionedImage] = []
    test: list[CaptionedImage] = []
    validation: list[ValidationSet] = []
    notes: list[str] = []
    for number, source in enumerate(config.data):
        items, report = read_captions(Path(source.images), _path(source.captions))
        split = choose_split(
            items,
            report=report,
            train_file=_path(source.train_split),
            val_file=_path(source.val_split),
            val_fraction=config.val,
            seed=config.seed,
        )
        train += [replace(image, data_set=number) for image in split.train]
        test += split.test
        all_held += split.val
        held = list(split.val)
        if 0 < config.val_images < len(held):
            # Split files are often sorted; evenly spaced images stand for the whole better than the first ones.
            held = evenly(held, config.val_images)
        if held:
            validation.append(ValidationSet(source.images, held))
        notes += [f"{source.images}: {line}" for line in (*report.lines(), *split.notes)]
    if not train:
        raise DataError("no training image is left: every image went to validation; lower --val")
    # All that is held back, not only the --val-images of it that are looked at.
    kept = without_held_out(train, all_held, test)
    if not kept.images:
        raise DataError(f"no training image is left: {kept.note}; give validation images of their own")
    return TrainingData(kept.images, validation, notes if kept.note is None else [*notes, kept.note])


def drop_unreadable(data: TrainingData, errors: Mapping[Path, str], note: Callable[[str], None]) -> TrainingData:
    """The data without images that cannot be decoded.

    Args:
        errors: these images, with the reason.
        note: told of them in a few lines.
    Raises:
        DataError: none is left to train on.
    """
    for path, reason in list(errors.items())[:_NAMED]:
        note(f"left out: {path}: {reason}")
    if len(errors) > _NAMED:
        note(f"left out: {len(errors) - _NAMED} more images that cannot be read")
    train = [image for image in data.train if image.path not in errors]
    if not train:
        path, reason = next(iter(errors.items()))
        raise DataError(f"none of the {len(data.train)} training images can be read; the first: {path}: {reason}")
    validation = [
        ValidationSet(held.name, [image for image in held.images if image.path not in errors])
        for held in data.validation
    ]
    return TrainingData(train, [held for held in validation if held.images], data.notes)


def learn_vocabulary(data: TrainingData, min_count: int, known: Tokenizer | None = None) -> tuple[Tokenizer, Habits]:
    """Vocabulary and habits of the training captions alone.

    Args:
        data: training images.
        min_count: words seen less often are unknown.
        known: a vocabulary whose words and their ids are kept; new words come after them.
    """
    captions = [caption for image in data.train for caption in image.captions]
    tokenizer = Tokenizer.learn(captions, min_count) if known is None else known.extended(captions, min_count)
    return tokenizer, learn_habits(captions, lambda caption: tokenizer.tokens(tokenizer.encode(caption)))


def _path(name: str | None) -> Path | None:
    return Path(name) if name else None
