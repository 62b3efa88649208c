"""NOI2, NOI4 and NOI5 on constructed steps of the noise level, beside recorded maps of pyIFD 0.0.3."""

import cv2
import numpy as np
import pytest
from scipy.signal import medfilt
from sklearn.metrics import roc_auc_score

import models
from models.classical import noi2, noi4, noi5
from models.image import ForensicImage

NAMES = ["noi2", "noi4", "noi5"]


def noise_step(host, mask, outside, inside):
    """A photo of moderate contrast and texture with white noise of two levels (standard deviations, 0-255 scale)."""
    smooth = 40 + 0.6 * cv2.GaussianBlur(host.astype(np.float32), (0, 0), 3)
    std = np.where(mask, inside, outside)[..., None]
    values = smooth + np.random.default_rng(1).normal(0, 1, host.shape) * std
    return ForensicImage(np.clip(np.rint(values), 0, 255).astype(np.uint8))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("outside, inside", [(2, 6), (6, 2)])
def test_noise_step_is_found_in_both_directions(name, outside, inside, host, forged):
    score = models.build(name).localize(noise_step(host, forged, outside, inside))
    assert roc_auc_score(forged.ravel(), score.values.ravel()) > 0.9


@pytest.mark.parametrize("name", NAMES)
def test_even_noise_scores_near_chance(name, host, forged, checkerboard):
    score = models.build(name).localize(noise_step(host, forged, 4, 4))
    assert abs(roc_auc_score(checkerboard.ravel(), score.values.ravel()) - 0.5) < 0.07


@pytest.mark.parametrize("noise_std", [2.0, 5.0, 10.0])
def test_estimated_levels_are_those_of_the_noise(noise_std):
    ramp = np.add.outer(np.linspace(60, 120, 256), np.linspace(0, 60, 256))
    luminance = (ramp + np.random.default_rng(0).normal(0, noise_std, ramp.shape)).astype(np.float32)
    assert np.sqrt(np.median(noi2.noise_variance(luminance))) == pytest.approx(noise_std, rel=0.1)
    assert np.median(noi5.noise_levels(np.rint(luminance))) == pytest.approx(noise_std, rel=0.15)


def test_noi2_equals_the_closed_form_written_out(host):
    luminance = ForensicImage(host).luminance[:80, :80]
    ours = noi2.noise_variance(luminance, filter_size=2, cell=4, window_cells=5)
    haar = np.array([[1, 1], [1, -1]]) / np.sqrt(2)
    terms = []
    for u, v in ((0, 1), (1, 0), (1, 1)):
        kernel = np.outer(haar[u], haar[v])
        channel = cv2.filter2D(luminance.astype(float), cv2.CV_64F, kernel, borderType=cv2.BORDER_REFLECT_101)
        window = channel[32:52, 32:52]  # five cells of four pixels around cell (10, 10)
        variance = window.var()
        kurtosis = ((window - window.mean()) ** 4).mean() / variance**2 - 3
        terms.append((np.sqrt(max(kurtosis, 0)), 1 / variance))
    root, inverse = np.array(terms).T
    limit = (root.mean() * (inverse**2).mean() - (root * inverse).mean() * inverse.mean()) / inverse.var()
    expected = {1 / inverse.mean(), (1 - root.mean() / limit) / inverse.mean()}
    assert any(ours[10, 10] == pytest.approx(value, rel=1e-3) for value in expected)


def test_noi4_residual_equals_scipy_and_pyifd(host, forged, pyifd_maps):
    rgb = noise_step(host, forged, 2, 6).rgb
    ours = noi4.median_residual(rgb)
    expected = np.mean([np.abs(c - medfilt(c, 3)) for c in rgb.astype(float).transpose(2, 0, 1)], 0)
    np.testing.assert_allclose(ours[1:-1, 1:-1], expected[1:-1, 1:-1], atol=1e-5)
    theirs = pyifd_maps["NOI4_2_6"] / 10  # every eighth pixel; pyIFD multiplies by 10 and cuts to whole numbers
    np.testing.assert_allclose(ours[4::8, 4::8], theirs, atol=0.11)


def test_noi5_agrees_with_pyifd(host, forged, pyifd_maps):
    ours = noi5.noise_levels(np.rint(noise_step(host, forged, 2, 6).luminance))
    assert np.corrcoef(ours.ravel(), pyifd_maps["NOI5_2_6"].ravel())[0, 1] > 0.95


def test_noi2_goes_with_pyifd(host, forged, pyifd_maps):
    """Loosely: pyIFD smooths the picture before it looks for noise and sums its moments in single precision."""
    ours = np.sqrt(noi2.noise_variance(noise_step(host, forged, 2, 6).luminance))[::2, ::2]
    assert np.corrcoef(ours.ravel(), np.sqrt(pyifd_maps["NOI2_2_6"]).ravel())[0, 1] > 0.8


def test_two_clusters_are_the_best_of_all_splits():
    values = np.concatenate([np.random.default_rng(0).normal(2, 0.5, 30), np.random.default_rng(1).normal(5, 0.5, 12)])
    ordered = np.sort(values)
    best = min(range(1, 42), key=lambda k: ordered[:k].var() * k + ordered[k:].var() * (42 - k))
    assert noi5._centres(values) == pytest.approx((ordered[:best].mean(), ordered[best:].mean()))
