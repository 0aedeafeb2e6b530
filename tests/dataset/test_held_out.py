"""What one data set holds out is trained on in none: read from real files, whatever they are called."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import TINY_BUNDLE
from tests.shapes import write_data_set

pytest.importorskip("torch", reason="needs the train extra")
pytest.importorskip("pycocoevalcap", reason="needs the train extra")

from capcli.errors import DataError
from capcli.training.config import DataSource, TrainConfig
from capcli.training.data import TrainingData, read_data
from capcli.training.progress import TrainingListener
from capcli.training.run import train


@pytest.fixture
def shapes(tmp_path: Path) -> Path:
    """48 images, no two alike, and captions.csv."""
    write_data_set(tmp_path / "shapes", copies=2, size=32)
    return tmp_path / "shapes"


def source(shapes: Path, captions: str = "captions.csv", val_split: str | None = None) -> DataSource:
    val = None if val_split is None else str(shapes / val_split)
    return DataSource(str(shapes / "images"), str(shapes / captions), val_split=val)


def contents(data: TrainingData) -> tuple[list[bytes], list[bytes]]:
    """The bytes of all training files and of all validation files."""
    held = [image for part in data.validation for image in part.images]
    return [image.path.read_bytes() for image in data.train], [image.path.read_bytes() for image in held]


def write_split(shapes: Path, count: int = 20) -> list[str]:
    names = sorted(path.name for path in (shapes / "images").iterdir())[:count]
    (shapes / "val.txt").write_text("\n".join(names))
    return names


def test_two_spellings_of_one_name_are_one_image(shapes: Path) -> None:
    (shapes / "other.csv").write_text(
        (shapes / "captions.csv").read_text().replace("\n", "\nimages/").removesuffix("images/")
    )
    sources = (source(shapes), source(shapes, "other.csv"))
    apart = [read_data(TrainConfig(data=(each,), val=0.3)) for each in sources]
    given = sum(len(data.train) for data in apart)
    data = read_data(TrainConfig(data=sources, val=0.3))
    trained, held = contents(data)
    assert trained and held
    assert not set(trained) & set(held)
    # Validation is what it was; training alone has fewer.
    assert sorted(held) == sorted(content for one in apart for content in contents(one)[1])
    (note,) = data.notes
    assert note.startswith(f"{given - len(trained)} training images are held out too, the same file or a copy of it (")
    assert f"({given - len(trained)} in validation), and not trained on: {shapes / 'images'}/" in note


def test_a_set_given_twice_with_its_split_named_once(shapes: Path) -> None:
    held_names = write_split(shapes)
    data = read_data(TrainConfig(data=(source(shapes), source(shapes, val_split="val.txt")), val=0))
    assert sorted(image.name for image in data.validation[0].images) == held_names
    # What is not held out stays in both: the same photo twice in training is nobody's harm.
    assert len(data.train) == 2 * (48 - 20)
    assert not {image.name for image in data.train} & set(held_names)
    assert data.notes[0].startswith("20 training images are held out too")


def test_copies_under_other_names_and_in_other_folders(shapes: Path, tmp_path: Path) -> None:
    held_names = write_split(shapes, 3)
    images = shapes / "images"
    shutil.copy(images / held_names[0], images / "copy.png")
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(images / held_names[1], other / "photo.jpg")
    (other / "photo.txt").write_text("an unheard word")
    (other / "linked.png").symlink_to(images / held_names[2])
    (other / "linked.txt").write_text("another")
    with (shapes / "captions.csv").open("a") as file:
        file.write("copy.png,a copy\n")
    data = read_data(TrainConfig(data=(source(shapes, val_split="val.txt"), DataSource(str(other))), val=0))
    assert len(data.train) == 48 - 3
    assert not set(contents(data)[0]) & set(contents(data)[1])
    # The vocabulary is learnt from these: what was said of held-out photos is not in it.
    assert "unheard" not in " ".join(caption for image in data.train for caption in image.captions)
    assert data.notes == [
        "3 training images are held out too, the same file or a copy of it (3 in validation), and not trained on: "
        f"{images / 'copy.png'}, {other / 'linked.png'}, {other / 'photo.jpg'}"
    ]


def test_files_of_one_size_are_not_taken_for_copies(tmp_path: Path) -> None:
    for number in range(4):
        path = tmp_path / f"{number}.bmp"
        path.write_bytes(b"BM" + bytes([number]) * 500)
        (tmp_path / f"{number}.txt").write_text("a photo")
    (tmp_path / "val").write_text("0\n")
    data = read_data(TrainConfig(data=(DataSource(str(tmp_path), val_split=str(tmp_path / "val")),)))
    assert [image.name for image in data.train] == ["1.bmp", "2.bmp", "3.bmp"]
    assert data.notes == []


def test_empty_files_are_left_to_whoever_reads_them(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.jpg").touch()
        (tmp_path / f"{name}.txt").write_text("a photo")
    (tmp_path / "val").write_text("a\n")
    data = read_data(TrainConfig(data=(DataSource(str(tmp_path), val_split=str(tmp_path / "val")),)))
    assert (len(data.train), data.notes) == (2, [])


def test_held_back_images_beyond_those_looked_at_are_not_trained_on(shapes: Path) -> None:
    held_names = write_split(shapes)
    config = TrainConfig(data=(source(shapes), source(shapes, val_split="val.txt")), val=0, val_images=2)
    data = read_data(config)
    assert len(data.validation[0].images) == 2
    assert not {image.name for image in data.train} & set(held_names)


def test_images_marked_test_are_trained_on_in_no_other_set(shapes: Path) -> None:
    names = sorted(path.name for path in (shapes / "images").iterdir())
    parts = dict.fromkeys(names[:5], "test") | dict.fromkeys(names[5:9], "val")
    rows = [f"{name},a photo,{parts.get(name, 'train')}" for name in names]
    (shapes / "split.csv").write_text("image,caption,split\n" + "\n".join(rows))
    # Its first test image is a validation image of the third set.
    write_split(shapes, 1)
    sources = (source(shapes, "split.csv"), source(shapes), source(shapes, val_split="val.txt"))
    data = read_data(TrainConfig(data=sources, val=0))
    assert {image.name for image in data.train} == set(names[9:])
    assert data.notes[0].startswith(
        "17 training images are held out too, the same file or a copy of it (9 in validation and 8 in test), and not"
    )


def test_a_missing_image_of_a_split_is_told_as_missing(shapes: Path) -> None:
    held_names = write_split(shapes)
    (shapes / "images" / held_names[0]).unlink()
    data = read_data(TrainConfig(data=(source(shapes, val_split="val.txt"),)))
    assert data.notes == [f"{shapes / 'images'}: 1 image is not found, left out: {held_names[0]}"]


def test_a_photo_twice_in_one_part_stays_there_twice(shapes: Path) -> None:
    held_names = write_split(shapes, 4)
    images = shapes / "images"
    trained = sorted(path.name for path in images.iterdir())[-1]
    shutil.copy(images / trained, images / "again.png")
    shutil.copy(images / held_names[0], images / "held-again.png")
    with (shapes / "captions.csv").open("a") as file:
        file.write("again.png,a copy\nheld-again.png,a copy\n")
    with (shapes / "val.txt").open("a") as file:
        file.write("\nheld-again.png\n")
    data = read_data(TrainConfig(data=(source(shapes, val_split="val.txt"),)))
    assert (len(data.train), len(data.validation[0].images), data.notes) == (45, 5, [])


def test_training_that_is_all_held_out_is_refused(shapes: Path) -> None:
    write_split(shapes, 4)
    (shapes / "few.csv").write_text("image,caption\n" + "".join(f"{name},a\n" for name in write_split(shapes, 4)))
    few = replace(source(shapes, "few.csv"), train_split=str(shapes / "val.txt"))
    (shapes / "rest.csv").write_text((shapes / "captions.csv").read_text())
    held = replace(source(shapes, "rest.csv", "val.txt"), train_split=str(shapes / "val.txt"))
    with pytest.raises(DataError) as caught:
        read_data(TrainConfig(data=(few, held), val=0))
    assert str(caught.value).startswith("no training image is left: 4 training images are held out too, the same file")
    assert str(caught.value).endswith("; give validation images of their own")
    assert "\n" not in str(caught.value)


class Notes(TrainingListener):
    """Keeps what a run says and stops it where it begins to read images."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, line: str) -> None:
        self.lines.append(line)

    def encoding(self, done: int, total: int) -> None:
        raise KeyboardInterrupt


def test_a_run_says_so_and_trains_on_the_rest(shapes: Path, tmp_path: Path) -> None:
    write_split(shapes)
    config = TrainConfig(
        data=(source(shapes), source(shapes, val_split="val.txt")),
        val=0,
        encoder=str(TINY_BUNDLE),
        input_size=32,
        hidden=8,
        embedding=8,
        attention=8,
        min_count=1,
        threads=1,
        precision="float32",
    )
    notes = Notes()
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "run", cache=tmp_path / "cache", listener=notes)
    assert notes.lines[0].startswith("20 training images are held out too")
    assert notes.lines[1].startswith("56 training images with ")
