"""How likely a caption is right by its photo's references, and the regression that says so."""

from __future__ import annotations

import numpy as np
import pytest

from capcli.evaluation.logistic import fit_logistic
from capcli.evaluation.rightness import MEASURES, chance_of_right, measures

DOG = (
    "A brown dog runs through the snow.",
    "A dog is running in deep snow.",
    "A brown dog playing in the snow.",
    "The dog runs outside in winter.",
    "A furry dog runs across snow.",
)


def test_what_people_say_too_is_likelier_right() -> None:
    chances = [
        chance_of_right(caption, DOG)
        for caption in (
            "A brown dog is running through the snow.",
            "A brown dog is running on a beach.",
            "A white cat is sleeping on a sofa.",
        )
    ]
    assert chances[0] > 0.6
    assert chances[0] > chances[1] + 0.2 > chances[2] + 0.2
    assert chances[2] < 0.1


def test_case_punctuation_and_endings_do_not_matter() -> None:
    wanted = measures("a brown dog runs through the snow", DOG)
    np.testing.assert_array_equal(measures("A brown DOGS running through the snow!", DOG), wanted)


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("caption", ["A brown dog.", "", "the of"])
def test_any_caption_and_any_number_of_references_has_a_chance(caption: str, count: int) -> None:
    values = measures(caption, DOG[:count])
    assert values.shape == (len(MEASURES),)
    assert np.isfinite(values).all()
    assert 0 < chance_of_right(caption, DOG[:count]) < 1


def test_measures_are_what_their_names_say() -> None:
    found = dict(zip(MEASURES, measures("a cat on a mat", ("a cat on a mat", "a dog on a rug")), strict=True))
    assert found["highest_rouge_l"] == 1
    assert found["mean_rouge_l"] == pytest.approx((1 + 0.6) / 2)
    assert (found["first_support"], found["least_support"], found["unsupported"]) == (0.5, 0.5, 0)
    assert found["known_pairs"] == 1
    assert found["mean_pair_overlap"] == pytest.approx((1 + 1 / 4) / 2)
    assert found["length"] == 5


def test_the_regression_finds_the_weights_that_made_the_labels() -> None:
    generator = np.random.default_rng(0)
    features = np.c_[generator.normal(3, 2, 4000), generator.normal(-1, 0.1, 4000), np.full(4000, 7.0)]
    logits = 0.5 + 1.5 * (features[:, 0] - 3) / 2 - 0.7 * (features[:, 1] + 1) / 0.1
    labels = 1 / (1 + np.exp(-logits))
    fitted = fit_logistic(features, labels, ridge=1e-9)
    np.testing.assert_allclose(fitted(features), labels, atol=1e-4)
    # What never changes tells nothing.
    assert abs(fitted.weights[2]) < 1e-9
    # Labels that are certain have no end of the weights but the ridge.
    certain = fit_logistic(features, (logits > 0).astype(float), ridge=0.01)
    assert np.isfinite(certain.weights).all()
    assert np.abs(certain.weights).max() < 20
