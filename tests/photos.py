"""Real photos for tests: scikit-image's own samples, which come inside that package.

astronaut: NASA, public domain. chelsea (a cat): Stefan van der Walt, CC0. coffee: Rachel Michetti, CC0. rocket:
SpaceX, CC0. (As listed in scikit-image's skimage/data/README.txt.)
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data

NAMES = ("astronaut", "chelsea", "coffee", "rocket")


def photo_array(name: str) -> np.ndarray:
    """uint8 [H, W, 3], RGB."""
    return np.asarray(getattr(data, name)(), dtype=np.uint8)


def write_photo(path: Path, name: str) -> Path:
    """Writes a photo in the format of the path's suffix."""
    Image.fromarray(photo_array(name)).save(path)
    return path
