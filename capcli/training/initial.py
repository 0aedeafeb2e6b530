"""The model a run starts from: its own `start.pt` once it has one, else what --init and --encoder name, or a fresh one.

Knows nothing of images or updates.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from capcli.bundle.bundle import find_bundle
from capcli.bundle.tokens import SPECIAL, Tokenizer
from capcli.dataset.captions import CaptionedImage
from capcli.errors import BundleError, DataError, UsageError
from capcli.training.config import OF_NETWORK, TrainConfig, flag_of
from capcli.training.data import TrainingData, learn_vocabulary
from capcli.training.model import CaptioningModel, mean_of
from capcli.training.network.caption_network import CaptionNetwork
from capcli.training.network.decoder import DecoderConfig, Dropout, build_decoder
from capcli.training.network.encoder_weights import load_encoder
from capcli.training.network.resnet import ResNet50
from capcli.training.onnx.read import read_encoder, read_model
from capcli.training.run_folder import RunFolder, load_run

# What ImageNet classifiers are trained on.
_INPUT_SIZE = 224
# What --encoder-stride takes: the convolution of a block that has the stride.
_STRIDES = {None: None, "v1": "conv1", "v1.5": "conv2"}


def initial_model(
    config: TrainConfig, folder: RunFolder, data: TrainingData, note: Callable[[str], None]
) -> CaptioningModel:
    """The model before the first update.

    Args:
        config: the run's settings; where they leave sizes open, the network decides.
        folder: the run's.
        data: what a vocabulary is learnt from.
        note: told what --init gave, and what the vocabulary lacks, unless the run has started already.
    Raises:
        UsageError: several --init that are not of one kind, or of several image sizes without --input-size; or settings
            that do not go with their network.
        DataError, BundleError: what --init or --encoder names cannot be read.
    """
    # A start.pt without a config.json is what a killed start has left.
    if folder.has_config:
        return folder.read_start(_dropout(config))
    notes = []
    if config.init:
        given = _mean_of_init(config)
        _refuse_idle_settings(config, given.network)
        known = len(given.tokenizer)
        model = given if config.keep_vocabulary else _with_new_words(config, given, data)
        notes.append(_what_init_gave(config, model, known, data.train))
        if config.encoder is not None:
            model = replace(model, network=_with_other_encoder(config, model.network))
    else:
        tokenizer, habits = learn_vocabulary(data, config.min_count)
        network = fresh_network(config, first_encoder(config), len(tokenizer))
        model = CaptioningModel(network, tokenizer, habits, _INPUT_SIZE)
    for line in (*notes, *_captions_of_unknown_words(model.tokenizer, data.train)):
        note(line)
    return model


def settings_of_model(config: TrainConfig, model: CaptioningModel) -> TrainConfig:
    """The settings with the model's kind of decoder, its sizes, and its image size where none was chosen."""
    sizes = model.network.decoder.config
    return replace(
        config,
        input_size=config.input_size or model.input_size,
        decoder=sizes.kind,
        hidden=sizes.hidden,
        embedding=sizes.embedding,
        attention=sizes.attention,
    )


def load_model(name: str, dropout: Dropout | None = None) -> CaptioningModel:
    """A run's best model or a bundle's, as --init names it.

    Raises:
        DataError, BundleError: it cannot be read.
    """
    path = Path(name)
    if RunFolder(path).has_config:
        return load_run(path, dropout)
    try:
        return read_model(find_bundle(path), dropout)
    except BundleError as error:
        raise BundleError(f"--init {path}: {error}") from error


def first_encoder(config: TrainConfig) -> ResNet50:
    """The encoder that --encoder names, by default the shipped bundle's.

    Raises:
        DataError: it cannot be read.
    """
    path = find_bundle("default") if config.encoder is None else Path(config.encoder)
    if not path.is_dir():
        return load_encoder(path, stride_in=_STRIDES[config.encoder_stride])
    try:
        return read_encoder(path)
    except BundleError as error:
        raise DataError(str(error)) from error


def fresh_network(config: TrainConfig, encoder: ResNet50, vocabulary: int) -> CaptionNetwork:
    """A given encoder with a fresh decoder, whose weights the seed decides."""
    torch.manual_seed(config.seed)
    chosen = {
        name: size for name in ("hidden", "embedding", "attention") if (size := getattr(config, name)) is not None
    }
    sizes = DecoderConfig(
        kind=config.decoder or "attention", vocabulary=vocabulary, features=encoder.config.channels, **chosen
    )
    return CaptionNetwork(encoder, build_decoder(sizes, _dropout(config)))


def _dropout(config: TrainConfig) -> Dropout:
    return Dropout(config.dropout_features, config.dropout_words)


def _mean_of_init(config: TrainConfig) -> CaptioningModel:
    models = [(f"--init {name}", load_model(name, _dropout(config))) for name in config.init]
    sizes = sorted({model.input_size for _, model in models})
    if len(sizes) > 1 and not config.input_size:
        raise UsageError(
            f"--init: trained on images of {' and '.join(map(str, sizes))} pixels; choose one with --input-size"
        )
    return mean_of(models)


def _refuse_idle_settings(config: TrainConfig, network: CaptionNetwork) -> None:
    """Refuses settings that would have the network otherwise than it is."""
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


def _with_new_words(config: TrainConfig, model: CaptioningModel, data: TrainingData) -> CaptioningModel:
    """The model with the frequent words of the data added to its own, and the data's habits."""
    tokenizer, habits = learn_vocabulary(data, config.min_count, model.tokenizer)
    torch.manual_seed(config.seed)
    model.network.decoder.grow_vocabulary(len(tokenizer))
    return replace(model, tokenizer=tokenizer, habits=habits)


def _with_other_encoder(config: TrainConfig, network: CaptionNetwork) -> CaptionNetwork:
    encoder, decoder = first_encoder(config), network.decoder
    if encoder.config.channels != decoder.config.features:
        raise UsageError(
            f"--encoder {config.encoder}: has {encoder.config.channels} channels, and the decoder of --init "
            f"{config.init[0]} takes {decoder.config.features}; leave one of the two out"
        )
    return CaptionNetwork(encoder, decoder)


def _what_init_gave(config: TrainConfig, model: CaptioningModel, known: int, images: Sequence[CaptionedImage]) -> str:
    """A line on the network, on its words, `known` of which it had before, and on how well they cover the captions."""
    sizes = model.network.decoder.config
    words = Counter(
        number == model.tokenizer.unknown
        for image in images
        for caption in image.captions
        for number in model.tokenizer.encode(caption)
    )
    sized = f"hidden {sizes.hidden}, embedding {sizes.embedding}"
    sized += f", attention {sizes.attention}" if model.network.decoder.attends else ""
    return (
        f"--init {' and '.join(config.init)}: {sizes.kind} decoder ({sized}), {known - len(SPECIAL)} words kept, "
        f"{len(model.tokenizer) - known} added; {100 * words[True] / max(1, words.total()):.1f} % of the words in the "
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
