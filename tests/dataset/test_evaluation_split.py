"""Which images `capcli evaluate` scores: split files and split fields, missing images, and what is said of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from capcli.dataset.evaluation_split import EvaluationImages, read_evaluation_images
from capcli.errors import DataError
from tests.conftest import RunCommand, need_scorers
from tests.shapes import write_data_set


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """24 images and captions.csv in the working directory."""
    write_data_set(tmp_path, copies=1, size=32)
    monkeypatch.chdir(tmp_path)
    return tmp_path


IMAGES, CAPTIONS, KARPATHY = Path("images"), Path("captions.csv"), Path("dataset.json")


def all_names(data: Path) -> list[str]:
    return sorted(path.name for path in (data / "images").iterdir())


def write_karpathy(data: Path, splits: dict[str, str]) -> None:
    images = [
        {"filename": name, "split": split, "sentences": [{"raw": f"a photo of {name}"}]}
        for name, split in splits.items()
    ]
    (data / KARPATHY).write_text(json.dumps({"images": images}))


def karpathy(data: Path) -> list[str]:
    """A Karpathy file of 18 train images, 2 val images and 4 test images.

    Returns:
        The names in the order of the file.
    """
    names = all_names(data)
    write_karpathy(data, {name: "test" if n < 4 else "val" if n < 6 else "train" for n, name in enumerate(names)})
    return names


def names_of(chosen: EvaluationImages) -> list[str]:
    return [item.name for item in chosen.images]


def refusal(captions: Path, split: str | None, *, allow_missing: bool = False) -> str:
    with pytest.raises(DataError) as caught:
        read_evaluation_images(IMAGES, captions, split, allow_missing=allow_missing)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_captions_without_split_fields_are_evaluated_whole(data: Path) -> None:
    chosen = read_evaluation_images(IMAGES, CAPTIONS, None)
    assert sorted(names_of(chosen)) == all_names(data)
    assert (chosen.data, chosen.notes) == ("captions.csv", ())


def test_test_is_the_default_where_there_are_split_fields(data: Path) -> None:
    names = karpathy(data)
    chosen = read_evaluation_images(IMAGES, KARPATHY, None)
    assert names_of(chosen) == names[:4]
    assert chosen.data == "dataset.json (test)"
    assert chosen.notes == (
        "dataset.json: --split test, the default where captions have split fields: 4 images; "
        "20 left out (2 val, 18 train)",
    )
    assert len(chosen.all_images) == 24


@pytest.mark.parametrize(("split", "first", "last"), [("test", 0, 4), ("val", 4, 6), ("train", 6, 24)])
def test_a_part_is_taken_by_its_name(data: Path, split: str, first: int, last: int) -> None:
    names = karpathy(data)
    chosen = read_evaluation_images(IMAGES, KARPATHY, split)
    assert names_of(chosen) == names[first:last]
    assert chosen.data == f"dataset.json ({split})"
    (note,) = chosen.notes
    assert note.startswith(f"dataset.json: --split {split}: {last - first} images; {24 - last + first} left out (")


def test_images_with_an_empty_split_field_are_training_images(data: Path) -> None:
    first, second, *_ = all_names(data)
    (data / "fields.csv").write_text(f"image,caption,split\n{first},x,\n{second},x,test\n")
    assert names_of(read_evaluation_images(IMAGES, Path("fields.csv"), "train")) == [first]
    assert names_of(read_evaluation_images(IMAGES, Path("fields.csv"), None)) == [second]


def test_a_file_wins_over_a_part_of_its_name_and_a_folder_does_not(data: Path) -> None:
    names = karpathy(data)
    (data / "test").mkdir()
    assert names_of(read_evaluation_images(IMAGES, KARPATHY, "test")) == names[:4]
    (data / "val").write_text(f"{names[9]}\n")
    chosen = read_evaluation_images(IMAGES, KARPATHY, "val")
    assert (names_of(chosen), chosen.data, chosen.notes) == ([names[9]], "val", ())


def test_a_part_that_is_not_there_is_refused(data: Path) -> None:
    assert refusal(CAPTIONS, "test") == (
        "--split test: there is no file of this name, and captions.csv has no split fields; "
        "give a file that names the images"
    )
    assert refusal(CAPTIONS, "dev.txt") == "--split dev.txt: no such file, and it is not test, val or train"
    assert refusal(CAPTIONS, "images") == "images: cannot be read (Is a directory)"
    write_karpathy(data, dict.fromkeys(all_names(data), "train"))
    assert refusal(KARPATHY, None) == (
        "dataset.json: no image of its split fields is test (24 train); choose with --split"
    )


def test_missing_images_are_refused_and_left_out_only_if_told(data: Path) -> None:
    names = all_names(data)
    for name in names[:12]:
        (data / "images" / name).unlink()
    (data / "split.txt").write_text("\n".join(names))
    for split, told in ((None, "captions.csv"), ("split.txt", "split.txt")):
        message = refusal(CAPTIONS, split)
        assert message.startswith(f"{told}: 12 of 24 images are missing, no such file: ")
        assert sum(name in message for name in names[:12]) == 5
        assert message.endswith(", ...; --allow-missing evaluates without them")
        chosen = read_evaluation_images(IMAGES, CAPTIONS, split, allow_missing=True)
        assert sorted(names_of(chosen)) == names[12:]
        (note,) = chosen.notes
        assert note == message.replace("--allow-missing evaluates", "evaluated")


def test_names_that_the_captions_lack_are_no_missing_files(data: Path) -> None:
    names = all_names(data)
    (data / "images" / names[0]).unlink()
    (data / "split.txt").write_text("\n".join(["who.png", *names[:3]]))
    unknown = "split.txt: 1 name is not in the captions: who.png"
    missing = f"split.txt: 1 of 3 images is missing, no such file: {names[0]}"
    assert refusal(CAPTIONS, "split.txt") == f"{missing}; --allow-missing evaluates without them"
    chosen = read_evaluation_images(IMAGES, CAPTIONS, "split.txt", allow_missing=True)
    assert chosen.notes == (unknown, f"{missing}; evaluated without them")
    (data / "split.txt").write_text("\n".join(["who.png", *names[1:3]]))
    chosen = read_evaluation_images(IMAGES, CAPTIONS, "split.txt")
    assert (names_of(chosen), chosen.notes) == (names[1:3], (unknown,))


def test_missing_images_of_other_parts_do_not_matter(data: Path) -> None:
    names = karpathy(data)
    for name in (*names[2:4], *names[20:]):
        (data / "images" / name).unlink()
    missing = f"dataset.json (test): 2 of 4 images are missing, no such file: {names[2]}, {names[3]}"
    assert refusal(KARPATHY, None) == f"{missing}; --allow-missing evaluates without them"
    assert names_of(read_evaluation_images(IMAGES, KARPATHY, None, allow_missing=True)) == names[:2]
    chosen = read_evaluation_images(IMAGES, KARPATHY, "val")
    assert names_of(chosen) == names[4:6]
    assert len(chosen.notes) == 1


def test_a_part_whose_images_are_all_missing_is_refused_in_any_case(data: Path) -> None:
    names = karpathy(data)
    for name in names[4:6]:
        (data / "images" / name).unlink()
    message = f"dataset.json (val): 2 of 2 images are missing, no such file: {names[4]}, {names[5]}"
    for allow_missing in (False, True):
        assert refusal(KARPATHY, "val", allow_missing=allow_missing) == message


def test_images_whose_name_is_ambiguous_are_not_left_out_in_silence(data: Path) -> None:
    first, second, *_ = all_names(data)
    for folder in ("x", "y"):
        (data / "images" / folder).mkdir()
        (data / "images" / folder / "twin.png").write_bytes(b"x")
    (data / "twins.csv").write_text(f"image,caption\n{first},x\ntwin.png,x\n{second},\n")
    told = "twins.csv: 1 of 2 images is ambiguous, more than one name or file fits: twin.png"
    assert refusal(Path("twins.csv"), None) == f"{told}; --allow-missing evaluates without them"
    chosen = read_evaluation_images(IMAGES, Path("twins.csv"), None, allow_missing=True)
    assert names_of(chosen) == [first]
    assert chosen.notes == (
        f"images: 1 image has no caption, left out: {second}",
        f"images: 1 caption is empty, left out: {second}",
        f"{told}; evaluated without them",
    )


def test_the_command_takes_the_test_part_and_refuses_missing_images(capcli: RunCommand, data: Path) -> None:
    need_scorers()
    names = karpathy(data)
    # One of the four test images is not captioned: what is evaluated shows before the slow scorers start.
    (data / "said.csv").write_text(f"path,caption\nimages/{names[2]},a photo\n")
    for name in names[:2]:
        (data / "images" / name).unlink()
    command = ("evaluate", "--images", "images", "--captions", "dataset.json", "--predictions", "said.csv")
    missing = f"dataset.json (test): 2 of 4 images are missing, no such file: {names[0]}, {names[1]}"
    done = capcli(*command, cwd=data)
    assert (done.code, done.out) == (2, b"")
    assert done.errors == f"capcli: {missing}; --allow-missing evaluates without them\n"
    done = capcli(*command, "--allow-missing", cwd=data)
    assert (done.code, done.out) == (2, b"")
    assert done.errors == (
        "capcli: dataset.json: --split test, the default where captions have split fields: 2 images; "
        f"20 left out (2 val, 18 train)\ncapcli: {missing}; evaluated without them\n"
        f"capcli: 1 of 2 images have no caption: images/{names[3]}\n"
    )


@pytest.mark.parametrize("wrong", [("--split", "dev"), ("--split", "x" * 300), ("--limit", "-3")])
def test_a_wrong_option_ends_in_one_clear_message(capcli: RunCommand, data: Path, wrong: tuple[str, str]) -> None:
    need_scorers()
    done = capcli("evaluate", "--images", "images", "--captions", "captions.csv", *wrong, cwd=data)
    assert (done.code, done.out) == (2, b"")
    assert wrong[0] in done.errors
    assert "internal error" not in done.errors


def test_a_caption_of_a_left_out_image_is_not_lent_to_its_namesake(capcli: RunCommand, data: Path) -> None:
    need_scorers()
    names = all_names(data)
    for number, folder in enumerate(("train", "test")):
        (data / "images" / folder).mkdir()
        (data / "images" / names[number]).rename(data / "images" / folder / "1.png")
    write_karpathy(data, {"train/1.png": "train", "test/1.png": "test"})
    (data / "said.csv").write_text("path,caption\nelsewhere/train/1.png,a photo\n")
    done = capcli(
        *("evaluate", "--images", "images", "--captions", "dataset.json", "--predictions", "said.csv"), cwd=data
    )
    assert (done.code, done.out) == (2, b"")
    assert "1 of 1 images have no caption" in done.errors
