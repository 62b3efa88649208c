"""CFA1 and CFA2 on constructed breaks of the demosaicing trace, beside recorded maps of pyIFD 0.0.3."""

import cv2
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

import models
from models.classical import cfa1, cfa2
from models.image import ForensicImage, NotApplicable

NAMES = ["cfa1", "cfa2"]


def noisy(rgb, seed):
    return rgb + np.random.default_rng(seed).normal(0, 2, rgb.shape)


def demosaiced(rgb, pattern, seed):
    """A camera's picture: sensor noise, one sample a pixel (Bayer pattern), bilinear interpolation, 8 bits."""
    noise = noisy(rgb, seed).astype(np.float32)
    (r, c), (i, j) = cfa2.BAYER_PATTERNS[pattern]
    sites = np.zeros(rgb.shape, np.float32)
    sites[r::2, c::2, 0] = sites[i::2, j::2, 2] = sites[r::2, j::2, 1] = sites[i::2, c::2, 1] = 1
    sparse = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]], np.float32) / 4
    dense = np.array([[0, 1, 0], [1, 4, 1], [0, 1, 0]], np.float32) / 4
    planes = [
        cv2.filter2D(noise[:, :, k] * sites[:, :, k], -1, kernel, borderType=cv2.BORDER_REFLECT_101)
        for k, kernel in enumerate((sparse, dense, sparse))
    ]
    return np.clip(np.floor(np.stack(planes, 2) + 0.5), 0, 255).astype(np.uint8)


def without_trace(host, donor, mask, pattern="RGGB"):
    region = np.clip(np.rint(noisy(donor, 9)), 0, 255).astype(np.uint8)
    return ForensicImage(np.where(mask[..., None], region, demosaiced(host, pattern, 0)))


def other_phase(host, donor, mask):
    return ForensicImage(np.where(mask[..., None], demosaiced(donor, "GRBG", 3), demosaiced(host, "RGGB", 0)))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("construction", [without_trace, other_phase])
def test_break_of_the_demosaicing_trace_is_found(name, construction, host, donor, forged):
    score = models.build(name).localize(construction(host, donor, forged))
    assert roc_auc_score(forged.ravel(), score.values.ravel()) > 0.95


@pytest.mark.parametrize("name", NAMES)
def test_authentic_camera_picture_scores_near_chance(name, host, checkerboard):
    score = models.build(name).localize(ForensicImage(demosaiced(host, "RGGB", 0)))
    assert abs(roc_auc_score(checkerboard.ravel(), score.values.ravel()) - 0.5) < 0.05


@pytest.mark.parametrize("pattern", sorted(cfa2.BAYER_PATTERNS))
def test_bayer_pattern_is_recognised(pattern, host):
    image = ForensicImage(demosaiced(host, pattern, 0))
    assert models.build("cfa2").localize(image).extras["pattern"] == pattern
    (red_row, red_column), _ = cfa2.BAYER_PATTERNS[pattern]
    green_at_origin = (red_row + red_column) % 2 == 1
    assert models.build("cfa1").localize(image).extras["phase"] == (0 if green_at_origin else 1)


@pytest.mark.parametrize("construction", [without_trace, other_phase])
def test_cfa1_agrees_with_pyifd(construction, host, donor, forged, pyifd_maps):
    ours = models.build("cfa1", block=8).localize(construction(host, donor, forged)).values
    theirs = pyifd_maps[f"CFA1_{construction.__name__}"]
    centres = ours.reshape(60, 8, 60, 8)[:, 3:5, :, 3:5].mean((1, 3))
    assert np.corrcoef(centres.ravel(), theirs.ravel())[0, 1] > 0.999


@pytest.mark.parametrize("construction", [without_trace, other_phase])
def test_reinterpolation_errors_agree_with_pyifd(construction, host, donor, forged, pyifd_maps):
    """pyIFD's map is green's share of the error; blocks at the border differ, where it interpolates from zeros."""
    error = cfa2.reinterpolation_error(construction(host, donor, forged).rgb, "RGGB", 16)
    total = error.sum(-1)
    share = np.divide(error[:, :, 1], total, out=np.zeros_like(total), where=total > 0)[1:-1, 1:-1]
    theirs = pyifd_maps[f"CFA2_{construction.__name__}"][1:-1, 1:-1]
    assert np.corrcoef(share.ravel(), theirs.ravel())[0, 1] > 0.99


def test_cfa1_feature_equals_a_loop_over_pixels(host):
    green = host[100:124, 100:124, 1].astype(np.float64)
    feature, defined = cfa1.block_feature(green.astype(np.uint8))
    padded = np.pad(green, 1, "edge")
    residual = np.pad(
        (padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]) / 4 - green, 3, "reflect"
    )
    window = np.exp(-0.5 * np.add.outer(np.linspace(-2, 2, 7) ** 2, np.linspace(-2, 2, 7) ** 2)) / (2 * np.pi)
    total = {0: 0.0, 1: 0.0}
    for y in range(8, 16):
        for x in range(8, 16):
            weights = [(window[i, j], residual[y + i, x + j]) for i in range(7) for j in range(7) if (i + j) % 2 == 0]
            norm = sum(w for w, _ in weights)
            mean = sum(w * v for w, v in weights) / norm
            square = sum(w * v * v for w, v in weights) / norm
            variance = (square - mean**2) / (1 - sum(w * w for w, _ in weights))
            total[(y + x) % 2] += np.log(max(variance, 1e-3))
    assert defined[1, 1]
    assert feature[1, 1] == pytest.approx(total[0] - total[1], rel=1e-3, abs=1e-3)


def test_flat_image_has_no_demosaicing_residual():
    with pytest.raises(NotApplicable, match="flat or saturated"):
        models.build("cfa1").localize(ForensicImage(np.full((64, 64, 3), 255, np.uint8)))
