"""Views of training images: laws that hold for any draw."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capcli.training.inputs.augment import Augmentation, View
from capcli.training.inputs.corruptions import CorruptionChances, Tilt, WhiteBalance

seeds = st.integers(0, 2**32 - 1)
EVERYTHING = CorruptionChances(**{item.name: 1.0 for item in fields(CorruptionChances)})


def noise(seed: int, size: int = 32) -> np.ndarray:
    pixels: np.ndarray = np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)
    return pixels


def gradient(size: int = 64) -> np.ndarray:
    """Red grows to the right, green downwards: every pixel tells where it comes from."""
    line = np.linspace(0, 255, size)
    pixels: np.ndarray = np.stack([*np.meshgrid(line, line), np.full((size, size), 128.0)], -1)
    return np.asarray(np.rint(pixels), np.uint8)


@given(seeds)
def test_no_change_gives_the_image_and_two_mirrors_give_it_back(seed: int) -> None:
    image = noise(seed)
    assert np.array_equal(View().of(image), image)
    mirrored = View(flip=True).of(image)
    assert np.array_equal(mirrored, image[:, ::-1])
    assert np.array_equal(View(flip=True).of(mirrored), image)


@given(seeds, st.floats(0.05, 1), st.floats(0, 0.9))
def test_views_stay_within_what_was_asked_for(seed: int, crop: float, light: float) -> None:
    random = np.random.default_rng(seed)
    augmentation = Augmentation(min_crop_area=crop, color_jitter=light)
    for view in (augmentation.draw(random) for _ in range(20)):
        for factor in (view.brightness, view.contrast, view.saturation):
            assert 1 - light <= factor <= 1 + light
        if view.box is None:
            assert crop == 1
            continue
        left, top, right, bottom = view.box
        assert 0 <= left < right <= 1 + 1e-9 and 0 <= top < bottom <= 1 + 1e-9
        width, height = right - left, bottom - top
        # A side cannot be longer than the image's, so the widest and highest crops of nearly all of it lose some.
        assert width * height >= crop * (3 / 4) ** 0.5 - 1e-9
        assert width * height <= 1 + 1e-9
        assert 3 / 4 - 1e-9 <= width / height <= 4 / 3 + 1e-9


@given(seeds, st.floats(0.05, 0.99))
def test_a_seed_mirrors_the_same_images_whatever_else_changes(seed: int, crop: float) -> None:
    def flips(augmentation: Augmentation) -> list[bool]:
        return [augmentation.draw(np.random.default_rng([seed, number])).flip for number in range(50)]

    plain = flips(Augmentation())
    changed = Augmentation(min_crop_area=crop, color_jitter=0.5, corruptions=CorruptionChances(noise=1, grey=1))
    assert plain == flips(changed)
    assert {*plain} == {True, False}
    assert not any(flips(Augmentation(flip=False)))


@given(seeds)
def test_a_crop_shows_the_part_of_the_image_that_its_box_names(seed: int) -> None:
    image = gradient()
    random = np.random.default_rng(seed)
    for view in (Augmentation(flip=True, min_crop_area=0.3).draw(random) for _ in range(4)):
        assert view.box is not None
        left, top, right, bottom = view.box
        seen = view.of(image).astype(float) / 255
        assert seen.shape == image.shape
        reds = seen[:, :, 0].mean(0)
        if view.flip:
            reds = reds[::-1]
        greens = seen[:, :, 1].mean(1)
        # A pixel is 1/64 wide; its middle is half of that inside the box.
        assert reds[0] == pytest.approx(left, abs=0.03) and reds[-1] == pytest.approx(right, abs=0.03)
        assert greens[0] == pytest.approx(top, abs=0.03) and greens[-1] == pytest.approx(bottom, abs=0.03)


def test_light_changes_what_its_factors_name() -> None:
    image = np.clip(gradient(), 40, 160)
    grey = np.array([0.299, 0.587, 0.114])
    brighter = View(brightness=1.3).of(image)
    assert brighter.mean() == pytest.approx(1.3 * image.mean(), rel=0.01)
    flat = View(contrast=0.5).of(image)
    assert (flat @ grey).std() == pytest.approx(0.5 * (image @ grey).std(), rel=0.02)
    assert (flat @ grey).mean() == pytest.approx((image @ grey).mean(), rel=0.01)
    pale = View(saturation=0.5).of(image)
    assert np.allclose(pale @ grey, image @ grey, atol=1.5)
    assert pale.std(axis=2).mean() == pytest.approx(0.5 * image.std(axis=2).mean(), rel=0.05)
    assert View(saturation=1e-9).of(image).std(axis=2).max() < 1


def test_a_view_is_cropped_mirrored_lit_and_then_corrupted() -> None:
    image = noise(1, 48)
    box, tilt = (0.0, 0.0, 0.5, 1.0), Tilt(6.0)
    view = View(flip=True, box=box, brightness=0.5, corruptions=(tilt, WhiteBalance((1.2, 1.0, 0.8))))
    cropped = View(box=box).of(image)
    lit = View(brightness=0.5).of(cropped[:, ::-1])
    assert np.array_equal(view.of(image), WhiteBalance((1.2, 1.0, 0.8)).apply(tilt.apply(lit)))


@pytest.mark.parametrize(
    ("augmentation", "changes"),
    [
        (Augmentation(flip=True), False),
        (Augmentation(flip=False), False),
        (Augmentation(min_crop_area=0.9), True),
        (Augmentation(color_jitter=0.1), True),
        *(
            (Augmentation(corruptions=CorruptionChances(**{item.name: 0.1})), True)
            for item in fields(CorruptionChances)
        ),
    ],
)
def test_only_mirror_images_can_be_made_from_maps(augmentation: Augmentation, changes: bool) -> None:
    """What changes pixels must be told, else training would go by maps of the plain images."""
    assert augmentation.changes_pixels == changes


def test_crops_and_light_are_drawn_over_their_whole_range() -> None:
    augmentation = Augmentation(min_crop_area=0.5, color_jitter=0.4)
    views = [augmentation.draw(np.random.default_rng([2, number])) for number in range(400)]
    assert 150 < sum(view.flip for view in views) < 250
    areas = [(view.box[2] - view.box[0]) * (view.box[3] - view.box[1]) for view in views if view.box is not None]
    assert len(areas) == 400 and min(areas) < 0.53 and max(areas) > 0.95
    for name in ("brightness", "contrast", "saturation"):
        factors = [getattr(view, name) for view in views]
        assert 0.6 <= min(factors) < 0.63 and 1.37 < max(factors) <= 1.4
    pairs = np.corrcoef(
        [[view.brightness, view.contrast, view.saturation, *(view.box or ())[:2]] for view in views], rowvar=False
    )
    assert np.abs(pairs[np.triu_indices(5, 1)]).max() < 0.2


@settings(max_examples=20)
@given(seeds)
def test_the_same_seed_draws_the_same_views(seed: int) -> None:
    augmentation = Augmentation(min_crop_area=0.5, color_jitter=0.4, corruptions=EVERYTHING)
    first, second = (augmentation.draw(np.random.default_rng(seed)) for _ in range(2))
    assert first == second
    assert np.array_equal(first.of(gradient()), second.of(gradient()))
