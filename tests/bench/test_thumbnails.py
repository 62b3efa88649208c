"""Thumbnails: what the reader of a report sees is what was measured."""

import io

import numpy as np
import pytest
from PIL import Image

from bench import thumbnails
from models.image import ScoreMap


def decoded(data, mode="L"):
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == "WEBP"
        return np.asarray(image.convert(mode))


@pytest.fixture
def half():
    """A 300 x 500 mask whose right half is forged."""
    mask = np.zeros((300, 500), bool)
    mask[:, 250:] = True
    return mask


def test_photo_keeps_colours_and_proportions():
    rgb = np.zeros((300, 500, 3), np.uint8)
    rgb[..., 0] = 200
    small = decoded(thumbnails.photo(rgb), "RGB")
    assert small.shape == (154, thumbnails.SIDE, 3)
    assert np.abs(small.mean((0, 1)) - [200, 0, 0]).max() < 4


def test_mask_is_two_valued(half):
    small = decoded(thumbnails.mask(half)).astype(int)
    assert set(np.unique(small)) == {0, 255}
    assert small[:, :120].max() == 0 and small[:, 136:].min() == 255


def test_probabilities_are_shown_as_they_are_and_scores_stretched(half):
    values = np.where(half, 0.6, 0.4).astype(np.float32)
    plain, stretched = (decoded(thumbnails.score(values, kind)).astype(int) for kind in ("probability", "score"))
    assert abs(plain[60, 20] - 102) < 6 and abs(plain[60, 190] - 153) < 6
    assert stretched[60, 20] < 8 and stretched[60, 190] > 247


def test_prediction_uses_the_localizers_threshold_else_the_given_one(half):
    logit = ScoreMap(np.where(half, 0.1, -0.1).astype(np.float32), "logit")
    assert thumbnails.prediction(logit, None) == thumbnails.mask(half)
    score = ScoreMap(np.where(half, 7.0, 5.0).astype(np.float32), "score")
    assert thumbnails.prediction(score, 6.0) == thumbnails.mask(half)
    assert thumbnails.prediction(score, float("nan")) is None


def test_confidence_is_shown_as_it_is(half):
    small = decoded(thumbnails.EXTRAS["confidence"](np.where(half, 1.0, 0.25).astype(np.float32))).astype(int)
    assert abs(small[60, 20] - 64) < 6 and abs(small[60, 190] - 255) < 6


def test_regions_have_grey_levels_of_their_own_and_sharp_borders(half):
    labels = half.astype(np.uint8)
    labels[150:, :250] = 2
    small = decoded(thumbnails.EXTRAS["sources"](labels))
    assert small.shape == (154, thumbnails.SIDE) and set(np.unique(small)) == {0, 128, 255}
    assert (small[10, 10], small[10, 200], small[100, 10]) == (0, 128, 255)
    assert set(np.unique(decoded(thumbnails.EXTRAS["sources"](np.zeros((4, 5), np.uint8))))) == {0}


def test_a_constant_score_is_black_and_not_the_rounding_of_its_reduction():
    for value in (0.0, 0.3, -7.7):
        small = decoded(thumbnails.score(np.full((300, 500), value, np.float32), "score"))
        assert small.max() == 0


def test_small_images_are_not_enlarged():
    assert decoded(thumbnails.photo(np.zeros((1, 1, 3), np.uint8)), "RGB").shape == (1, 1, 3)
