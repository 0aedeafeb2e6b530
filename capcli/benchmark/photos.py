"""Photos to measure with where the user names none: noise with the spectrum of natural pictures, as JPEGs.

A photo's decoding time depends on its size in pixels and bytes, both of which are a camera's; what it shows does not
matter. Knows nothing of models.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

SMALL, LARGE = (500, 375), (4000, 3000)
# 12 megapixels then take 3 to 5 MB, as cameras write them.
_QUALITY = 88
_GRAIN = 2.0
# The power of the frequency by which amplitudes fall: 1 in sharp pictures, more behind a lens.
_FALL = 1.25


def write_photos(folder: Path, count: int, size: tuple[int, int], *, seed: int = 0) -> list[Path]:
    """Writes `count` different JPEGs of `size` (width, height) into `folder`; the same ones for the same seed."""
    chance = np.random.default_rng(seed)
    base = natural(size, chance)
    paths = []
    for number in range(count):
        # Another part of the same endless picture: made in a moment, and no two files are alike.
        shift = (int(chance.integers(size[1])), int(chance.integers(size[0])))
        path = folder / f"{size[0]}x{size[1]}-{number}.jpg"
        Image.fromarray(np.roll(base, shift, (0, 1))).save(path, quality=_QUALITY)
        paths.append(path)
    return paths


def natural(size: tuple[int, int], chance: np.random.Generator) -> np.ndarray:
    """uint8 [height, width, 3]: amplitudes fall with the frequency as in photos, with a sensor's grain on top."""
    width, height = size
    rows, columns = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :]
    frequency = np.hypot(rows, columns).astype(np.float32)
    frequency[0, 0] = np.inf
    frequency **= np.float32(_FALL)
    # Channels of photos are nearly alike: one picture of light, and two of colour with a quarter of its strength.
    layers = []
    for strength in (55.0, 14.0, 14.0):
        noise = np.fft.rfft2(chance.standard_normal((height, width), np.float32)) / frequency
        layer = np.fft.irfft2(noise, (height, width)).astype(np.float32)
        layers.append(layer * np.float32(strength / layer.std()))
    light, warm, green = layers
    picture = np.stack([light + warm, light + green, light - warm], axis=2)
    picture += chance.standard_normal((height, width, 1), np.float32) * np.float32(_GRAIN)
    return np.clip(picture + 118.0, 0, 255).astype(np.uint8)
