"""What a camera and a file do to a picture: tilt, other light, blur, scaling, noise, sharpening, compression.

A caption should depend on what is in the picture, not on how the picture was taken or saved. A network that never sees
such changes takes them for a hint of the data set, and answers in its manner (shortcut learning, Geirhos et al., 2020,
arXiv:2004.07780). The kinds are those of ImageNet-C (Hendrycks and Dietterich, 2019, arXiv:1903.12261) that happen to
photos on their way to a user's disk; the strengths are milder than there. Pillow does the work. Knows nothing of
training or of files.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from PIL import Image, ImageFilter

Resampling = Image.Resampling
# What programs scale pictures with.
_FILTERS = (Resampling.BOX, Resampling.BILINEAR, Resampling.HAMMING, Resampling.BICUBIC, Resampling.LANCZOS)


class Corruption(Protocol):
    """One change of a picture."""

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        """Changes a picture, uint8 [H, W, 3] to uint8 [H, W, 3]; the same input gives the same output."""
        ...


@dataclass(frozen=True)
class Tilt:
    """Turned by `degrees`, to the left where positive; `zoom` cuts the corners off, else they are black."""

    degrees: float
    zoom: bool = True

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        image = Image.fromarray(pixels)
        width, height = image.size
        angle = math.radians(self.degrees)
        cos, sin = math.cos(angle), math.sin(angle)
        # The part of the turned picture's sides that an upright one inside it has.
        side = 1 / (cos + abs(sin) * max(width / height, height / width)) if self.zoom else 1.0
        a, b = side * cos, side * sin
        x, y = width / 2, height / 2
        # In one step: a crop of the turned picture would have dark edges, where black corners shine in.
        turned = image.transform(
            image.size, Image.Transform.AFFINE, (a, -b, x - a * x + b * y, b, a, y - b * x - a * y), Resampling.BICUBIC
        )
        return np.asarray(turned)


@dataclass(frozen=True)
class WhiteBalance:
    """Light of another colour: a factor for red, green and blue, and `gamma`, above 1 darker."""

    gains: tuple[float, float, float]
    gamma: float = 1.0

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        levels = np.arange(256, dtype=np.float32) / 255
        table = 255 * np.clip(np.multiply.outer(np.array(self.gains, np.float32), levels), 0, 1) ** self.gamma
        table = np.rint(table).astype(np.uint8)
        return np.stack([table[channel][pixels[..., channel]] for channel in range(3)], axis=-1)


@dataclass(frozen=True)
class Blur:
    """Gaussian blur; `radius` is its standard deviation in pixels."""

    radius: float

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(self.radius)))


@dataclass(frozen=True)
class Rescale:
    """Scaled down to `factor` of its sides with one filter, and up again with another."""

    factor: float
    down: Resampling = Resampling.BICUBIC
    up: Resampling = Resampling.BICUBIC

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        image = Image.fromarray(pixels)
        width, height = (max(1, round(side * self.factor)) for side in image.size)
        small = image.resize((width, height), self.down)
        return np.asarray(small.resize(image.size, self.up))


@dataclass(frozen=True)
class Noise:
    """Gaussian noise of standard deviation `sigma` (of 255).

    `kind`: "brightness" adds one value to a pixel's three channels, "colour" one to each, "sensor" as "colour" but
    growing with the square root of the brightness, as photons come. `seed`: of the noise.
    """

    sigma: float
    kind: str = "colour"
    seed: int = 0

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        random = np.random.default_rng(self.seed)
        shape = (*pixels.shape[:2], 1 if self.kind == "brightness" else 3)
        values = random.standard_normal(shape, np.float32) * np.float32(self.sigma)
        if self.kind == "sensor":
            values *= np.sqrt(pixels.astype(np.float32) / 128)
        noisy: np.ndarray = np.clip(np.rint(values + pixels), 0, 255).astype(np.uint8)
        return noisy


@dataclass(frozen=True)
class Sharpen:
    """Unsharp masking: `percent` of the difference to the picture blurred by `radius` is added."""

    radius: float
    percent: int

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        return np.asarray(Image.fromarray(pixels).filter(ImageFilter.UnsharpMask(self.radius, self.percent, 0)))


@dataclass(frozen=True)
class Grey:
    """No colours."""

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        return np.asarray(Image.fromarray(pixels).convert("L").convert("RGB"))


@dataclass(frozen=True)
class Compress:
    """Saved and read again as `kind` ("JPEG" or "WEBP") of `quality` (1 to 100)."""

    kind: str
    quality: int

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        file = io.BytesIO()
        # WebP's quickest method: its errors look alike, and it takes a quarter of the time.
        Image.fromarray(pixels).save(file, self.kind, quality=self.quality, method=0)
        file.seek(0)
        with Image.open(file) as image:
            return np.asarray(image.convert("RGB"))


@dataclass(frozen=True)
class CorruptionChances:
    """How probable each corruption is, each by itself."""

    tilt: float = 0.0
    white_balance: float = 0.0
    blur: float = 0.0
    rescale: float = 0.0
    noise: float = 0.0
    sharpen: float = 0.0
    grey: float = 0.0
    compress: float = 0.0

    @property
    def any(self) -> bool:
        return any(vars(self).values())

    def draw(self, random: np.random.Generator) -> tuple[Corruption, ...]:
        """Corruptions for one picture, in the order in which lens, sensor and programs do them."""
        wanted = {name: random.random() < chance for name, chance in vars(self).items()}
        drawn: list[Corruption] = []
        if wanted["tilt"]:
            drawn.append(Tilt(random.uniform(-10, 10), bool(random.random() < 0.5)))
        if wanted["white_balance"]:
            # Colour temperature moves red against blue, tint green against both.
            warmth, tint = random.normal(0, 0.12), random.normal(0, 0.04)
            gains = (math.exp(warmth), math.exp(tint), math.exp(-warmth))
            drawn.append(WhiteBalance(gains, math.exp(random.normal(0, 0.3))))
        if wanted["blur"]:
            drawn.append(Blur(random.uniform(0.3, 1.8)))
        if wanted["rescale"]:
            down, up = (_FILTERS[number] for number in random.integers(len(_FILTERS), size=2))
            drawn.append(Rescale(random.uniform(0.3, 0.9), down, up))
        if wanted["noise"]:
            kind = ("brightness", "colour", "sensor")[random.integers(3)]
            drawn.append(Noise(random.uniform(2, 18), kind, int(random.integers(2**32))))
        if wanted["sharpen"]:
            drawn.append(Sharpen(random.uniform(0.5, 2.5), int(random.integers(40, 200))))
        if wanted["grey"]:
            drawn.append(Grey())
        if wanted["compress"]:
            drawn.append(Compress(("JPEG", "WEBP")[random.integers(2)], int(random.integers(30, 96))))
        return tuple(drawn)
