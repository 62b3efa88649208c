"""NOI1, Splicebuster and Noisesniffer on regions from another source, beside recorded results of other programs."""

import cv2
import numpy as np
import pytest
from scipy.fft import dctn
from scipy.stats import binom
from sklearn.metrics import roc_auc_score

import models
from models.classical import noi1, noisesniffer, splicebuster
from models.image import ForensicImage, NotApplicable

LARGE = 800


def noisy(photo, mask, outside, inside):
    """A photo of moderate contrast with white noise of two levels (standard deviations, 0-255 scale)."""
    smooth = 40 + 0.6 * cv2.GaussianBlur(photo.astype(np.float32), (0, 0), 3)
    std = np.where(mask, inside, outside)[..., None]
    values = smooth + np.random.default_rng(1).normal(0, 1, photo.shape) * std
    return ForensicImage(np.clip(np.rint(values), 0, 255).astype(np.uint8))


def auc(name, image, mask):
    return roc_auc_score(mask.ravel(), models.build(name).localize(image).values.ravel())


@pytest.fixture(scope="module")
def step(host, forged):
    return noisy(host, forged, 6, 2)


@pytest.fixture(scope="module")
def large(host):
    return cv2.resize(host, (LARGE, LARGE), interpolation=cv2.INTER_NEAREST)


@pytest.fixture(scope="module")
def large_forged():
    mask = np.zeros((LARGE, LARGE), bool)
    mask[300:550, 400:640] = True
    return mask


@pytest.mark.parametrize("outside, inside", [(2, 6), (6, 2)])
def test_noi1_finds_noise_steps_in_both_directions(outside, inside, host, forged):
    assert auc("noi1", noisy(host, forged, outside, inside), forged) > 0.9


def test_noi1_with_sign_takes_the_noisier_region_for_forged(host, forged):
    localizer = models.build("noi1", signed=True)
    for outside, inside, expected in [(2, 6, 1), (6, 2, 0)]:
        score = localizer.localize(noisy(host, forged, outside, inside))
        assert roc_auc_score(forged.ravel(), score.values.ravel()) == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize("name", ["noi1", "noisesniffer"])
def test_even_noise_scores_near_chance(name, host, checkerboard):
    assert abs(auc(name, noisy(host, np.zeros_like(checkerboard), 4, 4), checkerboard) - 0.5) < 0.07


@pytest.mark.parametrize("noise_std", [2.0, 5.0, 10.0])
def test_noi1_levels_are_those_of_the_noise(noise_std):
    ramp = np.add.outer(np.linspace(60, 120, 256), np.linspace(0, 60, 256))
    luminance = (ramp + np.random.default_rng(0).normal(0, noise_std, ramp.shape)).astype(np.float32)
    assert np.median(noi1.block_noise(luminance, 8)) == pytest.approx(noise_std, rel=0.05)


def test_noi1_agrees_with_pyifd(step, recorded):
    """pyIFD rounds another luminance (OpenCV's), which is where the difference comes from."""
    ours = noi1.block_noise(np.rint(step.luminance), 8)
    np.testing.assert_allclose(ours, recorded["NOI1_6_2"], atol=0.3)
    assert np.corrcoef(ours.ravel(), recorded["NOI1_6_2"].ravel())[0, 1] > 0.999


def test_noi1_filter_is_orthogonal_with_eight_vanishing_moments():
    taps = np.array(noi1.SCALING_FILTER)
    assert taps.sum() == pytest.approx(np.sqrt(2))
    for shift in range(0, 16, 2):
        assert taps[shift:] @ taps[: 16 - shift] == pytest.approx(float(shift == 0), abs=1e-9)
    wavelet = taps[::-1] * (-1.0) ** np.arange(16)
    for moment in range(8):
        assert wavelet @ np.linspace(-1, 1, 16) ** moment == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("outside, inside", [(6, 2), (2, 6)])
def test_splicebuster_finds_another_source(large, large_forged, outside, inside):
    assert auc("splicebuster", noisy(large, large_forged, outside, inside), large_forged) > 0.9


