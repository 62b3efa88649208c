"""MMFusion with thin transformers, and the noise views that it shares with ForMa."""

import numpy as np
import pytest
import torch

import models
from models.deep import mmfusion
from models.deep.parts import cmx, dncnn, mit, modalities
from models.deep.parts.srm import KERNELS, TruncatedSRM


@pytest.fixture
def thin(tiny_weights):
    return tiny_weights("mmfusion")


@pytest.mark.parametrize(("height", "width"), [(1, 1), (20, 70), (33, 45), (64, 96)])
@pytest.mark.parametrize("grey", [False, True])
def test_localizes_images_of_any_size(thin, photo, height, width, grey):
    score = models.build("mmfusion", weights=thin).localize(photo(height, width, grey))
    assert score.kind == "probability" and score.values.shape == (height, width)
    assert score.values.min() >= 0 and score.values.max() <= 1 and 0 <= score.image_score <= 1
    assert score.extras["confidence"].shape == (height, width)
    assert score.extras["padded"] == (min(height, width) < 32) and not score.extras["shrunk"]


def test_a_photo_above_2048_pixels_is_seen_smaller_and_its_map_enlarged(monkeypatch, thin, photo):
    assert mmfusion.limited_size(4000, 3001) == (2048, 1537)  # 1536.5 rounds to even
    assert mmfusion.limited_size(10, 2048) == (10, 2048)
    monkeypatch.setattr(mmfusion, "LARGEST", 50)
    score = models.build("mmfusion", weights=thin).localize(photo(100, 80))
    assert score.values.shape == score.extras["confidence"].shape == (100, 80) and score.extras["shrunk"]


def test_pixels_are_divided_by_256_and_seen_by_both_networks(thin, photo):
    localizer, image = models.build("mmfusion", weights=thin), photo(32, 40)
    with torch.inference_mode():
        x = torch.tensor(image.rgb.tolist()).permute(2, 0, 1)[None] / 256
        found = localizer.network.fusion(x, localizer.network.extractor(x))
        share = (found.logits[0, 1] - found.logits[0, 0]).sigmoid()
    score = localizer.localize(image)
    np.testing.assert_allclose(score.values, share, atol=1e-6)
    assert score.image_score == pytest.approx(found.detection.sigmoid().item(), abs=1e-6)


def test_a_large_image_seen_in_patches_gives_what_the_whole_gives(monkeypatch, thin, photo):
    localizer, image = models.build("mmfusion", weights=thin), photo(90, 130)
    whole = localizer.localize(image)
    monkeypatch.setattr(dncnn, "PATCH_SIDE", 40)
    monkeypatch.setattr(mit, "STRIP", 100)
    monkeypatch.setattr(cmx, "PATCH", 8)
    monkeypatch.setattr(modalities, "PATCH_SIDE", 40)
    np.testing.assert_allclose(localizer.localize(image).values, whole.values, atol=1e-5)
    assert whole.values.std() > 0


def test_every_normalization_of_the_network_but_the_embeddings_has_the_released_epsilon():
    eps = {m.eps for m in mmfusion.MMFusion(mit.TINY, 8).modules() if hasattr(m, "eps")}
    assert eps == {1e-3}


def test_residuals_are_sums_over_neighbours_and_channels_cut_at_two():
    rgb = torch.rand(1, 3, 6, 7) * 8
    found, grey = TruncatedSRM()(rgb)[0], rgb[0].sum(0)
    row, column = 3, 3
    for kernel, residual in zip(KERNELS, found, strict=True):
        expected = sum(kernel[i, j] * grey[row + i - 2, column + j - 2] for i in range(5) for j in range(5))
        assert residual[row, column] == pytest.approx(expected.clamp(-2, 2).item(), abs=1e-5)
    assert found.abs().max() == 2
    assert KERNELS.sum((1, 2)).abs().max() < 1e-6
