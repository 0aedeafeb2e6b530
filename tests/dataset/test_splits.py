"""Which images are trained on and which are held back."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capcli.dataset.captions import CaptionedImage, DataReport
from capcli.dataset.splits import NamedImages, Split, choose_split, images_named_in
from capcli.errors import DataError


def image(name: str, split: str | None = None) -> CaptionedImage:
    return CaptionedImage(Path("/data/images") / name, name, ("x",), split)


def names(images: list[CaptionedImage]) -> list[str]:
    return [each.name for each in images]


def both(split: Split) -> tuple[list[str], list[str]]:
    return names(split.train), names(split.val)


def many(count: int) -> list[CaptionedImage]:
    return [image(f"{number:05}.jpg") for number in range(count)]


@pytest.mark.parametrize("fraction", [0.05, 0.1, 0.5])
def test_a_hash_holds_back_about_the_fraction(fraction: float) -> None:
    split = choose_split(many(4000), val_fraction=fraction, seed=1)
    # Five standard deviations of a fair draw.
    assert abs(len(split.val) / 4000 - fraction) < 5 * (fraction * (1 - fraction) / 4000) ** 0.5
    assert sorted(names(split.train) + names(split.val)) == names(many(4000))


def test_images_added_later_move_no_other() -> None:
    few, more = choose_split(many(500), seed=3), choose_split(many(1000)[::-1], seed=3)
    assert set(names(few.val)) == {name for name in names(more.val) if name < "00500.jpg"}


def test_another_seed_holds_back_others() -> None:
    assert names(choose_split(many(500), seed=1).val) != names(choose_split(many(500), seed=2).val)


def test_the_hash_is_the_same_everywhere() -> None:
    # Recorded: a change would move images between the parts of a run that is resumed.
    assert names(choose_split(many(40), seed=1, val_fraction=0.1).val) == ["00007.jpg", "00026.jpg", "00037.jpg"]


def test_nothing_is_held_back_at_fraction_zero() -> None:
    assert both(choose_split(many(50), val_fraction=0)) == (names(many(50)), [])


@given(st.lists(st.text(max_size=5) | st.just("caf\udce9.jpg"), unique=True), st.floats(0, 1), st.integers(0, 5))
def test_every_image_is_in_exactly_one_part(given_names: list[str], fraction: float, seed: int) -> None:
    items = [image(name) for name in given_names]
    train, val = both(choose_split(items, val_fraction=fraction, seed=seed))
    assert sorted(train + val) == sorted(given_names)


def test_split_fields_decide_and_test_images_are_left_out() -> None:
    items = [image("a", "train"), image("b", "val"), image("c", "test"), image("d")]
    assert both(choose_split(items, val_fraction=0.9)) == (["a", "d"], ["b"])


def test_without_val_fields_training_images_are_held_back() -> None:
    items = [image(f"{n}", "train") for n in range(200)] + [image("t", "test")]
    train, val = both(choose_split(items, val_fraction=0.5))
    assert len(train) + len(val) == 200
    assert 60 < len(val) < 140


def test_split_files_win_over_fields(tmp_path: Path) -> None:
    (tmp_path / "train").write_text("b\n")
    (tmp_path / "val").write_text("c\n")
    items = [image("a", "train"), image("b", "val"), image("c", "test")]
    assert both(choose_split(items, train_file=tmp_path / "train", val_file=tmp_path / "val")) == (["b"], ["c"])


def test_a_val_file_alone_leaves_the_rest_for_training(tmp_path: Path) -> None:
    (tmp_path / "val").write_text("b.jpg\n")
    items = [image("a.jpg"), image("b.jpg"), image("c.jpg", "test"), image("d.jpg", "train")]
    assert both(choose_split(items, val_file=tmp_path / "val")) == (["a.jpg", "d.jpg"], ["b.jpg"])


def test_a_train_file_alone_is_held_back_from(tmp_path: Path) -> None:
    (tmp_path / "train").write_text("".join(f"{name}\n" for name in names(many(300))))
    train, val = both(choose_split(many(400), train_file=tmp_path / "train", val_fraction=0.5))
    assert sorted(train + val) == names(many(300))
    assert 100 < len(val) < 200


def test_images_in_both_files_are_never_trained_on(tmp_path: Path) -> None:
    (tmp_path / "train").write_text("a.jpg\nb.jpg\n")
    (tmp_path / "val").write_text("b.jpg\n")
    items = [image("a.jpg"), image("b.jpg")]
    split = choose_split(items, train_file=tmp_path / "train", val_file=tmp_path / "val")
    assert both(split) == (["a.jpg"], ["b.jpg"])
    assert split.notes == (
        f"1 image is in both {tmp_path / 'train'} and {tmp_path / 'val'}, used for validation only: b.jpg",
    )


@pytest.mark.parametrize(
    "line",
    ["sub/a.jpg", "a.jpg", "a", "sub/a", "a.jpg#4", "A.JPG", "/data/images/sub/a.jpg", "x\\sub\\a.jpg", " a.jpg "],
)
def test_a_split_file_may_name_an_image_in_many_ways(tmp_path: Path, line: str) -> None:
    file = tmp_path / "split.txt"
    file.write_text(f"\ufeff{line}\r\n\r\n", newline="")
    assert names(images_named_in([image("b.jpg"), image("sub/a.jpg")], file).images) == ["sub/a.jpg"]


def test_a_suffix_that_only_the_file_has_is_no_hindrance(tmp_path: Path) -> None:
    (tmp_path / "split").write_text("a.jpg\n")
    item = CaptionedImage(Path("images/a.jpg"), "a", ("x",))
    assert images_named_in([item], tmp_path / "split").images == [item]


def test_named_images_keep_the_order_of_the_data(tmp_path: Path) -> None:
    (tmp_path / "split").write_text("c.jpg\na.jpg#0\na.jpg#1\n")
    items = [image("a.jpg"), image("b.jpg"), image("c.jpg")]
    assert names(images_named_in(items, tmp_path / "split").images) == ["a.jpg", "c.jpg"]


def test_names_without_an_image_are_counted(tmp_path: Path) -> None:
    (tmp_path / "val").write_text("x/a.jpg\ngone.jpg\ngone.jpg\na.jpg\nb.jpg\n")
    items = [image("x/a.jpg"), image("y/a.jpg"), image("b.jpg")]
    split = choose_split(items, val_file=tmp_path / "val")
    assert both(split) == (["y/a.jpg"], ["x/a.jpg", "b.jpg"])
    assert split.notes == (
        f"{tmp_path / 'val'}: 1 name is not in the captions: gone.jpg",
        f"{tmp_path / 'val'}: 1 name fits several images: a.jpg",
    )


def test_names_of_images_that_were_left_out_are_not_unknown(tmp_path: Path) -> None:
    file = tmp_path / "split"
    file.write_text("a.jpg\ngone.jpg#0\ngone.jpg#1\n/data/images/lost\nd.jpg\nbare.jpg\nfailed.jpg\nother.jpg\n")
    report = DataReport(
        missing_images=("gone.jpg", "lost.jpg", "more.jpg"),
        ambiguous_images=("d.jpg",),
        images_without_captions=("bare.jpg",),
        failed_rows=("failed.jpg",),
    )
    named = images_named_in([image("a.jpg"), image("b.jpg")], file, report)
    assert named == NamedImages([image("a.jpg")], ("gone.jpg", "lost.jpg", "d.jpg"), ("other.jpg",))
    split = choose_split([image("a.jpg"), image("b.jpg")], report=report, val_file=file)
    assert both(split) == (["b.jpg"], ["a.jpg"])
    assert split.notes == (f"{file}: 1 name is not in the captions: other.jpg",)


def test_a_missing_image_does_not_lend_its_name_to_a_namesake(tmp_path: Path) -> None:
    file = tmp_path / "split"
    file.write_text("val/1.jpg\n2.jpg\n")
    named = images_named_in([image("1.jpg"), image("2.jpg")], file, DataReport(missing_images=("val/1.jpg",)))
    assert (names(named.images), named.unfound) == (["2.jpg"], ("val/1.jpg",))


def test_a_split_whose_images_are_all_missing_says_so(tmp_path: Path) -> None:
    file = tmp_path / "split"
    file.write_text("gone.jpg\nother.jpg\n")
    with pytest.raises(DataError) as caught:
        choose_split([image("a.jpg")], report=DataReport(missing_images=("gone.jpg",)), train_file=file)
    assert str(caught.value) == f"{file}: no image that it names is found; the first is gone.jpg"


def test_images_marked_test_are_told_unless_a_file_names_them(tmp_path: Path) -> None:
    (tmp_path / "train").write_text("c\n")
    items = [image("a", "train"), image("b", "val"), image("c", "test"), image("d", "test")]
    assert names(choose_split(items).test) == ["c", "d"]
    assert names(choose_split(items, train_file=tmp_path / "train", val_fraction=0).test) == ["d"]
    assert names(choose_split(items, val_file=tmp_path / "train").test) == ["d"]


def test_a_split_file_that_leaves_nothing_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "split.txt"
    for content, why in ((b"q.jpg\nr.jpg\n", "; the first name is q.jpg"), (b"\n", "")):
        file.write_bytes(content)
        with pytest.raises(DataError) as caught:
            choose_split([image("a.jpg")], train_file=file)
        assert str(caught.value) == f"{file}: names none of the 1 images{why}"
    with pytest.raises(DataError) as caught:
        choose_split([image("a.jpg")], val_file=tmp_path / "gone")
    assert str(caught.value) == f"{tmp_path / 'gone'}: cannot be read (No such file or directory)"
