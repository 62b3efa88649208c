"""RRU-Net: sizes that are no multiples of its stride, and its weights."""

import numpy as np
import pytest
import torch

import models
from models.deep import rru


@pytest.fixture
def weights(tiny_weights):
    return tiny_weights("rru-net")


@pytest.mark.parametrize(("height", "width", "grey"), [(1, 1, False), (7, 30, True), (33, 49, False)])
def test_localizes_images_of_any_size(weights, photo, height, width, grey):
    score = models.build("rru-net", weights=weights).localize(photo(height, width, grey))
    assert score.kind == "probability" and score.values.shape == (height, width)
    assert score.values.min() >= 0 and score.values.max() <= 1


def test_the_map_is_the_networks_for_pixels_from_0_to_1(weights, photo):
    localizer, image = models.build("rru-net", weights=weights), photo(32, 48)
    x = torch.from_numpy(np.moveaxis(image.rgb / 255.0, 2, 0)[None]).float()
    with torch.inference_mode():
        expected = torch.sigmoid(localizer.network(x))[0, 0].numpy()
    np.testing.assert_allclose(localizer.localize(image).values, expected, atol=1e-5)
    assert np.ptp(expected) > 1e-2


def test_feedback_strengthens_the_input_of_the_second_pass():
    block = rru.RingedBlock(32, 32)
    x = torch.rand(1, 32, 6, 6)
    with torch.no_grad():
        block.res_conv_back[0].weight.zero_()  # a sigmoid of 0: the second pass sees one and a half times the input
        once = torch.relu(block.conv["conv"](1.5 * x) + block.res_conv(1.5 * x))
        torch.testing.assert_close(block(x), once)
