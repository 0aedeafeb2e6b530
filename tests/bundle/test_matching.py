"""The matching score: what it makes of picture and sentence, and a file of it that is damaged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capcli.bundle.matching import Matching, picture_numbers
from capcli.errors import BundleError
from tests.shape_matching import score

# Three tokens; two numbers of a picture. Words are [1, 0], [0, 1] and nothing; pictures swap their numbers.
SMALL = Matching(
    words=np.array([[100, 0], [0, 50], [0, 0]], np.int8),
    word_scales=np.array([0.01, 0.02, 1.0], np.float32),
    projection=np.array([[0, 10], [20, 0]], np.int8),
    projection_scales=np.array([0.1, 0.05], np.float32),
    bias=np.array([0.0, 1.0], np.float32),
    means=np.array([1.0, 5.0], np.float32),
    scales=np.array([2.0, 4.0], np.float32),
    usual_picture=np.zeros(2, np.float32),
    usual_sentence=np.zeros(2, np.float32),
    temperature=np.array(7.0, np.float32),
)
# Seen as [1, 0 + 1]: half way between the two words.
PICTURE = np.array([1.0, 9.0], np.float32)


def test_it_is_a_cosine_times_the_temperature() -> None:
    half = 7 / np.sqrt(2)
    assert score(SMALL, PICTURE, [0]) == pytest.approx(half)
    assert score(SMALL, PICTURE, [1, 1, 1]) == pytest.approx(half)
    assert score(SMALL, PICTURE, [0, 1, 2]) == pytest.approx(7)
    # Seen as [1, -1 + 1].
    assert score(SMALL, np.array([-1.0, 9.0], np.float32), [0]) == pytest.approx(7)
    assert score(SMALL, np.array([-1.0, 9.0], np.float32), [1]) == pytest.approx(0)


@settings(max_examples=50, deadline=None)
@given(
    numbers=st.lists(st.floats(-1e3, 1e3, width=32), min_size=2, max_size=2),
    tokens=st.lists(st.integers(0, 2), max_size=6),
    scale=st.floats(0.1, 10),
)
def test_it_is_bounded_and_knows_no_order(numbers: list[float], tokens: list[int], scale: float) -> None:
    picture = np.array(numbers, np.float32)
    whole = score(SMALL, picture, tokens)
    assert abs(whole) <= 7.001
    assert score(SMALL, picture, tokens[::-1]) == pytest.approx(whole, abs=1e-4)
    assert score(SMALL, picture, tokens * 2) == pytest.approx(whole, abs=1e-4)
    longer = replace(SMALL, projection_scales=SMALL.projection_scales * np.float32(scale), bias=SMALL.bias * scale)
    assert score(longer, picture, tokens) == pytest.approx(whole, abs=1e-3)


def test_what_is_usual_does_not_count() -> None:
    usual = replace(SMALL, usual_picture=np.array([0.5, 0.25], np.float32), usual_sentence=np.array([0.0, 0.5], "f4"))
    seen = np.array([1, 1]) / np.sqrt(2) - [0.5, 0.25]
    assert score(usual, PICTURE, [0]) == pytest.approx(7 * seen @ [1, -0.5], rel=1e-5)
    assert score(usual, PICTURE, [2]) == 0.0


def test_a_sentence_of_no_known_word_goes_with_nothing() -> None:
    assert score(SMALL, PICTURE, []) == score(SMALL, PICTURE, [2]) == 0.0


def test_of_a_picture_it_reads_mean_and_maximum_over_its_places() -> None:
    context = np.array([[1, 8], [3, 2], [2, -1]], np.float32)
    assert picture_numbers(context).tolist() == [2, 3, 3, 8]


def test_what_is_saved_is_read_again(tmp_path: Path) -> None:
    for name in ("one.npz", "two.npz"):
        SMALL.save(tmp_path / name)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    again = Matching.load(tmp_path / "one.npz", 3)
    assert score(again, PICTURE, [0]) == score(SMALL, PICTURE, [0])
    again.save(tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == (tmp_path / "one.npz").read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"words": SMALL.words[:2]}, r"its words are int8 \[2, 2\], they should be int8 \[3, 2\]"),
        ({"words": SMALL.words.astype(np.float32)}, r"its words are float32 \[3, 2\]"),
        ({"projection": SMALL.projection[:, :1]}, r"its projection are int8 \[2, 1\]"),
        ({"scales": SMALL.scales[:1]}, r"its scales are float32 \[1\]"),
        ({"usual_sentence": np.zeros(3, np.float32)}, r"its usual_sentence are float32 \[3\]"),
        ({"temperature": np.ones(1, np.float32)}, r"its temperature are float32 \[1\]"),
        ({"bias": np.array([0, np.nan], np.float32)}, "its bias are not finite"),
        ({"scales": np.zeros(2, np.float32)}, "its scales are not above 0"),
        ({"means": np.array([{}, 1], object)}, "Object arrays cannot be loaded"),
    ],
)
def test_arrays_that_do_not_go_together_are_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    replace(SMALL, **change).save(tmp_path / "matching.npz")
    with pytest.raises(BundleError, match=message) as refused:
        Matching.load(tmp_path / "matching.npz", 3)
    assert str(refused.value).startswith(f"{tmp_path / 'matching.npz'}: ") and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-30],
        lambda content: content[:200] + b"x" * 100 + content[300:],
        lambda content: b"no archive",
        lambda content: b"",
        lambda content: content.replace(b"bias.npy", b"bios.npy"),
    ],
)
def test_a_damaged_file_is_refused_in_one_line(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = tmp_path / "matching.npz"
    SMALL.save(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(BundleError, match="not readable as a bundle's matching score") as refused:
        Matching.load(path, 3)
    assert "\n" not in str(refused.value)
    path.unlink()
    with pytest.raises(BundleError, match="No such file"):
        Matching.load(path, 3)
