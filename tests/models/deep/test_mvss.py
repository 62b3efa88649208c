"""MVSS-Net: official preprocessing, the localizer with a narrow network, and the constrained convolution."""

import cv2
import numpy as np
import pytest
import torch

import models
from models.deep import mvss
from models.deep.parts.bayar import BayarConv2d, constrained
from models.deep.parts.sobel import SobelNorm


@pytest.fixture
def localizer(tiny_weights):
    return models.build("mvss-net", weights=tiny_weights("mvss-net"))


def test_input_is_in_opencvs_channel_order_with_the_statistics_of_rgb(photo):
    rgb = photo(40, 60).rgb
    as_read = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    resized = cv2.resize(as_read, (512, 512)) / 255.0
    expected = (resized - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    ours = mvss.network_input(rgb)
    assert ours.shape == (1, 3, 512, 512) and ours.dtype == torch.float32
    np.testing.assert_allclose(ours[0].permute(1, 2, 0), expected, atol=1e-5)


@pytest.mark.parametrize(("height", "width", "grey"), [(1, 1, False), (9, 40, True), (70, 50, False)])
def test_localizes_images_of_any_size(localizer, photo, height, width, grey):
    score = localizer.localize(photo(height, width, grey))
    assert score.kind == "probability" and score.values.shape == (height, width)
    assert score.values.min() >= 0 and score.values.max() <= score.image_score <= 1


def test_map_and_score_are_the_networks(localizer, photo):
    image = photo(512, 512)
    with torch.inference_mode():
        _, logits = localizer.network(mvss.network_input(image.rgb))
    expected = torch.sigmoid(logits[0, 0]).numpy()
    score = localizer.localize(image)
    np.testing.assert_array_equal(score.values, expected)
    assert np.ptp(expected) > 1e-3 and score.image_score == expected.max()


def test_edges_have_a_quarter_of_the_size(localizer):
    edges, logits = localizer.network(torch.zeros(2, 3, 64, 96))
    assert edges.shape == (2, 1, 16, 24) and logits.shape == (2, 1, 64, 96)


def test_constrained_kernels_are_prediction_errors():
    torch.manual_seed(0)
    kernels = constrained(torch.rand(3, 2, 5, 5))
    assert (kernels[:, :, 2, 2] == -1).all()
    torch.testing.assert_close(kernels.sum((2, 3)), torch.zeros(3, 2), atol=1e-5, rtol=0)
    torch.testing.assert_close(constrained(kernels), kernels)
    flat = BayarConv2d(1, 3)(torch.full((1, 1, 9, 9), 7.0))
    torch.testing.assert_close(flat[:, :, 2:-2, 2:-2], torch.zeros(1, 3, 5, 5), atol=1e-5, rtol=0)


def test_sobel_answers_to_edges_of_its_direction_alone():
    ramp = torch.arange(8.0).expand(1, 2, 8, 8)  # rises along x
    along, across = SobelNorm(2, "x")[0](ramp), SobelNorm(2, "y")[0](ramp)
    torch.testing.assert_close(along[:, :, 1:-1, 1:-1], torch.full((1, 1, 6, 6), -16.0))
    torch.testing.assert_close(across[:, :, 1:-1, 1:-1], torch.zeros(1, 1, 6, 6))
