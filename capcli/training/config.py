"""The settings of a training run, each with its group, help, bounds and default. Knows nothing of torch or of files."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field, fields
from typing import Any

from capcli.errors import UsageError


@dataclass(frozen=True)
class DataSource:
    """One data set: a folder of images, its captions, and its split files.

    `captions` is None where each image has its captions in a text file beside it.
    """

    images: str
    captions: str | None = None
    train_split: str | None = None
    val_split: str | None = None


# The groups that `capcli train --help` shows settings in.
DATA, NETWORK, OPTIMISATION = "Data", "Network", "Optimisation"
AUGMENTATION, SELF_CRITICAL = "Augmentation", "Self-critical training"
VALIDATION, MACHINE = "Validation", "Machine"

# Settings by the names they had before; still read, from options, TOML files and run folders.
RENAMED = {
    "rate": "learning_rate",
    "encoder_rate": "encoder_learning_rate",
    "final_rate": "final_lr_fraction",
    "clip": "max_grad_norm",
    "samples": "beam_samples",
    "crop": "min_crop_area",
    "light": "color_jitter",
}
# Settings that are gone, with what they did nothing at: run folders from before hold them.
_REMOVED: dict[str, tuple[Any, ...]] = {"teachers": ((), [], None), "distil": (0.5,)}


# Settings that may change when a run is resumed: no update made so far would have been another one.
MAY_CHANGE = frozenset(
    (
        *("epochs", "save_every", "val_images", "val_every", "beam", "length_penalty", "max_length"),
        *("device", "precision", "threads", "workers"),
    )
)
# What --decoder takes: the names in `network.decoder.DECODERS`, which cannot be read without PyTorch.
DECODER_KINDS = ("attention", "pooled")
# Settings that --init's network has its own of.
OF_NETWORK = ("decoder", "hidden", "embedding", "attention")
# The search that self-critical training learns from has these of validation's.
_OF_REWARD = frozenset(("length_penalty", "max_length"))


def option(
    group: str,
    default: Any,
    text: str,
    low: float | None = None,
    high: float | None = None,
    *,
    shown: str | None = None,
) -> Any:
    """A field of `TrainConfig` with its group, its help text and its bounds (both included).

    `shown`: what `--help` says of the default, where None stands for something else.
    """
    return field(default=default, metadata={"group": group, "help": text, "low": low, "high": high, "shown": shown})


def _share(text: str) -> Any:
    """A probability, for each view of an image, that it is changed in one way."""
    return option(AUGMENTATION, 0.0, f"Probability that a view is {text}.", 0, 1)


@dataclass(frozen=True)
class TrainConfig:
    """All that decides the result of a run. Every field is an option of `capcli train` and a key of its TOML file."""

    data: tuple[DataSource, ...] = ()
    val: float = option(DATA, 0.1, "Fraction of the images kept for validation where no split says so.", 0, 0.9)
    min_count: int = option(DATA, 5, "Words seen less often in the training captions are unknown.", 1)
    max_words: int = option(DATA, 20, "Longer captions are cut, without an end.", 1)
    init: tuple[str, ...] = option(
        NETWORK, (), "Bundle or run to start from; several: the mean of their weights. Repeatable."
    )
    keep_vocabulary: bool = option(
        NETWORK, False, "With --init: learn no new words; without it those seen --min-count times are added."
    )
    encoder: str | None = option(
        NETWORK,
        None,
        "Encoder weights: .npz, torchvision .pth or a bundle.",
        shown="that of --init, else the shipped model's",
    )
    encoder_stride: str | None = option(NETWORK, None, "v1 or v1.5: where a ResNet-50 weights file has its strides.")
    input_size: int = option(
        NETWORK,
        0,
        "Images are resized to this many pixels square, at least 32; 0: as those of --init, else 224.",
        0,
        1024,
    )
    # None: as the network of --init has it. `config.json` holds those of the network that is trained.
    decoder: str | None = option(
        NETWORK,
        None,
        "attention (two-layer, over the grid) or pooled (Show and Tell).",
        shown="that of --init, else attention",
    )
    hidden: int | None = option(NETWORK, None, "Size of each LSTM's state.", 1, shown="that of --init, else 384")
    embedding: int | None = option(NETWORK, None, "Size of the word embeddings.", 1, shown="that of --init, else 256")
    attention: int | None = option(
        NETWORK, None, "Size of the attention's inner layer.", 1, shown="that of --init, else 192"
    )
    objective: str = option(
        OPTIMISATION, "cross-entropy", "cross-entropy, or self-critical: the score of the network's own captions."
    )
    epochs: int = option(OPTIMISATION, 12, "Passes over the training images.", 1)
    batch_size: int = option(OPTIMISATION, 48, "Images a batch, with all their captions.", 1)
    fine_tune: int = option(
        OPTIMISATION,
        0,
        "Encoder parts to train, from the last: 0 none, 1 stage 4, ... 4 all stages, 5 the stem too.",
        0,
        5,
    )
    learning_rate: float = option(OPTIMISATION, 1e-3, "Peak learning rate of the decoder.", 0)
    encoder_learning_rate: float = option(OPTIMISATION, 3e-5, "Peak learning rate of the encoder's trained stages.", 0)
    final_lr_fraction: float = option(
        OPTIMISATION, 0.03, "Learning rate at the end of its cosine, as a fraction of the peak.", 0, 1
    )
    warmup: int = option(OPTIMISATION, 200, "Updates of linear warm-up to the peak learning rate.", 0)
    weight_decay: float = option(OPTIMISATION, 0.01, "AdamW's weight decay, on weight matrices alone.", 0)
    max_grad_norm: float = option(OPTIMISATION, 5.0, "Gradients are clipped to this norm; 0 for no clipping.", 0)
    label_smoothing: float = option(OPTIMISATION, 0.1, "Label smoothing.", 0, 0.99)
    dropout_features: float = option(OPTIMISATION, 0.3, "Dropout on projected image features.", 0, 0.99)
    dropout_words: float = option(OPTIMISATION, 0.5, "Dropout on word embeddings and outputs.", 0, 0.99)
    word_presence: float = option(
        OPTIMISATION, 0.0, "Weight of an auxiliary loss: which words an image's captions hold, from the pooled grid.", 0
    )
    seed: int = option(OPTIMISATION, 1, "Seed of weights, order, views and dropout.", 0)
    flip: bool = option(AUGMENTATION, True, "Mirror every second image; left and right change places in its captions.")
    left_right: tuple[str, str] = ("left", "right")
    min_crop_area: float = option(
        AUGMENTATION, 1.0, "Random crops: the smallest fraction of the image's area they keep; 1 for no crops.", 0.05, 1
    )
    color_jitter: float = option(
        AUGMENTATION, 0.0, "Random brightness, contrast and saturation: the largest change, as a fraction.", 0, 0.9
    )
    tilt: float = _share("turned by up to 10 degrees")
    white_balance: float = _share("lit warmer or colder, or given another gamma")
    grey: float = _share("made grey")
    rescale: float = _share("scaled down by a random factor and filter, and up again")
    blur: float = _share("blurred a little")
    sharpen: float = _share("sharpened (unsharp mask)")
    noise: float = _share("given noise, of brightness, of colour or of a sensor")
    compress: float = _share("saved as JPEG or WebP of quality 30 to 95")
    beam_samples: int = option(
        SELF_CRITICAL, 5, "Captions of each image, from beam search, that are compared with each other.", 2, 64
    )
    bleu: float = option(SELF_CRITICAL, 0.0, "Weight of BLEU-1 to 4's mean beside CIDEr-D in the reward.", 0)
    meteor: float = option(SELF_CRITICAL, 0.0, "Weight of METEOR beside CIDEr-D in the reward; needs Java.", 0)
    cross_entropy: float = option(SELF_CRITICAL, 0.1, "Share of cross-entropy on the reference captions.", 0, 1)
    beam: int = option(VALIDATION, 3, "Beam of the captions made for validation.", 1, 64)
    max_length: int = option(VALIDATION, 20, "Longest caption made for validation, in words.", 1, 200)
    length_penalty: float = option(VALIDATION, 0.7, "Length penalty of the captions made for validation.", 0, 10)
    val_images: int = option(VALIDATION, 0, "Validate on this many images of each set; 0 for all.", 0)
    val_every: int = option(VALIDATION, 1, "Validate after every so many epochs, and after the last.", 1)
    save_every: int = option(MACHINE, 200, "Updates between checkpoints, besides one each epoch.", 1)
    device: str = option(MACHINE, "auto", "auto, cpu or cuda.")
    precision: str = option(MACHINE, "auto", "auto, float32 or mixed (bfloat16; float16 on older GPUs).")
    threads: int = option(MACHINE, 0, "CPU threads; 0 for all cores. Part of the result: sums depend on it.", 0)
    workers: int = option(MACHINE, 0, "Processes that prepare batches; 0: one, with CUDA one a core.", 0)

    def __post_init__(self) -> None:
        for item in fields(self):
            low, high = item.metadata.get("low"), item.metadata.get("high")
            value = getattr(self, item.name)
            flag = flag_of(item.name)
            if value is None:
                continue
            if isinstance(value, float) and not math.isfinite(value):
                raise UsageError(f"{flag} is {value}; it must be a finite number")
            if (low is not None and value < low) or (high is not None and value > high):
                wanted = f"at least {low}" if high is None else f"between {low} and {high}"
                raise UsageError(f"{flag} is {value}; it must be {wanted}")
        if 0 < self.input_size < 32:
            raise UsageError(f"--input-size is {self.input_size}; it must be between 32 and 1024, or 0")
        if self.decoder is not None:
            _one_of("decoder", self.decoder, DECODER_KINDS)
        _one_of("objective", self.objective, ("cross-entropy", "self-critical"))
        if self.objective != "self-critical" and (self.bleu or self.meteor):
            raise UsageError("--bleu and --meteor go with --objective self-critical")
        if self.objective == "self-critical" and self.word_presence:
            raise UsageError("--word-presence goes with --objective cross-entropy")
        if self.keep_vocabulary and not self.init:
            raise UsageError("--keep-vocabulary goes with --init")
        _one_of("device", self.device, ("auto", "cpu", "cuda"))
        _one_of("precision", self.precision, ("auto", "float32", "mixed"))
        if self.encoder_stride is not None:
            _one_of("encoder-stride", self.encoder_stride, ("v1", "v1.5"))

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as JSON holds them."""
        values = dataclasses.asdict(self)
        values["data"] = [dataclasses.asdict(source) for source in self.data]
        for name in ("left_right", "init"):
            values[name] = list(values[name])
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any], source: str) -> TrainConfig:
        """Checks names and types of plain values; earlier names of settings are understood.

        Raises:
            UsageError: a name is unknown or given twice, a value is of the wrong type, or a setting that is gone has
                another value than the one it did nothing at.
        """
        types = {item.name: item.type for item in fields(cls)}
        named = by_present_names(values, source)
        return cls(**{name: _typed(name, value, types[name], source) for name, value in named.items()})

    def may_change(self) -> frozenset[str]:
        """The settings that may be others when this run is resumed."""
        return MAY_CHANGE - _OF_REWARD if self.objective == "self-critical" else MAY_CHANGE


