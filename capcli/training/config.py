"""What a training run is told to do: options, a TOML file, or both.

A value on the command line wins over the file's, the file's over the default. Knows nothing of torch.
"""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
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


def option(default: Any, text: str, low: float | None = None, high: float | None = None) -> Any:
    """A field of `TrainConfig` with its help text and its bounds (both included)."""
    return field(default=default, metadata={"help": text, "low": low, "high": high})


@dataclass(frozen=True)
class TrainConfig:
    """All that decides the result of a run. Every field is an option of `capcli train` and a key of its TOML file."""

    data: tuple[DataSource, ...] = ()
    val: float = option(0.1, "Part of the images kept for validation where no split says so.", 0, 0.9)
    epochs: int = option(12, "Passes over the training images.", 1)
    batch_size: int = option(48, "Images a batch, with all their captions.", 1)
    decoder: str = option("attention", "attention (two-layer, over the grid) or pooled (Show and Tell).")
    hidden: int = option(384, "Size of each LSTM's state.", 1)
    embedding: int = option(256, "Size of the word vectors.", 1)
    attention: int = option(192, "Size of the attention's inner layer.", 1)
    objective: str = option("cross-entropy", "cross-entropy, or self-critical: CIDEr of the network's own captions.")
    samples: int = option(5, "Self-critical: captions of each image, compared with each other.", 2, 64)
    bleu: float = option(0.0, "Self-critical: weight of BLEU-1 to 4's mean beside CIDEr-D in the reward.", 0)
    meteor: float = option(0.0, "Self-critical: weight of METEOR beside CIDEr-D in the reward; needs Java.", 0)
    cross_entropy: float = option(0.1, "Self-critical: share of cross-entropy on people's captions.", 0, 1)
    teachers: tuple[str, ...] = option((), "Bundle or run whose word probabilities are learnt too. Repeatable.")
    distil: float = option(0.5, "Share of the teachers' words in the cross-entropy.", 0, 1)
    min_count: int = option(5, "Words seen less often in the training captions are unknown.", 1)
    max_words: int = option(20, "Longer captions are cut, without an end.", 1)
    rate: float = option(1e-3, "Highest learning rate of the decoder.", 0)
    encoder_rate: float = option(3e-5, "Highest learning rate of the encoder's trained stages.", 0)
    final_rate: float = option(0.03, "Last learning rate, as a part of the highest.", 0, 1)
    warmup: int = option(200, "Updates until the highest learning rate.", 0)
    weight_decay: float = option(0.01, "AdamW's weight decay.", 0)
    clip: float = option(5.0, "Largest gradient norm.", 0)
    label_smoothing: float = option(0.1, "Label smoothing.", 0, 0.99)
    dropout_features: float = option(0.3, "Dropout on projected image features.", 0, 0.99)
    dropout_words: float = option(0.5, "Dropout on word vectors and outputs.", 0, 0.99)
    fine_tune: int = option(
        0, "Encoder parts to train, from the last: 0 none, 1 stage 4, ... 4 all stages, 5 the stem too.", 0, 5
    )
    flip: bool = option(True, "Mirror every second image; left and right change places in its captions.")
    crop: float = option(1.0, "Random crops: the smallest part of the image's area they keep; 1 for no crops.", 0.05, 1)
    light: float = option(0.0, "Random brightness, contrast and saturation: the largest change, as a part.", 0, 0.9)
    left_right: tuple[str, str] = ("left", "right")
    input_size: int = option(
        0, "Images are resized to this many pixels square, at least 32; 0: as those of --init, else 224.", 0, 1024
    )
    beam: int = option(3, "Beam of the captions made for validation.", 1, 64)
    max_length: int = option(20, "Longest caption made for validation, in words.", 1, 200)
    length_penalty: float = option(0.7, "Length penalty of the captions made for validation.", 0, 10)
    val_images: int = option(0, "Validate on this many images of each set; 0 for all.", 0)
    save_every: int = option(200, "Updates between checkpoints, besides one each epoch.", 1)
    seed: int = option(1, "Seed of weights, order and dropout.", 0)
    threads: int = option(0, "CPU threads; 0 for all cores. Part of the result: sums depend on it.", 0)
    device: str = option("auto", "auto, cpu or cuda.")
    precision: str = option("auto", "auto, float32 or mixed (bfloat16; float16 on older GPUs).")
    init: tuple[str, ...] = option((), "Bundle or run to go on from; several: the mean of their weights. Repeatable.")
    encoder: str | None = option(None, "Encoder weights: .npz, torchvision .pth or a bundle. Default: the shipped one.")
    encoder_stride: str | None = option(None, "v1 or v1.5: where a ResNet-50 weights file has its strides.")

    def __post_init__(self) -> None:
        for item in fields(self):
            low, high = item.metadata.get("low"), item.metadata.get("high")
            value = getattr(self, item.name)
            if (low is not None and value < low) or (high is not None and value > high):
                wanted = f"at least {low}" if high is None else f"between {low} and {high}"
                raise UsageError(f"--{item.name.replace('_', '-')} is {value}; it must be {wanted}")
        if 0 < self.input_size < 32:
            raise UsageError(f"--input-size is {self.input_size}; it must be between 32 and 1024, or 0")
        _one_of("decoder", self.decoder, ("attention", "pooled"))
        _one_of("objective", self.objective, ("cross-entropy", "self-critical"))
        if self.objective != "self-critical" and (self.bleu or self.meteor):
            raise UsageError("--bleu and --meteor go with --objective self-critical")
        if self.teachers and self.objective != "cross-entropy":
            raise UsageError("--teachers goes with --objective cross-entropy")
        _one_of("device", self.device, ("auto", "cpu", "cuda"))
        _one_of("precision", self.precision, ("auto", "float32", "mixed"))
        if self.encoder_stride is not None:
            _one_of("encoder-stride", self.encoder_stride, ("v1", "v1.5"))

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as JSON holds them."""
        values = dataclasses.asdict(self)
        values["data"] = [dataclasses.asdict(source) for source in self.data]
        for name in ("left_right", "init", "teachers"):
            values[name] = list(values[name])
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any], source: str) -> TrainConfig:
        """Checks names and types of plain values.

        Raises:
            UsageError: a name is unknown or a value is of the wrong type.
        """
        known = {item.name: item for item in fields(cls)}
        given: dict[str, Any] = {}
        for name, value in values.items():
            key = name.replace("-", "_")
            if key not in known:
                raise UsageError(f"{source}: unknown setting {name!r}")
            given[key] = _typed(key, value, known[key].type, source)
        return cls(**given)


def read_toml(path: Path) -> dict[str, Any]:
    """The settings of a TOML file; paths in its [[data]] tables are relative to the file.

    Raises:
        UsageError: the file cannot be read or is not TOML.
    """
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path}: not readable as a TOML file ({error})") from error
    sources = values.get("data", [])
    if not isinstance(sources, list) or not all(isinstance(entry, dict) for entry in sources):
        raise UsageError(f"{path}: data sets are given as [[data]] tables with images and captions")
    for entry in sources:
        for key in ("images", "captions", "train_split", "val_split"):
            if isinstance(entry.get(key), str):
                entry[key] = str(path.parent / entry[key])
    for key in ("init", "encoder", "teachers"):
        if isinstance(values.get(key), str):
            values[key] = _beside(path, values[key])
        elif isinstance(values.get(key), list):
            values[key] = [_beside(path, each) if isinstance(each, str) else each for each in values[key]]
    return values


def _beside(file: Path, name: str) -> str:
    """A file's name for a bundle or a run: a path beside the file if there is one, else the name."""
    return str(file.parent / name) if (file.parent / name).exists() else name


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise UsageError(f"--{name} is {value!r}; it must be one of {', '.join(allowed)}")


def _typed(name: str, value: Any, declared: Any, source: str) -> Any:
    if name == "data":
        return tuple(_data_source(entry, source) for entry in value)
    if name == "left_right":
        if isinstance(value, (list, tuple)) and len(value) == 2 and all(isinstance(v, str) for v in value):
            return (value[0], value[1])
        raise UsageError(f"{source}: left_right takes two words")
    if name in ("init", "teachers"):
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
    return DataSource(**entry)
