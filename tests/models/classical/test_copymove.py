"""Copy-moves with known maps: both places found, the map recovered, nothing found where nothing was copied."""

import cv2
import numpy as np
import pytest
import skimage.data
from sklearn.metrics import roc_auc_score

import models
from bench.image import ForensicImage, encode_jpeg
from models.classical import copymove_keypoint


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


def test_large_image_is_reduced_and_its_map_is_in_its_own_pixels(photo):
    image, mask, _ = copied(photo, 0, 1.0)
    large = ForensicImage(cv2.resize(image.rgb, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC))
    score = models.build("copymove-sift", max_pixels=200_000).localize(large)
    assert score.values.shape == large.shape
    both = cv2.resize(mask.astype(np.uint8), None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST) > 0
    assert overlap(score, both) > 0.7
    shift = np.abs(score.extras["transforms"][0][:, 2])
    np.testing.assert_allclose(shift, [280, 400], atol=3)


@pytest.mark.parametrize("name", ["copymove-sift"])
@pytest.mark.parametrize("picture", ["astronaut", "coffee"])
def test_authentic_image_has_no_copies(name, picture):
    rgb = np.ascontiguousarray(getattr(skimage.data, picture)()[:400, :400])
    score = models.build(name).localize(ForensicImage(rgb))
    squares = np.add.outer(np.arange(400) // 50, np.arange(400) // 50) % 2 == 0
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
