"""What the encoder's trained part takes of each image: feature maps or pixels, kept in a store and read for a batch.

Knows nothing of captions.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from capcli.inputs.images import PREPROCESSING
from capcli.training.device import Machine
from capcli.training.inputs.augment import Augmentation, View
from capcli.training.inputs.cache import FeatureStore
from capcli.training.inputs.cache_folder import store_name
from capcli.training.inputs.features import encoder_fingerprint, fill_store
from capcli.training.network.caption_network import CaptionNetwork
from capcli.training.network.resnet import SLICE
from capcli.training.progress import TrainingListener


class InputSource(Protocol):
    """Where the inputs of the encoder's trained part come from. Travels to worker processes."""

    def read(self, paths: Sequence[Path], views: Sequence[View]) -> Tensor:
        """The inputs of images in these views: maps float16 [N, C, h, w], or pixels uint8 [N, S, S, 3]."""
        ...


class StoredMaps:
    """The frozen part's maps, from a store; a mirrored image's are approximated by its mirrored maps.

    `keys`: the content key of every image.
    """

    def __init__(self, store: FeatureStore, keys: dict[Path, str]) -> None:
        self._store = store
        self.keys = keys

    def read(self, paths: Sequence[Path], views: Sequence[View]) -> Tensor:
        maps = self._store.read([self.keys[path] for path in paths])
        for row, view in enumerate(views):
            if view.flip:
                maps[row] = maps[row, :, :, ::-1].copy()
        return torch.from_numpy(maps)


class StoredPixels:
    """The resized images, from a store, for training the whole encoder, or a part of it on ever new views.

    `keys`: the content key of every image.
    """

    def __init__(self, store: FeatureStore, keys: dict[Path, str]) -> None:
        self._store = store
        self.keys = keys

    def read(self, paths: Sequence[Path], views: Sequence[View]) -> Tensor:
        images = self._store.read([self.keys[path] for path in paths])
        return torch.from_numpy(np.stack([view.of(image) for view, image in zip(views, images, strict=True)]))


def prepare_inputs(
    network: CaptionNetwork,
    paths: Sequence[Path],
    *,
    input_size: int,
    augmentation: Augmentation,
    cache: Path,
    machine: Machine,
    listener: TrainingListener,
) -> tuple[StoredMaps | StoredPixels, dict[Path, str]]:
    """Computes what is missing of the images' inputs.

    They are maps where the frozen part sees each image in one way only, or else the resized pixels.

    Args:
        network: on the machine's device, frozen as it will be trained.
        paths: the images.
        input_size: width and height in pixels that they are resized to.
        augmentation: what views will be drawn from.
        cache: the folder in which inputs are kept from run to run.
        machine: device and precision.
        listener: told how many images are done, and of another run that is waited for.
    Returns:
        Their source, and the images that cannot be read, with the reason.
    Raises:
        OutputError: the cache cannot be written.
    """
    if network.last_frozen < 0 or augmentation.changes_pixels:
        name = store_name(f"pixels-{input_size}", PREPROCESSING)
        store = FeatureStore(cache / name, (input_size, input_size, 3), np.uint8)
        keys, errors = fill_store(
            store,
            lambda pixels: pixels,
            paths,
            input_size=input_size,
            batch_size=32,
            progress=listener.encoding,
            note=listener.note,
        )
        return StoredPixels(store, keys), errors

    network.encoder.eval()
    network.encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def encode(pixels: np.ndarray) -> np.ndarray:
        images = torch.from_numpy(pixels).to(machine.device)
        with torch.inference_mode(), machine.mixed_precision():
            maps: np.ndarray = network.frozen_maps(images).to("cpu", torch.float16).numpy()
        return maps

    stage = network.last_frozen
    fingerprint = encoder_fingerprint(network.encoder, stage, input_size)
    name = store_name(f"{fingerprint}-stage{stage}-{machine.precision}", PREPROCESSING)
    channels, height, width = encode(np.zeros((1, input_size, input_size, 3), np.uint8)).shape[1:]
    store = FeatureStore(cache / name, (channels, height, width))
    # More images at once are slower on the CPU: their maps no longer fit its cache.
    keys, errors = fill_store(
        store,
        encode,
        paths,
        input_size=input_size,
        batch_size=SLICE,
        progress=listener.encoding,
        note=listener.note,
    )
    return StoredMaps(store, keys), errors
