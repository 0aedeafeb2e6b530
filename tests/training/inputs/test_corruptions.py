"""What cameras and files do to pictures: each corruption does what it is named for, as strongly as it is told."""

from __future__ import annotations

import math
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from capcli.training.inputs.corruptions import (
    Blur,
    Compress,
    Corruption,
    CorruptionChances,
    Grey,
    Noise,
    Rescale,
    Sharpen,
    Tilt,
    WhiteBalance,
)
from tests.photos import photo_array

KINDS = {
    "tilt": Tilt,
    "white_balance": WhiteBalance,
    "blur": Blur,
    "rescale": Rescale,
    "noise": Noise,
    "sharpen": Sharpen,
    "grey": Grey,
    "compress": Compress,
}
NAMES = [item.name for item in fields(CorruptionChances)]
EVERYTHING = CorruptionChances(**dict.fromkeys(NAMES, 1.0))
seeds = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return np.asarray(Image.fromarray(photo_array("chelsea")).resize((96, 96)))


def flat(level: int = 128) -> np.ndarray:
    return np.full((64, 64, 3), level, np.uint8)


def difference(one: np.ndarray, other: np.ndarray) -> float:
    """Root mean square."""
    return float(np.sqrt(np.square(one.astype(float) - other.astype(float)).mean()))


def sharpness(pixels: np.ndarray) -> float:
    return float(np.abs(np.diff(pixels.astype(float), axis=1)).mean())


@given(seeds, st.sampled_from(NAMES), st.integers(8, 40), st.integers(8, 40))
@settings(max_examples=80, deadline=None)
def test_every_corruption_keeps_the_shape_and_gives_the_same_every_time(
    seed: int, name: str, height: int, width: int
) -> None:
    random = np.random.default_rng(seed)
    pixels: np.ndarray = random.integers(0, 256, (height, width, 3), np.uint8)
    before = pixels.copy()
    (corruption,) = CorruptionChances(**{name: 1.0}).draw(random)
    assert type(corruption) is KINDS[name]
    changed = corruption.apply(pixels)
    assert changed.shape == pixels.shape and changed.dtype == np.uint8
    assert np.array_equal(changed, corruption.apply(pixels))
    assert np.array_equal(pixels, before)
    # Views are mirrored arrays too, whose rows run backwards in memory.
    assert corruption.apply(pixels[:, ::-1]).shape == pixels.shape


@pytest.mark.parametrize(
    "corruption",
    [
        Tilt(0.0),
        Tilt(0.0, zoom=False),
        WhiteBalance((1.0, 1.0, 1.0)),
        Blur(0.0),
        Rescale(1.0),
        Noise(0.0),
        Noise(0.0, "sensor"),
        Sharpen(1.0, 0),
    ],
)
def test_no_strength_is_no_change(corruption: Corruption, photo: np.ndarray) -> None:
    assert np.array_equal(corruption.apply(photo), photo)


@pytest.mark.parametrize("kind", ["brightness", "colour", "sensor"])
@pytest.mark.parametrize("sigma", [4.0, 12.0])
def test_noise_is_as_strong_as_told_around_the_picture(kind: str, sigma: float) -> None:
    noise = Noise(sigma, kind, seed=3).apply(flat()).astype(float) - 128
    # A sensor's is as strong as told at 128.
    assert noise.std() == pytest.approx(sigma, rel=0.06) and abs(noise.mean()) < 0.1 * sigma
    channels = np.corrcoef(noise.reshape(-1, 3).T)
    assert (np.abs(channels[np.triu_indices(3, 1)]) > 0.99).all() if kind == "brightness" else channels[0, 1] < 0.1
    neighbours = np.corrcoef(noise[:, :-1, 0].ravel(), noise[:, 1:, 0].ravel())[0, 1]
    assert abs(neighbours) < 0.1


def test_noise_of_a_sensor_grows_with_the_root_of_the_light_and_other_noise_does_not() -> None:
    dark, light = (Noise(8.0, "sensor", 1).apply(flat(level)).astype(float).std() for level in (50, 200))
    assert light / dark == pytest.approx(2.0, rel=0.05)
    dark, light = (Noise(8.0, "colour", 1).apply(flat(level)).astype(float).std() for level in (50, 200))
    assert light / dark == pytest.approx(1.0, rel=0.05)


@given(seeds, st.sampled_from(["brightness", "colour", "sensor"]))
@settings(max_examples=20, deadline=None)
def test_noise_is_its_seeds(seed: int, kind: str) -> None:
    one, same, other = (Noise(9.0, kind, each).apply(flat()) for each in (seed, seed, seed + 1))
    assert np.array_equal(one, same) and not np.array_equal(one, other)


def test_grey_has_no_colour_and_the_same_brightness(photo: np.ndarray) -> None:
    grey = Grey().apply(photo)
    assert (grey[..., 0] == grey[..., 1]).all() and (grey[..., 1] == grey[..., 2]).all()
    weights = np.array([0.299, 0.587, 0.114])
    assert np.abs(grey[..., 0] - photo @ weights).max() <= 1


