"""What a decoder is told of images and of the hypotheses that look at them."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from capcli.bundle_graphs import _Context


class OnTheCpu:
    """A session that needs no copy of an array."""

    def upload(self, array: np.ndarray) -> np.ndarray:
        return array


# For each image how many hypotheses it has at each step; 0 from where it is finished.
LIVES = st.lists(st.lists(st.integers(1, 5), max_size=6), min_size=1, max_size=9)


@settings(max_examples=200, deadline=None)
@given(lives=LIVES)
def test_each_hypothesis_is_beside_what_is_known_of_its_image(lives: list[list[int]]) -> None:
    """In whatever order images are finished, and however many hypotheses each has."""
    values = np.random.default_rng(0).normal(size=(len(lives), 3, 2))
    decoder: Any = OnTheCpu()
    context = _Context(decoder, {"values": values})
    for step in range(max(map(len, lives))):
        images = np.repeat(np.arange(len(lives)), [life[step] if step < len(life) else 0 for life in lives])
        feeds: dict[str, Any] = context.feeds(images)
        known, rows, slots = feeds["values"], feeds["image_rows"], feeds["row_slots"]
        assert known.shape[0] == rows.shape[0] and rows.shape[1] == max(np.bincount(images))
        assert rows.dtype == slots.dtype == np.int64
        # There and back again, beside the image's own values.
        np.testing.assert_array_equal(rows.ravel()[slots], np.arange(len(images)))
        np.testing.assert_array_equal(known[slots // rows.shape[1]], values[images])
        # What is known of finished images is not carried along for long.
        assert len(known) * 0.75 <= len(set(images))
