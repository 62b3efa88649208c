"""Copy-moves with known maps: both places found, the map recovered, nothing found where nothing was copied."""

import cv2
import numpy as np
import pytest
import skimage.data
from sklearn.metrics import roc_auc_score

import models
from models.classical import copymove_dense, copymove_keypoint
from models.image import ForensicImage, encode_jpeg


def copied(rgb, angle, scale, quality=None):
    """A patch of the photo moved by (-180, 200) pixels (x, y) about its centre: image, mask of both places, map."""
    height, width = rgb.shape[:2]
    patch = np.zeros((height, width), np.uint8)
    cv2.ellipse(patch, (260, 130), (60, 45), 20, 0, 360, 1, -1)
    transform = cv2.getRotationMatrix2D((260, 130), angle, scale)
    transform[:, 2] += (-140, 200)
    moved = cv2.warpAffine(rgb, transform, (width, height), flags=cv2.INTER_CUBIC)
    target = cv2.warpAffine(patch, transform, (width, height), flags=cv2.INTER_NEAREST) > 0
    forged = np.where(target[:, :, None], moved, rgb)
    image = ForensicImage(forged) if quality is None else ForensicImage.from_jpeg(encode_jpeg(forged, quality))
    return image, target | (patch > 0), transform


def overlap(score, mask):
    found = score.values > score.fixed_threshold
    return (found & mask).sum() / (found | mask).sum()


@pytest.fixture(scope="module")
def photo():
    return np.ascontiguousarray(skimage.data.astronaut()[:440])


MAPS = [(0, 1.0, None), (25, 1.0, None), (0, 1.3, None), (140, 0.85, None), (10, 1.1, 80)]


@pytest.mark.parametrize(("angle", "scale", "quality"), MAPS)
def test_keypoints_find_both_places_and_the_map(photo, angle, scale, quality):
    image, mask, transform = copied(photo, angle, scale, quality)
    score = models.build("copymove-sift").localize(image)
    assert roc_auc_score(mask.ravel(), score.values.ravel()) > 0.9
    assert overlap(score, mask) > 0.7
    found = score.extras["transforms"]
    points = np.array([[230, 110, 1], [290, 150, 1], [260, 160, 1]], float)
    distances = [
        np.abs(points @ t.T - points @ transform.T).max()
        for forward in found
        for t in (forward, cv2.invertAffineTransform(forward))
    ]
    assert min(distances) < 2


@pytest.mark.parametrize(("angle", "scale", "quality"), [(0, 1.0, None), (90, 1.0, None), (10, 1.1, 80)])
def test_dense_field_finds_both_places(photo, angle, scale, quality):
    image, mask, _ = copied(photo, angle, scale, quality)
    score = models.build("copymove-dense").localize(image)
    assert roc_auc_score(mask.ravel(), score.values.ravel()) > 0.9
    assert overlap(score, mask) > 0.6


def test_dense_field_finds_smooth_copies_without_keypoints():
    rng = np.random.default_rng(0)
    rgb = cv2.GaussianBlur(rng.normal(0, 1, (300, 300, 3)), (0, 0), 12)
    rgb = (128 + 90 * rgb / np.abs(rgb).max()).astype(np.uint8)
    rgb[190:260, 180:260] = rgb[40:110, 30:110]
    mask = np.zeros((300, 300), bool)
    mask[190:260, 180:260] = mask[40:110, 30:110] = True
    assert overlap(models.build("copymove-dense").localize(ForensicImage(rgb)), mask) > 0.6


def test_dense_field_is_close_to_the_exact_nearest_neighbours(photo):
    """Every patch against every other by brute force; a random field would be some five times farther away."""
    features = copymove_dense.zernike_magnitudes(photo[:120, 100:240, 0].astype(np.float32))
    rows, columns = features.shape[:2]
    y, x = (p.ravel() for p in np.mgrid[:rows, :columns])
    flat = features.reshape(len(y), -1).astype(np.float64)
    grid = np.flatnonzero((y % copymove_dense.STRIDE == 0) & (x % copymove_dense.STRIDE == 0))
    square = (flat[grid] ** 2).sum(1)[:, None] + (flat**2).sum(1) - 2 * flat[grid] @ flat.T
    near = (y[grid, None] - y) ** 2 + (x[grid, None] - x) ** 2 < 40**2
    exact = np.sqrt(np.where(near, np.inf, square).min(axis=1).clip(0))
    offset = copymove_dense.nearest_neighbours(features, 40, 8).reshape(-1, 2)
    assert (np.hypot(*offset.T) >= 40).all()
    ours = np.linalg.norm(flat[grid] - flat[(y[grid] + offset[:, 0]) * columns + x[grid] + offset[:, 1]], axis=1)
    assert (ours >= exact - 1e-3).all()
    assert np.median(ours / exact.clip(1e-3)) < 1.1


