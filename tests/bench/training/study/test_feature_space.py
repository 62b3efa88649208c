"""Compactness, separability and silhouette against loops and constructed arrangements."""

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as functional
from sklearn.metrics import silhouette_samples

from bench.training.study.feature_space import Pixels, arrangement, embedding, sample_pixels, settle_statistics
from models.mpc.network import MPC


def made(rng, apart, images=4, each=15, width=6):
    """Unit vectors of two classes around directions that are `apart` radians from each other."""
    centres = np.zeros((2, width))
    centres[:, 0] = 1
    centres[1, :2] = np.cos(apart), np.sin(apart)
    forged = np.tile(np.repeat([False, True], each), images)
    vectors = centres[forged.astype(int)] + 0.1 * rng.normal(size=(forged.size, width))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Pixels(vectors.astype(np.float32), forged, np.repeat(np.arange(images), 2 * each))


def test_arrangement_equals_loops_over_pixels():
    pixels = made(np.random.default_rng(0), 0.5, images=2, each=6)
    rows = []
    for image in range(2):
        pairs = {"forged": [], "pristine": [], "between": []}
        chosen = np.flatnonzero(pixels.image == image)
        for i in chosen:
            for j in chosen:
                cosine = float(pixels.vectors[i] @ pixels.vectors[j])
                if pixels.forged[i] != pixels.forged[j]:
                    pairs["between"].append(cosine)
                elif i != j:
                    pairs["forged" if pixels.forged[i] else "pristine"].append(cosine)
        within = (np.mean(pairs["forged"]) + np.mean(pairs["pristine"])) / 2
        silhouettes = silhouette_samples(pixels.vectors[chosen], pixels.forged[chosen], metric="cosine")
        rows.append((within, within - np.mean(pairs["between"]), silhouettes.mean()))
    found = arrangement(pixels)
    expected = np.mean(rows, axis=0)
    assert (found.compactness, found.separability, found.silhouette) == pytest.approx(tuple(expected), abs=1e-5)
    assert found.silhouette_pooled == pytest.approx(
        silhouette_samples(pixels.vectors, pixels.forged, metric="cosine").mean(), abs=1e-6
    )
    assert found.images == 2


def test_classes_farther_apart_are_more_separate():
    near, far = (arrangement(made(np.random.default_rng(1), apart)) for apart in (0.0, 1.5))
    assert abs(near.separability) < 0.02 < 0.8 < far.separability
    assert near.silhouette < 0.05 < 0.8 < far.silhouette
    assert near.compactness == pytest.approx(far.compactness, abs=0.02)


def test_embedding_keeps_separate_classes_apart_and_repeats():
    pixels = made(np.random.default_rng(2), 1.5)
    found, forged = embedding(pixels, points=90)
    assert found.shape == (90, 2) and 40 < forged.sum() < 50
    assert np.array_equal(found, embedding(pixels, points=90)[0])
    centres = [found[forged == side].mean(axis=0) for side in (False, True)]
    right = [np.argmin([np.linalg.norm(p - c) for c in centres]) == f for p, f in zip(found, forged, strict=True)]
    assert np.mean(right) > 0.95


@pytest.fixture(scope="module")
def photos():
    rng = np.random.default_rng(3)
    found = []
    for k in range(3):
        mask = np.zeros((70, 90), bool)
        mask[20:50, 30 : 70 - 10 * k] = True
        found.append((rng.integers(0, 256, (70, 90, 3), dtype=np.uint8), mask))
    return [*found, (found[0][0], np.zeros((70, 90), bool))]


def test_sampled_pixels_are_the_fused_features_of_their_class(photos):
    torch.manual_seed(0)
    network = MPC("tiny", "catnet")
    pixels = sample_pixels(network, photos, 64, per_class=10)
    assert pixels.vectors.shape == (60, 1024)
    assert list(np.unique(pixels.image)) == [0, 1, 2]  # the authentic one has nothing to separate
    assert all(pixels.forged[pixels.image == k].sum() == 10 for k in range(3))
    assert np.linalg.norm(pixels.vectors, axis=1) == pytest.approx(1, abs=1e-5)
    other = MPC("tiny", "catnet")
    assert np.array_equal(sample_pixels(other, photos, 64, per_class=10).forged, pixels.forged)
    with pytest.raises(ValueError, match="no photo has pristine and forged pixels"):
        sample_pixels(network, photos[3:], 64)


def test_settled_statistics_are_those_of_the_photos(photos):
    """The first normalization's input is a convolution of the photos, whose mean can be computed directly."""
    torch.manual_seed(0)
    network = MPC("tiny", "catnet")
    settle_statistics(network, photos[:2], 64)
    shown = np.stack([cv2.resize(rgb, (64, 64)).transpose(2, 0, 1) / np.float32(255) for rgb, _ in photos[:2]])
    convolved = functional.conv2d(torch.from_numpy(shown), network.encoder.conv1.weight, stride=2, padding=1)
    assert network.encoder.bn1.running_mean.numpy() == pytest.approx(
        convolved.mean((0, 2, 3)).detach().numpy(), abs=1e-5
    )
    assert not network.training