def test_light_of_another_colour_is_a_factor_for_each_channel() -> None:
    warm = WhiteBalance((1.2, 1.0, 0.8)).apply(flat(100))
    assert warm[0, 0].tolist() == [120, 100, 80]
    assert WhiteBalance((3.0, 1.0, 1.0)).apply(flat(100))[0, 0].tolist() == [255, 100, 100]


@given(st.floats(0.5, 2.0))
@settings(max_examples=20, deadline=None)
def test_gamma_keeps_black_and_white_and_is_darker_above_one(gamma: float) -> None:
    balance = WhiteBalance((1.0, 1.0, 1.0), gamma)
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    after = balance.apply(ramp)[0, :, 0].astype(int)
    assert (after[0], after[255]) == (0, 255) and (np.diff(after) >= 0).all()
    assert after[128] == round(255 * (128 / 255) ** gamma)
    assert (after <= np.arange(256)).all() if gamma >= 1 else (after >= np.arange(256)).all()


def test_blur_spreads_a_point_as_wide_as_its_radius() -> None:
    point = np.zeros((41, 41, 3), np.uint8)
    point[15:26, 15:26] = 255
    for radius in (0.8, 1.8):
        spread = Blur(radius).apply(point)[..., 0].astype(float).sum(0)
        places = np.arange(41) - 20
        variance = float((spread * places**2).sum() / spread.sum())
        # Variances of a box and of a Gaussian add up.
        assert variance == pytest.approx((11**2 - 1) / 12 + radius**2, rel=0.05)


def test_stronger_is_further_from_the_picture(photo: np.ndarray) -> None:
    series: list[list[Corruption]] = [
        [Blur(radius) for radius in (0.5, 1.0, 1.8)],
        [Rescale(factor) for factor in (0.9, 0.6, 0.3)],
        [Noise(sigma) for sigma in (2.0, 8.0, 18.0)],
        [Sharpen(1.0, percent) for percent in (50, 100, 200)],
        [Compress("JPEG", quality) for quality in (95, 70, 30)],
        [Compress("WEBP", quality) for quality in (95, 70, 30)],
        [Tilt(degrees) for degrees in (1.0, 4.0, 10.0)],
        [WhiteBalance((1 + warmth, 1.0, 1 - warmth)) for warmth in (0.05, 0.1, 0.3)],
    ]
    for corruptions in series:
        errors = [difference(corruption.apply(photo), photo) for corruption in corruptions]
        assert 0 < errors[0] < errors[1] < errors[2], corruptions[0]


def test_blur_and_rescaling_soften_and_sharpening_sharpens(photo: np.ndarray) -> None:
    plain = sharpness(photo)
    assert sharpness(Blur(1.5).apply(photo)) < 0.8 * plain
    assert sharpness(Rescale(0.4).apply(photo)) < 0.9 * plain
    assert sharpness(Sharpen(1.5, 150).apply(photo)) > 1.2 * plain


@given(st.floats(0.3, 0.9), st.sampled_from([*Image.Resampling][1:]), st.sampled_from([*Image.Resampling][1:]))
@settings(max_examples=30, deadline=None)
def test_rescaling_keeps_the_mean_and_the_place_of_things(
    factor: float, down: Image.Resampling, up: Image.Resampling
) -> None:
    line = np.linspace(20, 235, 64)
    ramp = np.asarray(np.rint(np.stack([*np.meshgrid(line, line), np.full((64, 64), 99.0)], -1)), np.uint8)
    changed = Rescale(factor, down, up).apply(ramp).astype(float)
    assert np.abs(changed.mean((0, 1)) - ramp.mean((0, 1))).max() < 1.5
    assert difference(changed[4:-4, 4:-4], ramp[4:-4, 4:-4]) < 6


