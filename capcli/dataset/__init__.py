"""Captioned images: captions files joined with folders of photos, and the splits of such data sets.

What training and evaluation stand on. Knows nothing of torch, of models, or of pixels.
"""

from __future__ import annotations

from capcli.dataset.captions import CaptionedImage, read_captions
from capcli.dataset.splits import choose_split, images_named_in

__all__ = ["CaptionedImage", "choose_split", "images_named_in", "read_captions"]
