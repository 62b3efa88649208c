"""HiFi-Net: its odd parts against plain computations, and both localizers with narrow networks."""

import numpy as np
import pytest
import torch
from PIL import Image

import models
from models.deep import hifi
from models.deep.parts import hrnet
from models.deep.parts.tiles import Tiling
from models.image import NotApplicable


@pytest.fixture
def narrow(tiny_weights):
    return {name: tiny_weights(name) for name in ("hifi-net", "hifi-net-loc")}


def test_partial_convolution_equals_a_loop_over_windows(random_weights):
    layer = hifi.PartialConv(3, 2)
    layer.load_state_dict(random_weights(layer))
    torch.nn.init.constant_(layer.mask_conv.weight, 1)
    x, valid = torch.randn(1, 3, 7, 9), (torch.rand(1, 3, 7, 9) > 0.3).float()
    valid[:, :, :3, :3] = 0
    with torch.inference_mode():
        found, new = layer(x * valid, valid)
        for channel in range(2):
            for i in range(3):
                for j in range(4):
                    window = (..., slice(2 * i, 2 * i + 3), slice(2 * j, 2 * j + 3))
                    amount = valid[window].sum()
                    total = (x * valid)[window][0].mul(layer.input_conv.weight[channel]).sum()
                    expected = total / amount + layer.input_conv.bias[channel] if amount > 0 else 0.0
                    assert float(found[0, channel, i, j]) == pytest.approx(float(expected), abs=1e-5)
                    assert new[0, channel, i, j] == (amount > 0)
    assert new[0, 0, 0, 0] == 0


def test_softmax_over_positive_logits():
    found = hifi.positive_softmax(torch.tensor([[1.0, -2.0, 2.0], [-1.0, -2.0, -3.0]]))
    e = np.exp(1)
    np.testing.assert_allclose(found, [[1 / (1 + e), 0, e / (1 + e)], [1 / 3, 1 / 3, 1 / 3]], rtol=1e-6)


def test_finer_levels_are_raised_by_their_parents(narrow):
    head = hifi.HiFiNet.tiny().eval().head
    head.load_state_dict({k.removeprefix("head."): v for k, v in narrow["hifi-net"].items() if k.startswith("head.")})
    pyramid = [torch.rand(1, width, 64 >> level, 64 >> level) for level, width in enumerate((3, 4, 5, 6))]
    with torch.inference_mode():
        levels = head(pyramid, torch.rand(1, 3, 64, 64)).levels
        raw = head.branch_cls_level_3(torch.cat([hifi.resize(pyramid[3], (16, 16)), pyramid[2]], 1))[0]
        positive = [max(float(x), 0) for x in levels[3][0]]
        weights = [np.exp(x) if x > 0 else 0.0 for x in positive]
        likely = np.array(weights) / sum(weights) if any(weights) else np.full(3, 1 / 3)
    assert [x.shape[1] for x in levels] == [14, 7, 5, 3]
    np.testing.assert_allclose(levels[2][0], raw.numpy() * (1 + likely[[0, 1, 1, 2, 2]]), rtol=1e-4)


def test_distance_is_the_euclidean_one_from_the_centre():
    sphere = hifi.Sphere(18)
    with torch.no_grad():
        sphere.center.copy_(torch.arange(18.0))
    metric = torch.randn(1, 18, 2, 3)
    expected = np.linalg.norm(metric[0].numpy() - np.arange(18.0)[:, None, None], axis=0)
    np.testing.assert_allclose(sphere(metric)[0], expected, rtol=1e-5)


@pytest.mark.parametrize(("height", "width", "grey"), [(1, 1, False), (9, 30, True), (80, 71, False)])
def test_distance_map_of_images_of_any_size(narrow, photo, height, width, grey):
    localizer = models.build("hifi-net", weights=narrow["hifi-net"])
    image = photo(height, width, grey)
    score = localizer.localize(image)
    square = np.asarray(Image.fromarray(image.rgb).resize((64, 64), Image.Resampling.BICUBIC))
    with torch.inference_mode():
        prediction, distance = localizer.network(torch.from_numpy(square / np.float32(255)).permute(2, 0, 1)[None])
    assert score.kind == "logit" and score.values.shape == (height, width)
    assert score.values.min() >= distance.min() - 2.3 - 1e-4 and score.values.max() <= distance.max() - 2.3 + 1e-4
    assert score.image_score == pytest.approx(1 - float(prediction.levels[0].softmax(1)[0, 0]), abs=1e-6)
    assert score.extras["classes"] == [int(x.argmax()) for x in prediction.levels]


def test_localization_weights_see_the_whole_image(narrow, photo):
    localizer = models.build("hifi-net-loc", weights=narrow["hifi-net-loc"])
    for height, width, grey in ((10, 33, True), (50, 41, False)):
        score = localizer.localize(photo(height, width, grey))
        assert score.kind == "probability" and score.values.shape == (height, width)
        assert score.values.min() >= 0 and score.values.max() <= 1
    with pytest.raises(NotApplicable, match="at least 10 pixels"):
        localizer.localize(photo(9, 40))


@pytest.mark.slow
@pytest.mark.parametrize(("height", "width"), [(530, 50), (43, 501)])
def test_tiles_give_the_prediction_of_the_whole(narrow, photo, height, width):
    network = models.build("hifi-net-loc", weights=narrow["hifi-net-loc"]).network
    x = torch.from_numpy(photo(height, width).rgb / np.float32(255)).permute(2, 0, 1)[None]
    margin = hifi.HiFiNetLocalizationLocalizer.memory.tiling.margin
    tiling = Tiling(2 * margin + 128, margin)
    with torch.inference_mode():
        features, from_tiles, near = (
            hrnet.head_features(network.features, x, 64, t) for t in (None, tiling, Tiling(128, 32))
        )
        mask, tiled = network(x).mask, network(x, tiling).mask
    for a, b in zip(features, from_tiles, strict=True):
        torch.testing.assert_close(a, b, atol=2e-5 * float(a.std()), rtol=0)
    assert (near[0] - features[0]).abs().max() > 1e-3 * features[0].std()  # what the margin is needed for
    assert mask.std() > 1e-3
    torch.testing.assert_close(tiled, mask, atol=2e-5, rtol=0)