def flag_of(name: str) -> str:
    """The option of `capcli train` that a setting is given by."""
    return f"--{name.replace('_', '-')}"


def by_present_names(values: dict[str, Any], source: str) -> dict[str, Any]:
    """Settings under the names of the fields of `TrainConfig`, whichever names they were given by.

    Raises:
        UsageError: a name is unknown or given twice, or a setting that is gone has another value than the one it did
            nothing at.
    """
    known = {item.name for item in fields(TrainConfig)}
    named: dict[str, Any] = {}
    for name, value in values.items():
        key = name.replace("-", "_")
        if key in _REMOVED:
            if value not in _REMOVED[key]:
                raise UsageError(f"{source}: the setting {name!r} is gone; take it out (is {value!r})")
            continue
        key = RENAMED.get(key, key)
        if key not in known:
            raise UsageError(f"{source}: unknown setting {name!r}")
        if key in named:
            raise UsageError(f"{source}: {key} is given twice, once by an earlier name of it; leave one out")
        named[key] = value
    return named


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise UsageError(f"--{name} is {value!r}; it must be one of {', '.join(allowed)}")


def _typed(name: str, value: Any, declared: Any, source: str) -> Any:
    if name == "data":
        if not isinstance(value, (list, tuple)):
            raise UsageError(f"{source}: data sets are given as [[data]] tables with images and captions")
        return tuple(_data_source(entry, source) for entry in value)
    if name == "left_right":
        if isinstance(value, (list, tuple)) and len(value) == 2 and all(isinstance(v, str) for v in value):
            return (value[0], value[1])
        raise UsageError(f"{source}: left_right takes two words")
    if name == "init":
        names = [value] if isinstance(value, str) else [] if value is None else value
        if isinstance(names, (list, tuple)) and all(isinstance(each, str) for each in names):
            return tuple(names)
        raise UsageError(f"{source}: {name} takes a bundle or run, or a list of bundles and runs")
    kind = str(declared).removesuffix(" | None")
    if value is None and str(declared).endswith("| None"):
        return None
    if kind == "float" and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    expected = {"int": int, "str": str, "bool": bool}.get(kind)
    if expected is None or type(value) is not expected:
        raise UsageError(f"{source}: {name} is {value!r}; it must be of type {kind}")
    return value


def _data_source(entry: Any, source: str) -> DataSource:
    if isinstance(entry, DataSource):
        return entry
    known = {item.name for item in fields(DataSource)}
    if not isinstance(entry, dict) or "images" not in entry or set(entry) - known:
        raise UsageError(f"{source}: a [[data]] table takes images, captions, train_split and val_split")
    for name, value in entry.items():
        if not isinstance(value, str) and (value is not None or name == "images"):
            raise UsageError(f"{source}: {name} in a [[data]] table is {value!r}; it must be a path")
    return DataSource(**entry)
