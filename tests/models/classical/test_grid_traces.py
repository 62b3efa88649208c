"""BLK and CAGI on constructed breaks of the JPEG grid, beside recorded maps of pyIFD 0.0.3."""

import cv2
import numpy as np
import pytest
from scipy.ndimage import median_filter
from sklearn.metrics import roc_auc_score

import models
from models.classical import blk, cagi
from models.classical.blocks import split
from models.image import ForensicImage, decode_rgb, encode_jpeg


def save(rgb, quality):
    return decode_rgb(encode_jpeg(rgb, quality))


def spliced(host, donor, forged):
    return ForensicImage(np.where(forged[:, :, None], donor, host))


def auc(name, image, mask):
    return roc_auc_score(mask.ravel(), models.build(name).localize(image).values.ravel())


@pytest.fixture(scope="module")
def off_grid(host, donor, forged):
    """The donor's grid is 3 rows and 5 columns off the host's."""
    return spliced(save(host, 60), np.roll(save(donor, 60), (3, 5), axis=(0, 1)), forged)


@pytest.fixture(scope="module")
def without_grid(host, donor, forged):
    return spliced(save(host, 60), donor, forged)


@pytest.fixture(scope="module")
def stronger_grid(host, donor, forged):
    return spliced(save(host, 95), save(donor, 60), forged)


@pytest.mark.parametrize("name", ["blk", "cagi"])
def test_region_off_the_grid_and_region_without_a_grid_are_found(name, off_grid, without_grid, forged):
    assert auc(name, off_grid, forged) > 0.9
    assert auc(name, without_grid, forged) > 0.9


def test_inverse_cagi_finds_the_region_compressed_more(stronger_grid, forged):
    assert auc("cagi-inverse", stronger_grid, forged) > 0.9


@pytest.mark.parametrize("name", ["blk", "cagi", "cagi-inverse"])
def test_authentic_jpeg_scores_near_chance(name, host, checkerboard):
    assert abs(auc(name, ForensicImage(save(host, 75)), checkerboard) - 0.5) < 0.05


def test_blk_agrees_with_pyifd(off_grid, recorded):
    """Apart from the right border, where pyIFD puts the mirrored column in the wrong place, and from blocks near a
    second difference of 50, which is an edge or not by how the processor rounds."""
    luminance = off_grid.luminance
    lines = blk.grid_lines(luminance, 50, 33) + blk.grid_lines(luminance.T, 50, 33).T
    theirs = recorded["BLK_off_grid"]
    near = np.zeros(luminance.shape, np.uint8)
    for plane, found in ((luminance, near), (luminance.T, near.T)):  # both directions
        on_the_verge = np.zeros(plane.shape, np.uint8)
        on_the_verge[1:-1] = np.abs(np.abs(np.diff(plane, 2, axis=0)) - 50) < 1e-4
        # a line is accumulated over 16 pixels on either side, its median is over 16 lines, and the grid's over 16 more
        found |= cv2.dilate(on_the_verge, np.ones((65, 33), np.uint8))
    compared = ~split(near).any(axis=(2, 3))[:, :-5]
    assert compared.mean() > 0.75
    ours, theirs = blk.inside_over_border(lines)[:, :-5][compared], theirs[:, :-5][compared]
    np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max())


def test_blk_finds_the_grid_of_a_cropped_photo(host, donor, forged):
    """What the crop cuts away is put back by the origin that is found: the same scores as before."""
    rgb = spliced(save(host, 60), donor, forged).rgb
    score = models.build("blk", find_origin=True).localize(ForensicImage(np.ascontiguousarray(rgb[3:, 6:])))
    assert score.extras["origin"] == (5, 2)
    assert roc_auc_score(forged[3:, 6:].ravel(), score.values.ravel()) > 0.9


def test_running_median_equals_scipys_two_dimensional_one():
    plane = np.random.default_rng(0).normal(size=(50, 20)).astype(np.float32)
    np.testing.assert_array_equal(blk.running_median(plane, 33), median_filter(plane, (33, 1)))


def test_median_of_five_equals_numpys():
    planes = list(np.random.default_rng(0).integers(0, 4, (5, 200)))
    np.testing.assert_array_equal(blk.median_of_five(planes), np.median(planes, axis=0))


@pytest.mark.parametrize("name, key", [("cagi", "CAGI"), ("cagi-inverse", "inverse_CAGI")])
def test_cagi_agrees_with_pyifd(name, key, without_grid, recorded):
    """Every eighth pixel; edge templates and interpolation between cells differ."""
    ours = models.build(name).localize(without_grid).values[4::8, 4::8]
    theirs = recorded[f"{key}_without_grid"] * (-1 if name == "cagi-inverse" else 1)
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.97


def test_cagi_ranks_the_photos_grid_first(host):
    image = save(host, 70)
    for top, left in [(0, 0), (3, 6)]:
        luma = image[top:, left:].mean(axis=2).astype(np.float32)
        assert cagi.candidate_grids(luma, 2).origin == (-top % 8, -left % 8)
