"""Captioning past one process and one machine, on Ray Data: the class that captions a batch, and jobs around it.

Knows nothing of terminals. Only jobs and datasets need Ray; `CaptionImages` works without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from capcli.lazy import lazy_names

if TYPE_CHECKING:
    from capcli.scale_out.caption_images import CaptionImages
    from capcli.scale_out.datasets import caption_dataset, read_photos

__all__ = ["CaptionImages", "caption_dataset", "read_photos"]

__getattr__ = lazy_names(
    __name__, {"CaptionImages": "caption_images", "caption_dataset": "datasets", "read_photos": "datasets"}
)
