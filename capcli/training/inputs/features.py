"""Fills a store: reads the images that it lacks, and computes of each what is kept there.

The frozen part of the encoder gives the same maps in every epoch, so they are computed once; so are the resized pixels
where views of them change. A store is named after the weights that made it, and an image is found in it by its content,
so that files may move and edited ones are not mistaken. Knows nothing of captions.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from capcli.dataset.content_key import content_key
from capcli.errors import ImageError
from capcli.inputs.images import load_image
from capcli.runtime.cores import available_cores
from capcli.training.inputs.cache import FeatureStore, StoreWriter

if TYPE_CHECKING:
    from capcli.training.network.resnet import ResNet50


@dataclass(frozen=True)
class LoadedImage:
    """One image file. `pixels`: uint8 [S, S, 3], None if it cannot be read or need not be; `error`: why it cannot."""

    path: Path
    key: str
    pixels: np.ndarray | None
    error: str | None


def encoder_fingerprint(encoder: ResNet50, last_stage: int, input_size: int) -> str:
    """Names the function images -> maps: configuration, input size and every weight up to `last_stage`."""
    digest = hashlib.sha256(f"{encoder.config}|{input_size}|{last_stage}".encode())
    modules = [encoder.conv1, *(encoder.stage(number) for number in range(1, last_stage + 1))]
    for module in modules:
        for name, tensor in module.state_dict().items():
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def load_for_training(path: Path, input_size: int, stored: Container[str] = ()) -> LoadedImage:
    """Reads one image file: its content key and, unless that is among `stored`, its pixels, uint8 [S, S, 3]."""
    try:
        content = path.read_bytes()
        key = content_key(io.BytesIO(content))
        pixels = None if key in stored else load_image(content, size=(input_size, input_size))
        return LoadedImage(path, key, pixels, None)
    except OSError as error:
        return LoadedImage(path, "", None, error.strerror or type(error).__name__)
    except ImageError as error:
        return LoadedImage(path, "", None, str(error))


def load_ahead(paths: Iterable[Path], input_size: int, stored: Container[str] = ()) -> Iterator[LoadedImage]:
    """Loads images in order, a bounded number ahead of the reader; of those that are stored, the key alone."""
    window = 64
    with ThreadPoolExecutor(available_cores()) as pool:
        pending = []
        for path in paths:
            pending.append(pool.submit(load_for_training, path, input_size, stored))
            if len(pending) >= window:
                yield pending.pop(0).result()
        for future in pending:
            yield future.result()


def fill_store(
    store: FeatureStore,
    compute: Callable[[np.ndarray], np.ndarray],
    paths: Sequence[Path],
    *,
    input_size: int,
    batch_size: int,
    progress: Callable[[int, int], None],
    note: Callable[[str], None] = lambda line: None,
) -> tuple[dict[Path, str], dict[Path, str]]:
    """Computes what the store lacks; while another run fills it, waits, and computes what is lacking then.

    Args:
        store: where it is kept.
        compute: images, uint8 [N, S, S, 3], to the store's arrays.
        paths: the images.
        input_size: S.
        batch_size: the most images that are computed at once.
        progress: told how many images of how many are done.
        note: told in one line if another run is waited for.
    Returns:
        The content key of every readable image, and the reason for every unreadable one.
    Raises:
        OutputError: the store cannot be written.
    """
    keys: dict[Path, str] = {}
    errors: dict[Path, str] = {}
    known: set[str] = set()
    batch: dict[str, np.ndarray] = {}
    writer: StoreWriter | None = None
    with contextlib.ExitStack() as writing:

        def flush() -> None:
            if writer is not None and batch:
                writer.append(list(batch), compute(np.stack(list(batch.values()))))
                batch.clear()

        for done, image in enumerate(load_ahead(paths, input_size, stored=store), start=1):
            if image.error is not None:
                errors[image.path] = image.error
            else:
                keys[image.path] = image.key
                if image.pixels is not None and image.key not in known:
                    if writer is None:
                        writer = writing.enter_context(StoreWriter(store, note))
                    if image.key not in store:
                        batch[image.key] = image.pixels
                known.add(image.key)
            if len(batch) >= batch_size:
                flush()
            progress(done, len(paths))
        flush()
    return keys, errors
