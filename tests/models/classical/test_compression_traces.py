"""Error levels, JPEG ghosts and grid votes on constructed splices, beside plain loops and recorded results."""

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy.fft import dctn
from scipy.ndimage import uniform_filter
from scipy.stats import binom
from sklearn.metrics import roc_auc_score

import models
from models.classical import ela, ghost, zero
from models.image import ForensicImage, decode_rgb, encode_jpeg


def save(rgb, quality):
    return decode_rgb(encode_jpeg(rgb, quality))


def auc(score, mask):
    return roc_auc_score(mask.ravel(), score.values.ravel())


@pytest.fixture(scope="module")
def photo(host):
    """An authentic image: one compression, at a quality between those of the splices."""
    return ForensicImage(save(host, 85))


@pytest.mark.parametrize("name", ["ela", "ghost", "zero"])
def test_authentic_image_has_no_region(name, photo, checkerboard):
    score = models.build(name).localize(photo)
    assert 0.4 < auc(score, checkerboard) < 0.6


def test_ela_finds_the_region_compressed_less(host, forged):
    noisy = np.clip(host + np.random.default_rng(0).normal(0, 3, host.shape), 0, 255).astype(np.uint8)
    rgb = np.where(forged[:, :, None], noisy, save(noisy, 60))
    assert auc(models.build("ela").localize(ForensicImage(save(rgb, 95))), forged) > 0.9


def test_ela_without_window_is_the_difference_to_pillows_resave(host, tmp_path):
    Image.fromarray(host).save(tmp_path / "again.jpg", quality=75)
    again = np.asarray(Image.open(tmp_path / "again.jpg"))
    expected = np.abs(host.astype(float) - again).mean(axis=2)
    ours = ela.ErrorLevelAnalysis(quality=75, window=1).localize(ForensicImage(host)).values
    np.testing.assert_allclose(ours, expected, atol=1e-4)


def test_ghost_finds_the_region_compressed_more_before(host, forged):
    rgb = np.where(forged[:, :, None], save(host, 60), host)
    score = models.build("ghost").localize(ForensicImage(save(rgb, 90)))
    assert auc(score, forged) > 0.9
    assert score.extras["qualities"][int(np.argmin(score.extras["difference"]))] == 90


def test_ghost_difference_is_the_windowed_square_difference_to_pillows_resave(host, tmp_path):
    Image.fromarray(host).save(tmp_path / "again.jpg", quality=70)
    squared = (host.astype(float) - np.asarray(Image.open(tmp_path / "again.jpg"))) ** 2
    expected = uniform_filter(squared.mean(axis=2), 17)[12:-12:4, 12:-12:4]
    np.testing.assert_allclose(ghost.difference(host, 70, 17)[3:-3, 3:-3], expected, rtol=1e-3, atol=1e-3)


def plain_votes(luminance):
    """The published algorithm, loop by loop: zeros of every block, most zeros wins, ties abstain."""
    height, width = luminance.shape
    most = np.zeros((height, width), int)
    votes = np.full((height, width), zero.NO_VOTE)
    for top in range(height - 7):
        for left in range(width - 7):
            block = luminance[top : top + 8, left : left + 8]
            coefficients = np.abs(dctn(block, norm="ortho"))
            coefficients[0, 0] = 1
            zeros = int((coefficients < 0.5 - 1e-6).sum())
            constant = (block == block[:1]).all() or (block == block[:, :1]).all()
            here = np.s_[top : top + 8, left : left + 8]
            votes[here] = np.where(zeros == most[here], zero.NO_VOTE, votes[here])
            vote = zero.NO_VOTE if constant else 8 * (top % 8) + left % 8
            votes[here] = np.where(zeros > most[here], vote, votes[here])
            most[here] = np.maximum(most[here], zeros)
    inside = np.zeros((height, width), bool)
    inside[7:-7, 7:-7] = True
    return np.where(inside, votes, zero.NO_VOTE)


