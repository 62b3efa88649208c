"""SPAN: the localizer with a small network, patches, TensorFlow's way to resize, and the names of Keras."""

import numpy as np
import pytest
import torch

import models
from models.deep import span


@pytest.fixture
def localizer(tiny_weights):
    return models.build("span", weights=tiny_weights("span"))


@pytest.mark.parametrize(("height", "width", "grey"), [(1, 1, False), (7, 40, True), (61, 33, False)])
def test_localizes_images_of_any_size(localizer, photo, height, width, grey):
    score = localizer.localize(photo(height, width, grey))
    assert score.kind == "probability" and score.values.shape == (height, width)
    assert score.values.min() >= 0 and score.values.max() <= 1
    assert score.extras["tiles"] == 1


def test_the_map_is_enlarged_without_interpolation(localizer, photo):
    values = localizer.localize(photo(96, 144)).values
    np.testing.assert_array_equal(values, values[::2, ::3].repeat(2, 0).repeat(3, 1))
    assert np.ptp(values) > 1e-3


@pytest.mark.parametrize("resized", [48, None])
def test_patches_give_the_map_of_the_whole(localizer, photo, resized):
    network = localizer.network.double()
    network.resized = resized
    x = span.network_input(photo(150, 220).rgb).double()
    with torch.inference_mode():
        whole = network(x)
        network.patch = 128
        patched = network(x)
    assert whole.shape == ((1, 1, 48, 48) if resized else (1, 1, 150, 220))
    assert whole.max() - whole.min() > 1e-3
    torch.testing.assert_close(patched, whole, atol=1e-10, rtol=0)


def test_neighbours_outside_the_image_take_their_share_of_the_attention():
    attention = span.PixelAttention(2, shift=3)
    with torch.no_grad():
        attention.V_P[0, 0, :, 8:10] = torch.eye(2)  # the value of the fifth neighbour, the pixel itself, is the pixel
    x = torch.rand(1, 2, 1, 1)
    torch.testing.assert_close(attention(x), x + x / 9)  # all scores are 0; eight neighbours add nothing


def test_higher_numbers_of_keras_layers_are_understood(tiny_weights):
    weights = tiny_weights("span")
    as_saved = {
        name.replace(f"pixel_attention_{i}/", f"pixel_attention_{i + 7}/"): value
        for name, value in reversed(weights.items())
        for i in [int(name.split("/")[0][-1]) if name.startswith("pixel") else 0]
    }
    converted = span.from_keras(as_saved)
    assert list(converted) == list(weights)
    assert all(torch.equal(converted[name], weights[name]) for name in weights)
