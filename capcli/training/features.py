"""What training needs of images, computed once and kept on disk: feature maps, or the resized pixels.

A frozen part of the encoder gives the same maps every epoch, so they are computed once, in half precision, and read
back from a memory-mapped file; so are the pixels where views of them change. The store is append-only: a killed run
loses at most the batch in flight. It is keyed by the weights that made it and by the images' contents, so that moved
files are found and edited ones are not mistaken. Knows nothing of captions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from capcli.cores import available_cores
from capcli.errors import DataError, ImageError
from capcli.images import load_image
from capcli.training.resnet import ResNet50

_KEY_BYTES = 16


@dataclass(frozen=True)
class LoadedImage:
    """One image as the encoder sees it, or why it cannot be read; neither where the store has it."""

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


class FeatureStore:
    """An append-only file of arrays of one shape, one an image, found by the image's content key.

    Args:
        folder: made if missing; one store a folder.
        shape: of one array: [C, h, w] for maps, [H, W, 3] for pixels.
        dtype: float16 for maps, uint8 for pixels.
    """

    def __init__(self, folder: Path, shape: tuple[int, int, int], dtype: type[np.generic] = np.float16) -> None:
        self.folder = folder
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self._row_bytes = self.dtype.itemsize * int(np.prod(shape))
        folder.mkdir(parents=True, exist_ok=True)
        self._maps_path = folder / ("maps.f16" if dtype is np.float16 else f"maps.{self.dtype.name}")
        self._keys_path = folder / "keys.txt"
        self._maps_path.touch()
        self._keys_path.touch()
        keys = self._keys_path.read_text("ascii").split("\n")
        # A last line without its newline was torn by a kill.
        keys = [key for key in keys[:-1] if len(key) == 2 * _KEY_BYTES]
        rows = min(len(keys), self._maps_path.stat().st_size // self._row_bytes)
        self._keys = keys[:rows]
        self._rows = {key: row for row, key in enumerate(self._keys)}
        self._memory: np.memmap | None = None

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, key: str) -> bool:
        return key in self._rows

    def append(self, keys: Sequence[str], maps: np.ndarray) -> None:
        """Adds arrays, [len(keys), *shape]. Arrays first, keys after: a kill between them leaves no wrong row."""
        start = len(self._rows)
        try:
            with self._maps_path.open("r+b") as file:
                file.truncate(start * self._row_bytes)
                file.seek(0, 2)
                file.write(np.ascontiguousarray(maps, dtype=self.dtype).tobytes())
            if start != self._lines_on_disk():
                self._keys_path.write_text("".join(key + "\n" for key in self._keys), "ascii")
            with self._keys_path.open("a", encoding="ascii") as file:
                file.writelines(key + "\n" for key in keys)
        except OSError as error:
            raise DataError(
                f"{self.folder}: the feature cache cannot be written ({error.strerror}); "
                "free some space or choose another folder with --cache"
            ) from error
        for key in keys:
            self._rows[key] = len(self._keys)
            self._keys.append(key)
        self._memory = None

    def _lines_on_disk(self) -> int:
        content = self._keys_path.read_bytes()
        return content.count(b"\n") if content.endswith(b"\n") or not content else -1

    def read(self, keys: Sequence[str]) -> np.ndarray:
        """Arrays of the keys, [len(keys), *shape]."""
        if self._memory is None:
            self._memory = np.memmap(self._maps_path, self.dtype, "r", shape=(len(self._keys), *self.shape))
        rows = [self._rows[key] for key in keys]
        return np.stack([self._memory[row] for row in rows])


def load_for_training(path: Path, input_size: int, store: FeatureStore) -> LoadedImage:
    """Reads one image file: its content key and, unless the store has it, its pixels, uint8 [S, S, 3]."""
    try:
        content = path.read_bytes()
        key = hashlib.blake2b(content, digest_size=_KEY_BYTES).hexdigest()
        if key in store:
            return LoadedImage(path, key, None, None)
        return LoadedImage(path, key, load_image(content, size=(input_size, input_size)), None)
    except OSError as error:
        return LoadedImage(path, "", None, error.strerror or type(error).__name__)
    except ImageError as error:
        return LoadedImage(path, "", None, str(error))


def load_ahead(paths: Iterable[Path], input_size: int, store: FeatureStore) -> Iterator[LoadedImage]:
    """Loads images in order, a bounded number ahead of the reader."""
    window = 64
    with ThreadPoolExecutor(available_cores()) as pool:
        pending = []
        for path in paths:
            pending.append(pool.submit(load_for_training, path, input_size, store))
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
) -> tuple[dict[Path, str], dict[Path, str]]:
    """Computes what the store lacks.

    Args:
        store: where it is kept.
        compute: images, uint8 [N, S, S, 3], to the store's arrays.
        paths: the images.
        input_size: S.
        batch_size: the most images that are computed at once.
        progress: told how many images of how many are done.
    Returns:
        The content key of every readable image, and the reason for every unreadable one.
    """
    keys: dict[Path, str] = {}
    errors: dict[Path, str] = {}
    waiting: dict[str, np.ndarray] = {}

    def flush() -> None:
        if not waiting:
            return
        store.append(list(waiting), compute(np.stack(list(waiting.values()))))
        waiting.clear()

    for done, image in enumerate(load_ahead(paths, input_size, store), start=1):
        if image.error is not None:
            errors[image.path] = image.error
        else:
            keys[image.path] = image.key
            if image.pixels is not None and image.key not in store:
                waiting[image.key] = image.pixels
        if len(waiting) >= batch_size:
            flush()
        progress(done, len(paths))
    flush()
    return keys, errors
