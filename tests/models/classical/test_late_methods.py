"""BLK, CAGI, Splicebuster and Noisesniffer: first checks on constructed forgeries and degenerate images."""

import numpy as np
import pytest
from sklearn.datasets import load_sample_image

import models
from bench.image import ForensicImage, NotApplicable, decode_rgb, encode_jpeg
from bench.metrics import evaluate


@pytest.fixture(scope="module")
def photo():
    return np.array(load_sample_image("china.jpg"))


@pytest.fixture(scope="module")
def mask(photo):
    forged = np.zeros(photo.shape[:2], bool)
    forged[120:280, 200:400] = True
    return forged


@pytest.fixture(scope="module")
def noise_step(photo, mask):
    """The forged part lacks the noise of the rest."""
    noise = np.random.default_rng(0).normal(0, 8, photo.shape)
    return np.where(mask[..., None], photo, np.clip(photo + noise, 0, 255).round().astype(np.uint8))


@pytest.fixture(scope="module")
def grid_step(photo, mask):
    """The JPEG grid of the forged part is shifted by (3, 5)."""
    compressed = decode_rgb(encode_jpeg(photo, 60))
    return np.where(mask[..., None], np.roll(compressed, (3, 5), (0, 1)), compressed)


@pytest.mark.parametrize(
    ("name", "trace", "at_least"),
    [
        ("noisesniffer", "noise_step", 0.9),
        ("splicebuster", "noise_step", 0.75),
        ("blk", "grid_step", 0.8),
        ("cagi", "grid_step", 0.8),
    ],
)
def test_finds_the_trace_it_is_made_for(name, trace, at_least, mask, request):
    image = ForensicImage(request.getfixturevalue(trace))
    localizer = models.build(name)
    score = localizer.localize(image)
    assert score.values.shape == image.shape
    assert evaluate(score, mask)["auc"] > at_least
    np.testing.assert_array_equal(score.values, localizer.localize(image).values)


@pytest.mark.parametrize("name", ["blk", "cagi", "cagi-inverse", "splicebuster", "noisesniffer"])
def test_flat_saturated_grey_and_tiny_images(name, photo):
    localizer = models.build(name)
    grey = np.repeat(photo[:160, :200, :1], 3, axis=2)
    for rgb in (np.full((128, 136, 3), 128, np.uint8), np.full((128, 128, 3), 255, np.uint8), grey):
        try:
            values = localizer.localize(ForensicImage(rgb)).values
        except NotApplicable as reason:
            assert str(reason)
        else:
            assert values.shape == rgb.shape[:2] and np.isfinite(values).all()
    with pytest.raises(NotApplicable, match="1x1 pixels"):
        localizer.localize(ForensicImage(np.zeros((1, 1, 3), np.uint8)))
