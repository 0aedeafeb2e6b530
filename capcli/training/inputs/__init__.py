"""What updates see: images read once into a cache, views of them, captions as token ids, batches in a seeded order.

Knows nothing of optimisers, objectives or run folders.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from capcli.lazy import lazy_names

if TYPE_CHECKING:
    from capcli.training.inputs.augment import Augmentation, View
    from capcli.training.inputs.batches import Batch, BatchPlan
    from capcli.training.inputs.cache_folder import cache_for_run
    from capcli.training.inputs.examples import EncodedImage, Sentences, encode_captions
    from capcli.training.inputs.sources import InputSource, prepare_inputs

__all__ = [
    "Augmentation",
    "Batch",
    "BatchPlan",
    "EncodedImage",
    "InputSource",
    "Sentences",
    "View",
    "cache_for_run",
    "encode_captions",
    "prepare_inputs",
]

# `capcli doctor` imports `cache_folder` on machines where NumPy or torch is broken.
__getattr__ = lazy_names(
    __name__,
    {
        "Augmentation": "augment",
        "View": "augment",
        "Batch": "batches",
        "BatchPlan": "batches",
        "cache_for_run": "cache_folder",
        "EncodedImage": "examples",
        "Sentences": "examples",
        "encode_captions": "examples",
        "InputSource": "sources",
        "prepare_inputs": "sources",
    },
)
