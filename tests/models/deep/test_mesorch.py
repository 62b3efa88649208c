"""Mesorch: its frequencies against SciPy's DCT, and the localizers with small, narrow networks."""

import cv2
import numpy as np
import pytest
import scipy.fft
import torch
import torch.nn.functional as F

import models
from models.deep import mesorch
from models.deep.parts.imagenet import normalized_square
from models.image import ForensicImage

NAMES = ("mesorch", "mesorch-p")


@pytest.fixture
def narrow(tiny_weights):
    return {name: tiny_weights(name) for name in ("mesorch", "mesorch-p")}


def scaled(x: np.ndarray) -> np.ndarray:
    return (x - x.min()) / (x.max() - x.min())


@pytest.mark.parametrize("shape", [(64, 96), (50, 41)])
def test_frequencies_are_those_of_scipys_transform(shape):
    x = torch.randn(2, 3, *shape, generator=torch.Generator().manual_seed(0))
    high, low = mesorch.high_frequencies(x), mesorch.low_frequencies(x)
    rows, columns = shape
    for image, ours_high, ours_low in zip(x.double().numpy(), high.numpy(), low.numpy(), strict=True):
        coefficients = scipy.fft.dctn(image, axes=(1, 2), norm="ortho")
        without_low, without_high = coefficients.copy(), coefficients.copy()
        without_low[:, : int(0.05 * rows), : int(0.05 * columns)] = 0
        without_high[:, rows - int(0.95 * rows) :, columns - int(0.95 * columns) :] = 0
        for ours, theirs in ((ours_high, without_low), (ours_low, without_high)):
            np.testing.assert_allclose(ours, scaled(scipy.fft.idctn(theirs, axes=(1, 2), norm="ortho")), atol=1e-4)


def test_frequencies_of_nothing_are_finite():
    for filtered in (mesorch.high_frequencies, mesorch.low_frequencies):
        assert torch.isfinite(filtered(torch.zeros(1, 3, 64, 64))).all()


def test_input_is_resized_in_eight_bits_and_normalized(photo):
    rgb = photo(40, 60).rgb
    expected = (cv2.resize(rgb, (512, 512)) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    ours = normalized_square(rgb, 512)
    assert ours.shape == (1, 3, 512, 512) and ours.dtype == torch.float32
    np.testing.assert_allclose(ours[0].permute(1, 2, 0), expected, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("height", "width", "grey"), [(1, 1, False), (9, 40, True), (70, 50, False)])
def test_localizes_images_of_any_size(narrow, photo, name, height, width, grey):
    score = models.build(name, weights=narrow[name]).localize(photo(height, width, grey))
    assert score.kind == "probability" and score.values.shape == (height, width)
    assert score.values.min() >= 0 and score.values.max() <= 1


@pytest.mark.parametrize("name", NAMES)
def test_the_map_is_the_networks_enlarged_with_corners_aligned(narrow, photo, name):
    localizer = models.build(name, weights=narrow[name])
    image = photo(64, 64)
    with torch.inference_mode():
        logits = localizer.network(normalized_square(image.rgb, 64))
    assert logits.shape == (1, 1, 16, 16)
    values = localizer.localize(image).values
    corners = np.ix_([0, -1], [0, -1])
    np.testing.assert_allclose(values[corners], logits.sigmoid()[0, 0].numpy()[corners], atol=1e-6)
    np.testing.assert_allclose(
        values, F.interpolate(logits, (64, 64), mode="bilinear", align_corners=True)[0, 0].sigmoid()
    )
    assert np.ptp(values) > 1e-3


def test_a_flat_photo_gets_a_map(narrow):
    flat = ForensicImage(np.full((20, 30, 3), 128, np.uint8))
    assert models.build("mesorch", weights=narrow["mesorch"]).localize(flat).values.shape == (20, 30)


def test_weights_of_the_maps_add_up_to_one():
    gate = mesorch.Gate(9, 8, 6)
    weights = gate(torch.randn(1, 9, 32, 48, generator=torch.Generator().manual_seed(0)))
    assert weights.shape == (1, 8, 8, 12)
    torch.testing.assert_close(weights.sum(1), torch.ones(1, 8, 12))