def test_splicebuster_scores_one_source_near_chance(large, large_forged):
    squares = np.add.outer(np.arange(LARGE) // 100, np.arange(LARGE) // 100) % 2 == 0
    assert abs(auc("splicebuster", noisy(large, large_forged, 4, 4), squares) - 0.5) < 0.1


def test_splicebuster_features_equal_the_port(step, recorded):
    """photoholmes' features of two blocks; it numbers the classes of co-occurrences otherwise, so sorted."""
    features, valid = splicebuster.block_features(step.luminance, 128, 2.0)
    assert features.shape[:2] == tuple(recorded["splicebuster_shape"].astype(int)) and valid.min() == 1
    ours = np.sort(features[[0, 20], [0, 30]], axis=1)
    np.testing.assert_allclose(ours, recorded["splicebuster_features"], atol=1e-3)


def test_splicebuster_map_goes_with_the_port(large, large_forged, recorded):
    ours = models.build("splicebuster").localize(noisy(large, large_forged, 6, 2)).values[4::8, 4::8]
    assert np.corrcoef(ours.ravel(), recorded["splicebuster_map"].ravel())[0, 1] > 0.95


def test_splicebuster_scaled_is_the_squared_distance_within_0_and_1(large, large_forged):
    image = noisy(large, large_forged, 6, 2)
    plain, scaled = (models.build("splicebuster", scaled=given).localize(image) for given in (False, True))
    assert (plain.kind, scaled.kind) == ("score", "probability")
    assert scaled.values.min() == 0 and scaled.values.max() == 1
    squared = plain.values[::8, ::8] ** 2  # between the centres of blocks either is interpolated on its own
    assert np.corrcoef(squared.ravel(), scaled.values[::8, ::8].ravel())[0, 1] > 0.999


def test_splicebuster_classes_join_reversals_and_negatives():
    classes = splicebuster.SYMMETRIC.reshape(3, 3, 3, 3)
    assert len(np.unique(classes)) == 25
    np.testing.assert_array_equal(classes, classes[::-1, ::-1, ::-1, ::-1])
    np.testing.assert_array_equal(classes, classes.transpose(3, 2, 1, 0))


def test_splicebuster_fit_finds_the_gaussian_among_outliers():
    rng = np.random.default_rng(0)
    inlier = rng.normal(0, 1, (900, 3)) @ np.diag([1, 2, 0.5]) + [3, -1, 2]
    outlier = rng.uniform(-40, 40, (100, 3))
    model = splicebuster.fit(np.concatenate([inlier, outlier]), 0.01, 11.0, 5)
    np.testing.assert_allclose(model.mean, [3, -1, 2], atol=0.2)
    np.testing.assert_allclose(model.factor @ model.factor.T, np.cov(inlier.T), atol=0.4)
    brute = [(p - model.mean) @ np.linalg.inv(model.factor @ model.factor.T) @ (p - model.mean) for p in outlier]
    np.testing.assert_allclose(model.squared_distance(outlier), brute, rtol=1e-6)


def test_splicebuster_takes_small_blocks_in_narrow_photos():
    assert splicebuster.block_size(600, 800) == 128
    assert splicebuster.block_size(130, 800) == 64
    assert splicebuster.block_size(100, 100) == 64
    with pytest.raises(NotApplicable, match="84x84"):
        splicebuster.block_size(80, 800)


def test_noisesniffer_finds_the_region_with_less_noise(step, forged):
    score = models.build("noisesniffer").localize(step)
    assert roc_auc_score(forged.ravel(), score.values.ravel()) > 0.9
    decided = score.values > score.fixed_threshold
    assert decided.any() and (decided & forged).sum() > 0.9 * decided.sum()


def test_noisesniffer_counts_and_decisions_equal_the_authors_program(step, recorded):
    """It breaks ties between equally bright, calm or noisy blocks in another order."""
    localizer = noisesniffer.Noisesniffer(macroblock=128, overlap=1)
    taken, least = (noisesniffer.window_counts(p, step.shape, 128, 1) for p in localizer.blocks(step.rgb))
    theirs = recorded["noisesniffer_taken"], recorded["noisesniffer_least"]
    np.testing.assert_allclose(taken, theirs[0], rtol=0.02, atol=15)
    np.testing.assert_allclose(least, theirs[1], rtol=0.02, atol=15)
    ours = noisesniffer.log_false_alarms(taken, least, 0.3) < 0
    np.testing.assert_array_equal(ours, recorded["noisesniffer_decided"] > 0)
    assert 0 < ours.sum() < ours.size


def test_noisesniffer_statistics_equal_scipys(step):
    channel = step.rgb[100:120, 200:230, 1]
    total, energy, spread = noisesniffer.block_statistics(channel)
    assert total.shape == (16, 26)
    block = channel[7:12, 11:16].astype(float)
    coefficients = dctn(block, norm="ortho")
    low = sum(coefficients[i, j] ** 2 for i in range(5) for j in range(5) if 0 < i + j < 5)
    assert total[7, 11] == block.sum()
    assert energy[7, 11] == pytest.approx(low, rel=1e-4)
    assert spread[7, 11] == pytest.approx(625 * block.var())


def test_noisesniffer_false_alarms_are_the_binomial_tail():
    taken, least = np.array([[2500, 0]]), np.array([[1500, 0]])
    ours = noisesniffer.log_false_alarms(taken, least, 0.3)
    tail = binom.pmf(np.arange(60, 102), 101, 0.3).sum()
    np.testing.assert_allclose(ours, np.log10([[25 * 2 * tail, 25 * 2]]))
