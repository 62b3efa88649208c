"""IF-OSN: the localizer with a narrow network."""

import numpy as np
import pytest
import torch

import models
from models.deep import if_osn


@pytest.fixture
def localizer(tiny_weights):
    return models.build("if-osn", weights=tiny_weights("if-osn"))


def test_input_is_between_minus_one_and_one(photo):
    rgb = photo(5, 7).rgb
    x = if_osn.network_input(rgb)
    np.testing.assert_allclose(x[0].permute(1, 2, 0), rgb / 127.5 - 1, atol=1e-6)


@pytest.mark.parametrize(("height", "width", "grey"), [(1, 1, False), (20, 33, True), (70, 101, False)])
def test_localizes_images_of_any_size(localizer, photo, height, width, grey):
    score = localizer.localize(photo(height, width, grey))
    assert score.kind == "probability" and score.values.shape == (height, width)
    assert score.values.min() >= 0 and score.values.max() <= 1
    assert score.extras["tiles"] == 1


def test_an_image_of_one_tile_is_what_the_network_says(localizer, photo):
    image = photo(64, 96)
    with torch.inference_mode():
        expected = localizer.network(if_osn.network_input(image.rgb))[0, 0].numpy()
    np.testing.assert_allclose(localizer.localize(image).values, expected, atol=1e-6)
    assert np.ptp(expected) > 1e-4


def test_a_larger_image_is_seen_in_tiles(localizer, photo, monkeypatch):
    monkeypatch.setattr(localizer.network, "tile", 64)
    image = photo(64, 80)  # two places, each of which comes twice
    score = localizer.localize(image)
    assert score.extras["tiles"] == 2 and score.values.shape == (64, 80)
    with torch.inference_mode():
        right = localizer.network(if_osn.network_input(image.rgb[:, 16:]))[0, 0].numpy()
    np.testing.assert_allclose(score.values[:, 64:], right[:, 48:], atol=1e-6)  # the left tile does not reach it
