"""Everything a training run needs, put together: data sets, vocabulary, network, feature maps."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch

from capcli.bundle.habits import Habits, learn_habits
from capcli.bundle.tokens import Tokenizer
from capcli.dataset.captions import CaptionedImage, read_captions
from capcli.dataset.held_out import without_held_out
from capcli.dataset.splits import choose_split
from capcli.decoding.search import SearchSettings, TokenFilter
from capcli.errors import DataError, UsageError
from capcli.evaluation.java import MeteorProgram, find_java
from capcli.inputs.images import PREPROCESSING
from capcli.runtime.cores import available_cores
from capcli.training.config import TrainConfig
from capcli.training.inputs.augment import Augmentation
from capcli.training.inputs.batches import BatchPlan, MapSource, StoredMaps, StoredPixels, TrainingImage
from capcli.training.inputs.cache_folder import store_name
from capcli.training.inputs.corruptions import CorruptionChances
from capcli.training.inputs.features import FeatureStore, encoder_fingerprint, fill_store
from capcli.training.network.decoder import CaptionNetwork, DecoderConfig, Dropout, build_decoder
from capcli.training.network.encoder_weights import load_encoder
from capcli.training.network.resnet import SLICE, STAGES, ResNet50
from capcli.training.objectives.objectives import CrossEntropy, ObjectiveFunction, SelfCritical, WordPresence
from capcli.training.objectives.rewards import BleuReward, CiderReward, MeteorReward, Reward
from capcli.training.validation import ValidationSet, Validator

# METEOR is slower than a GPU says captions; each of these takes 1 GB.
_METEOR_PROGRAMS = 4


@dataclass(frozen=True)
class TrainingData:
    """Images of all data sets together; validation set by set."""

    train: list[CaptionedImage]
    validation: list[ValidationSet]
    notes: list[str]


def read_data(config: TrainConfig) -> TrainingData:
    """Reads and splits every data set. What one of them holds out is trained on in none.

    Raises:
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
        items, report = read_captions(Path(source.images), Path(source.captions) if source.captions else None)
        split = choose_split(
            items,
            report=report,
            train_file=Path(source.train_split) if source.train_split else None,
            val_file=Path(source.val_split) if source.val_split else None,
            val_fraction=config.val,
            seed=config.seed,
        )
        train += [replace(image, data_set=number) for image in split.train]
        test += split.test
        all_held += split.val
        held = list(split.val)
        if 0 < config.val_images < len(held):
            # Split files are often sorted; evenly spaced images stand for the whole better than the first ones.
            held = [held[row * len(held) // config.val_images] for row in range(config.val_images)]
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


def learn_vocabulary(
    config: TrainConfig, data: TrainingData, known: Tokenizer | None = None
) -> tuple[Tokenizer, Habits]:
    """Vocabulary and habits of the training captions alone.

    Args:
        known: a vocabulary whose words and their ids are kept; new words come after them.
    """
    captions = [caption for image in data.train for caption in image.captions]
    tokenizer = (
        Tokenizer.learn(captions, config.min_count) if known is None else known.extended(captions, config.min_count)
    )
    return tokenizer, learn_habits(captions, lambda caption: tokenizer.tokens(tokenizer.encode(caption)))


def new_network(config: TrainConfig, encoder: ResNet50, vocabulary: int) -> CaptionNetwork:
    """A given encoder with a fresh decoder."""
    torch.manual_seed(config.seed)
    sizes = DecoderConfig(
        kind=config.decoder or "attention",
        vocabulary=vocabulary,
        features=encoder.config.channels,
        **{name: size for name in ("hidden", "embedding", "attention") if (size := getattr(config, name)) is not None},
    )
    return CaptionNetwork(encoder, build_decoder(sizes, dropout(config)))


def dropout(config: TrainConfig) -> Dropout:
    return Dropout(config.dropout_features, config.dropout_words)


def augmentation(config: TrainConfig) -> Augmentation:
    return Augmentation(
        config.flip,
        config.min_crop_area,
        config.color_jitter,
        CorruptionChances(**{item.name: getattr(config, item.name) for item in fields(CorruptionChances)}),
    )


def first_encoder(config: TrainConfig) -> ResNet50:
    """The encoder that --encoder names, by default the shipped bundle's."""
    strides = {None: None, "v1": "conv1", "v1.5": "conv2"}
    if config.encoder is not None:
        return load_encoder(Path(config.encoder), stride_in=strides[config.encoder_stride])
    from capcli.bundle.bundle import find_bundle

    return load_encoder(find_bundle("default"))


def encode_captions(images: Sequence[CaptionedImage], tokenizer: Tokenizer, max_words: int) -> list[TrainingImage]:
    """Captions as token ids; captions without a word are left out, images without a caption too.

    Raises:
        DataError: no caption holds a word.
    """
    encoded = []
    for image in images:
        captions = [ids for caption in image.captions if (ids := tokenizer.encode(caption))]
        if captions:
            encoded.append(
                TrainingImage(
                    image.path,
                    tuple(tuple(ids[:max_words]) for ids in captions),
                    tuple(len(ids) > max_words for ids in captions),
                    image.data_set,
                )
            )
    if not encoded:
        raise DataError("no training caption holds a word")
    return encoded


def swapped_words(config: TrainConfig, tokenizer: Tokenizer) -> dict[int, int]:
    """Ids that change places in a mirrored image's captions."""
    left, right = (tokenizer.id_of(word) for word in config.left_right)
    return {left: right, right: left} if left is not None and right is not None else {}


def prepare_maps(
    config: TrainConfig,
    network: CaptionNetwork,
    data: TrainingData,
    *,
    cache: Path,
    device: torch.device,
    autocast: torch.dtype | None,
    progress: Callable[[int, int], None],
    note: Callable[[str], None],
) -> tuple[StoredMaps | StoredPixels, dict[Path, str]]:
    """The inputs of the encoder's trained part, computed where they are missing.

    They are maps where the frozen part sees each image in one way only, or else the resized images.

    Args:
        cache: where they are kept from run to run.
        progress: told how many images of how many are done.
        note: told in one line if another run that fills the cache is waited for.
    Returns:
        Their source, and the images that cannot be read, with the reason.
    Raises:
        OutputError: the cache cannot be written.
    """
    last_stage = STAGES - config.fine_tune
    size = config.input_size
    paths = list(dict.fromkeys(image.path for image in data.train))
    paths += list(dict.fromkeys(image.path for held in data.validation for image in held.images))
    if last_stage < 0 or augmentation(config).changes_pixels:
        store = FeatureStore(cache / store_name(f"pixels-{size}", PREPROCESSING), (size, size, 3), np.uint8)
        keys, errors = fill_store(
            store, lambda pixels: pixels, paths, input_size=size, batch_size=32, progress=progress, note=note
        )
        return StoredPixels(store, keys), errors
    encoder = network.encoder.eval()
    encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    precision = "float32" if autocast is None else str(autocast).removeprefix("torch.")
    name = store_name(f"{encoder_fingerprint(encoder, last_stage, size)}-stage{last_stage}-{precision}", PREPROCESSING)

    def encode(pixels: np.ndarray) -> np.ndarray:
        images = torch.from_numpy(pixels).to(device)
        with torch.inference_mode(), torch.autocast(device.type, autocast, enabled=autocast is not None):
            maps: np.ndarray = encoder.forward_until(images, last_stage).to("cpu", torch.float16).numpy()
        return maps

    channels, height, width = encode(np.zeros((1, size, size, 3), np.uint8)).shape[1:]
    store = FeatureStore(cache / name, (channels, height, width))
    # More images at once are slower on the CPU: their maps no longer fit its cache.
    keys, errors = fill_store(store, encode, paths, input_size=size, batch_size=SLICE, progress=progress, note=note)
    return StoredMaps(store, keys), errors


def drop_unreadable(data: TrainingData, errors: dict[Path, str]) -> TrainingData:
    """The data without images that cannot be decoded.

    Raises:
        DataError: none is left.
    """
    train = [image for image in data.train if image.path not in errors]
    if not train:
        path, reason = next(iter(errors.items()))
        raise DataError(f"none of the {len(data.train)} training images can be read; the first: {path}: {reason}")
    validation = [
        ValidationSet(held.name, [image for image in held.images if image.path not in errors])
        for held in data.validation
    ]
    return TrainingData(train, [held for held in validation if held.images], data.notes)


def batch_plan(
    config: TrainConfig,
    images: Sequence[TrainingImage],
    tokenizer: Tokenizer,
    source: MapSource,
) -> BatchPlan:
    """The run's batches."""
    return BatchPlan(
        images,
        source,
        batch_size=config.batch_size,
        seed=config.seed,
        start=tokenizer.start,
        end=tokenizer.end,
        unknown=tokenizer.unknown,
        augmentation=augmentation(config),
        swaps=swapped_words(config, tokenizer),
    )


def java_for(config: TrainConfig) -> str | None:
    """The Java that the run's rewards need, None where they need none.

    Raises:
        DependencyError: METEOR is asked for and there is no Java.
    """
    return find_java() if config.meteor else None


@contextlib.contextmanager
def objective_of(
    config: TrainConfig,
    network: CaptionNetwork,
    tokenizer: Tokenizer,
    filters: Sequence[TokenFilter],
    plan: BatchPlan,
    java: str | None,
) -> Iterator[ObjectiveFunction]:
    """What the run's updates minimise, and the programs it takes, until the `with` is left.

    Args:
        network: with its word-presence head, if the run has one.
        java: from `java_for`; METEOR is in the reward where there is one.
    """
    unsaid = (tokenizer.pad, tokenizer.start, tokenizer.end, tokenizer.unknown)
    head = network.presence
    presence = None if head is None else WordPresence(head, config.word_presence, unsaid)
    cross_entropy = CrossEntropy(config.label_smoothing, presence)
    if config.objective == "cross-entropy":
        yield cross_entropy
        return
    search = SearchSettings(
        beam=config.beam_samples,
        max_length=config.max_length,
        length_penalty=config.length_penalty,
        captions=config.beam_samples,
    )
    rewards: list[tuple[float, Reward]] = [(1.0, CiderReward(plan.references()))]
    if config.bleu:
        rewards.append((config.bleu, BleuReward()))
    at_once = 1
    with contextlib.ExitStack() as programs:
        if java is not None:
            at_once = min(_METEOR_PROGRAMS, available_cores())
            running = [programs.enter_context(MeteorProgram(java)) for _ in range(at_once)]
            rewards.append((config.meteor, MeteorReward(running, tokenizer.vocabulary, unsaid)))
        yield SelfCritical(rewards, search, tokenizer, filters, cross_entropy, config.cross_entropy, at_once)


def validator_of(
    config: TrainConfig,
    validation: Sequence[ValidationSet],
    source: MapSource,
    tokenizer: Tokenizer,
    filters: Sequence[TokenFilter],
) -> Validator | None:
    """What scores the network after epochs; None without validation images."""
    search = SearchSettings(beam=config.beam, max_length=config.max_length, length_penalty=config.length_penalty)
    return Validator(validation, source, tokenizer, search, filters, config.max_words) if validation else None
