"""Random views of training images: mirrored, cropped, in other light, as other cameras and files would have them.

A network that sees each photo in one way only learns the photo by heart. Crops keep most of the image, since its
captions must stay true. Knows nothing of files or networks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields

import numpy as np
from PIL import Image

from capcli.training.config import TrainConfig
from capcli.training.inputs.corruptions import Corruption, CorruptionChances


@dataclass(frozen=True)
class View:
    """How an image is looked at.

    `flip`: mirrored. `box`: left, top, right, bottom of the crop, as parts of width and height. `brightness`,
    `contrast`, `saturation`: factors, 1 for no change. `corruptions`: applied last, in this order.
    """

    flip: bool = False
    box: tuple[float, float, float, float] | None = None
    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0
    corruptions: tuple[Corruption, ...] = ()

    def of(self, pixels: np.ndarray) -> np.ndarray:
        """The view of an image, uint8 [H, W, 3] to uint8 [H, W, 3]."""
        if self.box is not None:
            height, width = pixels.shape[:2]
            left, top, right, bottom = self.box
            box = (left * width, top * height, right * width, bottom * height)
            image = Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC, box)
            pixels = np.asarray(image)
        if self.flip:
            pixels = pixels[:, ::-1]
        if (self.brightness, self.contrast, self.saturation) != (1.0, 1.0, 1.0):
            pixels = self._jitter(pixels)
        for corruption in self.corruptions:
            pixels = corruption.apply(pixels)
        return pixels

    def _jitter(self, pixels: np.ndarray) -> np.ndarray:
        image = Image.fromarray(pixels)
        grey = image.convert("L")
        if self.saturation != 1:
            image = Image.blend(grey.convert("RGB"), image, self.saturation)
        # Brightness and contrast are one line through the levels.
        mean = float(np.asarray(grey).mean())
        levels = np.arange(256, dtype=np.float32)
        line = self.brightness * (mean + self.contrast * (levels - mean))
        return np.asarray(image.point(np.clip(np.rint(line), 0, 255).astype(int).tolist() * 3))


@dataclass(frozen=True)
class Augmentation:
    """What views are drawn from.

    `flip`: every second one mirrored. `min_crop_area`: the smallest fraction of the image's area that is kept, 1 for
    all of it; its sides' ratio changes by at most 4 to 3 (as in Szegedy et al., 2015, arXiv:1409.4842, who go down to
    8 %). `color_jitter`: brightness, contrast and saturation change by at most this fraction, 0 for none.
    `corruptions`: what cameras and files do.
    """

    flip: bool = True
    min_crop_area: float = 1.0
    color_jitter: float = 0.0
    corruptions: CorruptionChances = field(default_factory=CorruptionChances)

    @classmethod
    def of(cls, config: TrainConfig) -> Augmentation:
        """What a run with these settings draws from."""
        return cls(
            config.flip,
            config.min_crop_area,
            config.color_jitter,
            CorruptionChances(**{item.name: getattr(config, item.name) for item in fields(CorruptionChances)}),
        )

    @property
    def changes_pixels(self) -> bool:
        """Whether views are more than mirror images, so that they cannot be made from feature maps."""
        return self.min_crop_area < 1 or self.color_jitter > 0 or self.corruptions.any

    def draw(self, random: np.random.Generator) -> View:
        """One view."""
        # Whether or not a part is used its numbers are drawn, so that seeds give the same flips with any settings.
        flip = bool(random.random() < 0.5) and self.flip
        if not self.changes_pixels:
            return View(flip)
        area, ratio, x, y, *light = random.random(7).tolist()
        box = None
        if self.min_crop_area < 1:
            side = math.sqrt(self.min_crop_area + (1 - self.min_crop_area) * area)
            stretch = math.exp((2 * ratio - 1) * math.log(4 / 3) / 2)
            width, height = min(1.0, side * stretch), min(1.0, side / stretch)
            box = (x * (1 - width), y * (1 - height), x * (1 - width) + width, y * (1 - height) + height)
        brightness, contrast, saturation = (1 + self.color_jitter * (2 * value - 1) for value in light)
        return View(flip, box, brightness, contrast, saturation, self.corruptions.draw(random))
