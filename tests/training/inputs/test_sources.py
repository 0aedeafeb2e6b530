"""What a batch's images give the encoder: stored pixels and stored maps, in their views."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.photos import NAMES, write_photo

pytest.importorskip("torch", reason="needs the train extra")

from capcli.training.inputs.augment import View
from capcli.training.inputs.cache import FeatureStore
from capcli.training.inputs.features import fill_store
from capcli.training.inputs.sources import StoredMaps, StoredPixels


def test_stored_pixels_are_the_images_and_their_views(tmp_path: Path) -> None:
    photos = [write_photo(tmp_path / f"{name}.png", name) for name in NAMES[:3]]
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    store = FeatureStore(tmp_path / "store", (48, 48, 3), np.uint8)
    keys, errors = fill_store(
        store,
        lambda pixels: pixels,
        [*photos, tmp_path / "broken.jpg"],
        input_size=48,
        batch_size=2,
        progress=lambda done, total: None,
    )
    assert list(errors) == [tmp_path / "broken.jpg"]
    source = StoredPixels(FeatureStore(tmp_path / "store", (48, 48, 3), np.uint8), keys)
    plain = source.read(photos, [View()] * 3).numpy()
    assert plain.shape == (3, 48, 48, 3) and plain.dtype == np.uint8
    view = View(flip=True, box=(0.1, 0.0, 0.9, 0.8), brightness=0.8)
    assert np.array_equal(source.read(photos[1:2], [view]).numpy()[0], view.of(plain[1]))


def test_maps_are_mirrored_where_views_are(tmp_path: Path) -> None:
    photos = [write_photo(tmp_path / f"{name}.png", name) for name in NAMES[:2]]
    store = FeatureStore(tmp_path / "store", (3, 48, 48))
    keys, _ = fill_store(
        store,
        lambda pixels: pixels.transpose(0, 3, 1, 2).astype(np.float16),
        photos,
        input_size=48,
        batch_size=8,
        progress=lambda done, total: None,
    )
    maps = StoredMaps(store, keys).read(photos, [View(), View(flip=True)]).numpy()
    straight = StoredMaps(store, keys).read(photos, [View(), View()]).numpy()
    assert np.array_equal(maps[0], straight[0])
    assert np.array_equal(maps[1], straight[1][:, :, ::-1])
