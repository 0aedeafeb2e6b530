"""What a run trains and validates on: images in one part alone, each with the number of its data set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch", reason="needs the train extra")

from capcli.errors import DataError, UsageError  # noqa: E402
from capcli.training.config import DataSource, TrainConfig  # noqa: E402
from capcli.training.data import drop_unreadable, read_data  # noqa: E402


def write(folder: Path, count: int) -> DataSource:
    """Images that no other data set has, with a caption each."""
    (folder / "images").mkdir(parents=True)
    rows = ["image,caption"]
    for number in range(count):
        pixels = np.random.default_rng([count, number]).integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{folder.name}-{number}.png")
        rows.append(f"{folder.name}-{number}.png,caption {number}")
    (folder / "captions.csv").write_text("\n".join(rows) + "\n", "utf-8")
    return DataSource(str(folder / "images"), str(folder / "captions.csv"))


def test_no_image_is_both_trained_on_and_validated_on_and_none_is_lost(tmp_path: Path) -> None:
    sources = write(tmp_path / "one", 30), write(tmp_path / "two", 20)
    data = read_data(TrainConfig(data=sources, val=0.3))
    train = {image.path for image in data.train}
    held = {image.path for each in data.validation for image in each.images}
    assert train and held and not train & held
    assert len(train) + len(held) == len(data.train) + sum(len(each.images) for each in data.validation) == 50
    assert [each.name for each in data.validation] == [source.images for source in sources]
    for number, each in enumerate(data.validation):
        assert all(image.name.startswith(("one", "two")[number]) for image in each.images)
    assert all(image.name.startswith(("one", "two")[image.data_set]) for image in data.train)
    assert {image.data_set for image in data.train} == {0, 1}


def test_images_left_out_of_a_smaller_validation_are_not_trained_on(tmp_path: Path) -> None:
    source = write(tmp_path / "one", 30)
    whole, few = (read_data(TrainConfig(data=(source,), val=0.5, val_images=count)) for count in (0, 2))
    assert [image.name for image in few.train] == [image.name for image in whole.train]
    assert len(few.validation[0].images) == 2 < len(whole.validation[0].images)


def test_split_files_decide_where_there_are_some(tmp_path: Path) -> None:
    source = write(tmp_path / "one", 6)
    (tmp_path / "train.txt").write_text("one-0.png\none-1.png\none-2.png\n")
    (tmp_path / "val.txt").write_text("one-2.png\none-4.png\n")
    named = DataSource(source.images, source.captions, str(tmp_path / "train.txt"), str(tmp_path / "val.txt"))
    data = read_data(TrainConfig(data=(named,), val=0.9))
    assert [image.name for image in data.train] == ["one-0.png", "one-1.png"]
    assert [image.name for image in data.validation[0].images] == ["one-2.png", "one-4.png"]


def test_the_split_is_its_seeds_and_an_images_name(tmp_path: Path) -> None:
    source = write(tmp_path / "one", 40)

    def held(seed: int) -> set[str]:
        return {image.name for image in read_data(TrainConfig(data=(source,), val=0.4, seed=seed)).validation[0].images}

    assert held(1) == held(1) != held(2)


def test_a_run_without_training_images_is_refused(tmp_path: Path) -> None:
    source = write(tmp_path / "one", 2)
    (tmp_path / "val.txt").write_text("one-0.png\none-1.png\n")
    everything = DataSource(source.images, source.captions, None, str(tmp_path / "val.txt"))
    with pytest.raises(DataError, match="no training image is left"):
        read_data(TrainConfig(data=(everything,)))
    with pytest.raises(UsageError, match="no training data"):
        read_data(TrainConfig())


def test_unreadable_images_leave_training_and_validation(tmp_path: Path) -> None:
    data = read_data(TrainConfig(data=(write(tmp_path / "one", 20),), val=0.3))
    gone = {data.train[0].path: "broken", data.validation[0].images[0].path: "broken"}
    told: list[str] = []
    left = drop_unreadable(data, gone, told.append)
    assert told == [f"left out: {path}: broken" for path in gone]
    assert [image.path for image in left.train] == [image.path for image in data.train[1:]]
    assert [image.path for image in left.validation[0].images] == [
        image.path for image in data.validation[0].images[1:]
    ]
    without = drop_unreadable(data, {image.path: "broken" for image in data.validation[0].images}, told.append)
    assert without.validation == []
    with pytest.raises(DataError, match="none of the"):
        drop_unreadable(data, {image.path: "broken" for image in data.train}, told.append)
    assert told[-1] == f"left out: {len(data.train) - 5} more images that cannot be read"
