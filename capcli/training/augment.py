"""Random views of training images: mirrored, cropped, with other light.

A network that sees each photo in one way only learns the photo by heart. Crops keep most of the image, since its
captions must stay true; hues stay as they are, since captions name colours. Knows nothing of files or networks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

# Grey of an RGB pixel (ITU-R BT.601), as Pillow has it.
_GREY = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class View:
    """How an image is looked at.

    `flip`: mirrored. `box`: left, top, right, bottom of the crop, as parts of width and height. `brightness`,
    `contrast`, `saturation`: factors, 1 for no change.
    """

    flip: bool = False
    box: tuple[float, float, float, float] | None = None
    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0

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
            pixels = self._light(pixels)
        return pixels

    def _light(self, pixels: np.ndarray) -> np.ndarray:
        values: np.ndarray = pixels.astype(np.float32)
        grey = values @ _GREY
        values = grey[..., None] + self.saturation * (values - grey[..., None])
        mean = float(grey.mean())
        values = self.brightness * (mean + self.contrast * (values - mean))
        return np.clip(np.rint(values), 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class Augmentation:
    """What views are drawn from.

    `flip`: every second one mirrored. `crop`: the smallest part of the image's area that is kept, 1 for all of it;
    its sides' ratio changes by at most 4 to 3 (as in Szegedy et al., 2015, arXiv:1409.4842, who go down to 8 %).
    `light`: brightness, contrast and saturation change by at most this factor's part, 0 for none.
    """

    flip: bool = True
    crop: float = 1.0
    light: float = 0.0

    @property
    def changes_pixels(self) -> bool:
        """Whether views are more than mirror images, so that they cannot be made from feature maps."""
        return self.crop < 1 or self.light > 0

    def draw(self, random: np.random.Generator, count: int) -> list[View]:
        """`count` independent views."""
        # Whether or not a part is used its numbers are drawn, so that seeds give the same flips with any settings.
        flips = (random.random(count) < 0.5) & self.flip
        if not self.changes_pixels:
            return [View(bool(flip)) for flip in flips]
        numbers = random.random((count, 7))
        return [self._view(bool(flip), row) for flip, row in zip(flips, numbers, strict=True)]

    def _view(self, flip: bool, numbers: np.ndarray) -> View:
        area, ratio, x, y, *light = (float(number) for number in numbers)
        box = None
        if self.crop < 1:
            side = math.sqrt(self.crop + (1 - self.crop) * area)
            stretch = math.exp((2 * ratio - 1) * math.log(4 / 3) / 2)
            width, height = min(1.0, side * stretch), min(1.0, side / stretch)
            box = (x * (1 - width), y * (1 - height), x * (1 - width) + width, y * (1 - height) + height)
        brightness, contrast, saturation = (1 + self.light * (2 * value - 1) for value in light)
        return View(flip, box, brightness, contrast, saturation)
