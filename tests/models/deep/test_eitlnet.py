"""EITLNet with thin transformers and small tiles."""

import numpy as np
import pytest
import torch

import models
from models.deep import eitlnet


@pytest.fixture
def thin(tiny_weights):
    return tiny_weights("eitlnet")


@pytest.mark.parametrize(("height", "width", "tiles"), [(1, 1, 1), (20, 70, 2), (64, 64, 1), (100, 65, 6)])
@pytest.mark.parametrize("grey", [False, True])
def test_localizes_images_of_any_size(thin, photo, height, width, tiles, grey):
    score = models.build("eitlnet", weights=thin).localize(photo(height, width, grey))
    assert score.kind == "probability" and score.values.shape == (height, width)
    assert score.values.min() >= 0 and score.values.max() <= 1
    assert score.extras["tiles"] == tiles


def test_one_whole_tile_is_the_network_on_standardised_pixels(thin, photo):
    localizer, image = models.build("eitlnet", weights=thin), photo(64, 64)
    with torch.inference_mode():
        x = torch.tensor(image.rgb.tolist()).permute(2, 0, 1)[None] / 255
        x = (x - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor([0.229, 0.224, 0.225])[
            :, None, None
        ]
        logits = localizer.network(x)
    expected = (logits[0, 1] - logits[0, 0]).sigmoid()
    np.testing.assert_allclose(localizer.localize(image).values, expected, atol=1e-5)


def test_a_letterboxed_tile_keeps_its_proportions_in_the_middle_of_grey():
    rgb = np.full((16, 32, 3), (10, 200, 90), np.uint8)
    square, area = eitlnet.letterboxed(rgb, 64), eitlnet.letterbox_area(16, 32, 64)
    assert square.shape == (64, 64, 3) and area == (slice(16, 48), slice(0, 64))
    assert (square[area] == rgb[0, 0]).all()
    assert (np.delete(square, np.s_[16:48], 0) == 128).all()
    same = eitlnet.letterboxed(np.arange(64 * 64 * 3, dtype=np.uint8).reshape(64, 64, 3), 64)
    np.testing.assert_array_equal(same.ravel(), np.arange(64 * 64 * 3, dtype=np.uint8))
    assert eitlnet.letterbox_area(64, 64, 64) == (slice(0, 64), slice(0, 64))


def test_coordinate_attention_weighs_by_row_and_column():
    layer = eitlnet.CoordAtt(2).eval()
    x = torch.randn(1, 4, 3, 5)
    with torch.no_grad():
        shared = torch.nn.Sequential(layer.conv1, layer.bn1, torch.nn.Hardswish())
        for row in range(3):
            for column in range(5):
                by_row = layer.conv_h(shared(x[:, :, row].mean(2)[..., None, None])).sigmoid()
                by_column = layer.conv_w(shared(x[:, :, :, column].mean(2)[..., None, None])).sigmoid()
                expected = x[0, :, row, column] * (by_row * by_column).flatten()
                torch.testing.assert_close(layer(x)[0, :, row, column], expected)