def slope(pixels: np.ndarray) -> float:
    """Degrees by which a horizontal edge rises to the right, seen in the middle of the picture."""
    width = pixels.shape[1]
    columns = range(width // 4, 3 * width // 4)
    edge = [int(np.argmax(pixels[:, column, 0] > 127)) for column in columns]
    return -math.degrees(math.atan(np.polyfit(list(columns), edge, 1)[0]))


@pytest.mark.parametrize("zoom", [True, False])
@pytest.mark.parametrize("degrees", [-8.0, 3.0, 10.0])
def test_a_tilt_turns_to_the_left_where_positive(degrees: float, zoom: bool) -> None:
    horizon = np.zeros((120, 120, 3), np.uint8)
    horizon[60:] = 255
    assert slope(Tilt(degrees, zoom).apply(horizon)) == pytest.approx(degrees, abs=0.6)


@given(st.floats(-10, 10), st.integers(40, 90), st.integers(40, 90))
@settings(max_examples=30, deadline=None)
def test_a_tilt_leaves_black_corners_only_where_it_does_not_zoom(degrees: float, height: int, width: int) -> None:
    assert (Tilt(degrees).apply(np.full((height, width, 3), 200, np.uint8)) == 200).all()
    turned = Tilt(degrees, zoom=False).apply(flat(200))
    if abs(degrees) > 2:
        assert turned[0, 0].max() < 50 and turned[-1, -1].max() < 50
    assert turned[32, 32].tolist() == [200] * 3


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_compression_stays_near_the_picture(kind: str, photo: np.ndarray) -> None:
    assert difference(Compress(kind, 95).apply(photo), photo) < 8
    assert not np.array_equal(Compress(kind, 95).apply(photo), photo)


def test_the_two_kinds_of_compression_are_two(photo: np.ndarray) -> None:
    assert not np.array_equal(Compress("JPEG", 50).apply(photo), Compress("WEBP", 50).apply(photo))


def draws(chances: CorruptionChances, count: int = 400) -> list[tuple[Corruption, ...]]:
    return [chances.draw(np.random.default_rng([1, number])) for number in range(count)]


def test_corruptions_come_in_the_order_of_lens_sensor_and_programs() -> None:
    assert [type(corruption) for corruption in EVERYTHING.draw(np.random.default_rng(0))] == [
        *(Tilt, WhiteBalance, Blur, Rescale, Noise, Sharpen, Grey, Compress),
    ]


@pytest.mark.parametrize("name", NAMES)
def test_each_is_as_frequent_as_its_chance_and_none_without_one(name: str) -> None:
    chances = CorruptionChances(**{name: 0.3})
    assert chances.any and not CorruptionChances().any
    drawn = draws(chances)
    assert {type(corruption) for each in drawn for corruption in each} == {KINDS[name]}
    assert 0.3 * 400 - 36 < sum(map(len, drawn)) < 0.3 * 400 + 36


def test_they_are_drawn_independently_of_each_other() -> None:
    half = CorruptionChances(**dict.fromkeys(NAMES, 0.5))
    drawn = np.array([[any(type(c) is KINDS[name] for c in each) for name in NAMES] for each in draws(half)])
    assert np.abs(drawn.mean(0) - 0.5).max() < 0.1
    pairs = np.corrcoef(drawn.T)[np.triu_indices(len(NAMES), 1)]
    assert np.abs(pairs).max() < 0.2


def test_strengths_are_drawn_over_their_whole_range() -> None:
    found: dict[str, list[float]] = {}
    kinds: dict[str, set[object]] = {"noise": set(), "compress": set(), "zoom": set(), "filters": set(), "seeds": set()}
    for each in draws(EVERYTHING):
        for corruption in each:
            if isinstance(corruption, Tilt):
                found.setdefault("degrees", []).append(corruption.degrees)
                kinds["zoom"].add(corruption.zoom)
            elif isinstance(corruption, WhiteBalance):
                found.setdefault("warmth", []).append(math.log(corruption.gains[0] / corruption.gains[2]) / 2)
                found.setdefault("tint", []).append(math.log(corruption.gains[1]))
                found.setdefault("gamma", []).append(math.log(corruption.gamma))
            elif isinstance(corruption, Blur):
                found.setdefault("blur", []).append(corruption.radius)
            elif isinstance(corruption, Rescale):
                found.setdefault("factor", []).append(corruption.factor)
                kinds["filters"] |= {(0, corruption.down), (1, corruption.up)}
            elif isinstance(corruption, Noise):
                found.setdefault("sigma", []).append(corruption.sigma)
                kinds["noise"].add(corruption.kind)
                kinds["seeds"].add(corruption.seed)
            elif isinstance(corruption, Sharpen):
                found.setdefault("percent", []).append(corruption.percent)
            elif isinstance(corruption, Compress):
                found.setdefault("quality", []).append(corruption.quality)
                kinds["compress"].add(corruption.kind)
    bounds = {
        "degrees": (-10, 10),
        "blur": (0.3, 1.8),
        "factor": (0.3, 0.9),
        "sigma": (2, 18),
        "percent": (40, 200),
        "quality": (30, 95),
    }
    for name, (low, high) in bounds.items():
        edge = 0.03 * (high - low)
        assert low <= min(found[name]) < low + edge and high - edge < max(found[name]) <= high, name
    for name, sigma in (("warmth", 0.12), ("tint", 0.04), ("gamma", 0.3)):
        assert np.std(found[name]) == pytest.approx(sigma, rel=0.15) and abs(np.mean(found[name])) < 0.3 * sigma, name
    assert kinds["noise"] == {"brightness", "colour", "sensor"} and kinds["compress"] == {"JPEG", "WEBP"}
    assert kinds["zoom"] == {True, False} and len(kinds["filters"]) == 10 and len(kinds["seeds"]) == 400