def test_affine_fit_error_equals_least_squares():
    offset = np.random.default_rng(0).integers(-200, 200, (40, 50, 2)).astype(np.int32)
    offset[5:35, 5:40] = np.fromfunction(lambda i, j, k: 40 + (k + 1) * i - 2 * j * k, (30, 35, 2))
    ours, _ = copymove_dense.affine_fit(offset, 3)
    smooth = np.stack([cv2.medianBlur(offset[:, :, k].astype(np.int16), 5) for k in (0, 1)], axis=2)
    design = np.array([[1, i, j] for i in range(7) for j in range(7)])
    for row, column in [(20, 20), (20, 39), (36, 45), (3, 3)]:
        window = smooth[row - 3 : row + 4, column - 3 : column + 4].reshape(49, 2)
        residual = np.linalg.lstsq(design, window, rcond=None)[1]
        np.testing.assert_allclose(ours[row, column], residual.sum() / 49 if residual.size else 0, atol=1e-2)


def test_zernike_magnitudes_do_not_change_with_quarter_turns():
    patch = np.random.default_rng(0).integers(0, 256, (16, 16)).astype(np.float32)
    first, second = (copymove_dense.zernike_magnitudes(np.ascontiguousarray(p)) for p in (patch, np.rot90(patch)))
    assert first.shape == (1, 1, 12)
    np.testing.assert_allclose(first, second, rtol=1e-3)


def test_large_image_is_reduced_and_its_map_is_in_its_own_pixels(photo):
    image, mask, _ = copied(photo, 0, 1.0)
    large = ForensicImage(cv2.resize(image.rgb, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC))
    score = models.build("copymove-sift", max_pixels=200_000).localize(large)
    assert score.values.shape == large.shape
    both = cv2.resize(mask.astype(np.uint8), None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST) > 0
    assert overlap(score, both) > 0.7
    shift = np.abs(score.extras["transforms"][0][:, 2])
    np.testing.assert_allclose(shift, [280, 400], atol=3)


@pytest.mark.parametrize("name", ["copymove-sift", "copymove-dense"])
@pytest.mark.parametrize("picture", ["astronaut", "chelsea"])
def test_authentic_image_has_no_copies(name, picture):
    rgb = np.ascontiguousarray(getattr(skimage.data, picture)()[:300, :400])
    score = models.build(name).localize(ForensicImage(rgb))
    squares = np.add.outer(np.arange(300) // 50, np.arange(400) // 50) % 2 == 0
    assert 0.4 < roc_auc_score(squares.ravel(), score.values.ravel()) < 0.6
    assert (score.values > 0).mean() < 0.01


def test_matches_equal_a_plain_loop_over_all_pairs():
    rng = np.random.default_rng(0)
    descriptors = rng.random((90, 128)).astype(np.float32)
    descriptors[30:60] = descriptors[:30] + rng.normal(0, 0.02, (30, 128))
    descriptors[60:75] = descriptors[:15] + rng.normal(0, 0.02, (15, 128))
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    positions = rng.random((90, 2)).astype(np.float32) * 100
    expected = set()
    for i in range(90):
        apart = np.hypot(*(positions - positions[i]).T) >= 24
        distances = np.linalg.norm(descriptors.astype(float) - descriptors[i], axis=1)
        order = [j for j in np.argsort(distances) if apart[j]]
        for k in range(3):
            if not distances[order[k]] < 0.5 * distances[order[k + 1]]:
                break
            expected.add((min(i, order[k]), max(i, order[k])))
    ours = copymove_keypoint.match(positions, descriptors, ratio=0.5, min_distance=24)
    assert {tuple(pair) for pair in ours.tolist()} == expected
    assert len(expected) > 20


def test_correlation_equals_numpys(photo):
    rng = np.random.default_rng(0)
    first = photo[:60, :60, 0].astype(np.float32)
    second = (photo[:60, :60, 1] + rng.normal(0, 5, (60, 60))).astype(np.float32)
    ours = copymove_keypoint.cross_correlation(first, second, 9)
    windows = [p[20:29, 31:40].ravel() for p in (first, second)]
    np.testing.assert_allclose(ours[24, 35], np.corrcoef(*windows)[0, 1], atol=1e-4)