def test_votes_equal_the_published_loops(host):
    rgb = save(host, 80)[201:255, 138:200]
    rgb[30:, :20] = 77
    luminance = np.rint(rgb @ np.array([0.299, 0.587, 0.114]))
    ours = zero.grid_votes(rgb)
    assert len(np.unique(ours)) > 10
    assert (ours != plain_votes(luminance)).mean() < 0.005  # coefficients within the margin of .5


def plain_regions(votes, exclude):
    """Region growing as published: one pixel after the other, neighbours within 9 pixels, NFA by summation."""
    height, width = votes.shape
    tests = (64.0 * votes.size) ** 2
    used = np.zeros_like(votes, bool)
    forged = np.zeros((height, width), np.uint8)
    for start in zip(*np.nonzero((votes != zero.NO_VOTE) & (votes != exclude)), strict=True):
        if used[start]:
            continue
        used[start] = True
        region = [start]
        for row, column in region:
            near = np.s_[max(row - 9, 0) : row + 10, max(column - 9, 0) : column + 10]
            added = (votes[near] == votes[start]) & ~used[near]
            used[near] |= added
            region += [(r + near[0].start, c + near[1].start) for r, c in zip(*np.nonzero(added), strict=True)]
        rows, columns = np.array(region).T
        trials = int(np.ptp(rows) + 1) * int(np.ptp(columns) + 1) // 64
        alarms = tests * binom.pmf(np.arange(len(region) // 64, trials + 1), trials, 1 / 64).sum()
        if alarms < 1 and len(region) >= 64 * np.log(tests) / np.log(64):
            forged[rows, columns] = 1
    return cv2.morphologyEx(forged, cv2.MORPH_CLOSE, np.ones((19, 19), np.uint8)).astype(bool)


def test_regions_equal_the_published_region_growing():
    rng = np.random.default_rng(0)
    votes = rng.integers(0, 640, (120, 150))  # a tenth of the pixels votes, at random
    votes = np.where(votes < 64, votes, zero.NO_VOTE).astype(np.uint8)
    votes[20:60, 30:90] = np.where(rng.random((40, 60)) < 0.5, 9, votes[20:60, 30:90])
    votes[80:110, 60:100] = np.where(rng.random((30, 40)) < 0.5, 5, votes[80:110, 60:100])
    ours = zero.forged_regions(votes, exclude=5)
    np.testing.assert_array_equal(ours, plain_regions(votes, 5))
    assert ours[20:60, 30:90].mean() > 0.8 and not ours[85:].any()


def test_zero_finds_the_region_on_another_grid(host, donor, forged):
    shifted = np.roll(save(donor, 75), (3, 5), axis=(0, 1))
    image = ForensicImage(np.where(forged[:, :, None], shifted, save(host, 75)))
    score = models.build("zero").localize(image)
    assert score.extras["origin"] == (0, 0)
    assert auc(score, forged) > 0.9
    decided = score.values > score.fixed_threshold
    assert (decided & forged).sum() > 0.7 * (decided | forged).sum()


def test_zero_finds_the_region_without_a_grid(host, donor, forged):
    """The authors' program marks 25,716 pixels of this image, 34,200 are forged."""
    image = ForensicImage(np.where(forged[:, :, None], donor, save(host, 75)))
    decided = models.build("zero").localize(image).values > 0
    assert (decided & forged).sum() > 0.5 * (decided | forged).sum()
    assert not (models.build("zero", missing_grid=False).localize(image).values > 0).any()


def test_zero_decides_nothing_on_authentic_images(host, photo):
    assert models.build("zero").localize(photo).values.max() <= 0
    without_history = models.build("zero").localize(ForensicImage(host))
    assert without_history.extras["origin"] is None
    assert (without_history.values == -1).all()


def test_zero_finds_the_photos_grid_after_a_crop(host):
    image = ForensicImage(np.ascontiguousarray(save(host, 80)[3:, 6:]))
    assert models.build("zero").localize(image).extras["origin"] == (5, 2)
