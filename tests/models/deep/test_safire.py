"""SAFIRE: its filter, points and clusters against constructed truths; the localizer with a small, narrow network."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import models
from models.deep import safire
from models.deep.safire import PointMasks, best_of_each, clusters, forged_and_other, high_pass, partition, point_grid


@pytest.fixture
def narrow(tiny_weights):
    return tiny_weights("safire")


@pytest.fixture
def localizer(narrow):
    return models.build("safire", weights=narrow)


@pytest.fixture
def features(localizer):
    with torch.inference_mode():
        return localizer.network.image_encoder(torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)))


def masks_of(iou, area, feature) -> PointMasks:
    return PointMasks(torch.zeros(len(iou), 1, 1), torch.tensor(iou), torch.tensor(area), torch.tensor(feature))


def test_the_filter_takes_the_middle_half_of_the_centred_spectrum_away():
    x = np.random.default_rng(0).standard_normal((2, 32, 32))
    spectrum = np.fft.fftshift(np.fft.fft2(x), axes=(1, 2))
    spectrum[:, 8:24, 8:24] = 0
    expected = np.abs(np.fft.ifft2(np.fft.ifftshift(spectrum, axes=(1, 2))).real)
    np.testing.assert_allclose(high_pass(torch.from_numpy(x)[None])[0], expected, atol=1e-6)
    assert high_pass(torch.full((1, 3, 32, 32), 5.0)).abs().max() < 1e-5


def test_points_are_the_centres_of_cells_row_by_row():
    grid = point_grid(16, 1024)
    assert grid.shape == (256, 2)
    assert grid[[0, 1, 16, 255]].tolist() == [[32, 32], [96, 32], [32, 96], [992, 992]]


@pytest.mark.parametrize("seed", range(5))
def test_clusters_are_directions_whatever_the_length(seed):
    rng = np.random.default_rng(seed)
    truth = rng.permutation(np.repeat([0, 1], [5, 20]))
    directions = np.array([[1, 0, 0.2], [-0.2, 1, 0]])[truth] + rng.normal(0, 0.05, (25, 3))
    points = torch.from_numpy(directions * rng.uniform(0.1, 10, (25, 1)))
    labels = clusters(points, 2, seed).numpy()
    assert (labels == truth).all() or (labels == 1 - truth).all()
    assert (labels == clusters(points, 2, seed).numpy()).all()


def test_clustering_few_or_equal_points_ends():
    assert clusters(torch.zeros(0, 3), 2, 0).tolist() == []
    assert clusters(torch.ones(1, 3), 2, 0).tolist() == [0]
    assert clusters(torch.ones(4, 3), 2, 0).tolist() == [0, 0, 0, 0]
    assert clusters(torch.eye(3)[:2], 3, 0).tolist() == [0, 0]


def test_each_cluster_has_its_best_mask_and_the_smaller_is_forged():
    left, right = [1.0, 0.0], [0.0, 1.0]
    masks = masks_of([0.2, 0.9, 0.5, 0.8, 1.0], [50, 40, 10, 90, 0], [right, left, right, left, [np.nan] * 2])
    best, labels = forged_and_other(masks, seed=0)
    assert best == [2, 1] and labels.tolist() == [0, 1, 0, 1, -1]
    # The areas of the best masks count, not those of the clusters.
    best, labels = forged_and_other(masks._replace(area=torch.tensor([1, 40, 60, 90, 0])), seed=0)
    assert best == [1, 2] and labels.tolist() == [1, 0, 1, 0, -1]


def test_one_cluster_or_nothing_but_empty_masks_leave_one_mask():
    best, labels = forged_and_other(masks_of([0.2, 0.9], [5, 5], [[1.0, 0.0]] * 2), seed=0)
    assert best == [1] and labels.tolist() == [0, 0]
    best, labels = forged_and_other(masks_of([0.3, 0.2], [0, 0], [[np.nan] * 2] * 2), seed=0)
    assert best == [0] and labels.tolist() == [0, 0]


def test_a_photo_is_partitioned_by_the_best_mask_of_each_source():
    """Three sources side by side; the masks of each know their own third, those of larger IoU better."""
    logits, iou, feature = torch.full((9, 48, 48), -1.0), torch.rand(9), torch.zeros(9, 3)
    truth = np.arange(48) // 16
    order = [2, 0, 1, 1, 2, 0, 0, 2, 1]  # the source that each point lies in
    for i, source in enumerate(order):
        logits[i][:, truth == source] = 1.0
        feature[i, source] = 1 + i
    masks = PointMasks(logits, iou, torch.ones(9), feature)
    # k-means that begins with two centres in one source stays there
    seed = next(s for s in range(99) if len({order[i] for i in np.random.default_rng(s).choice(9, 3, False)}) == 3)
    best, labels = best_of_each(masks, 3, seed)
    for label, index in enumerate(best):
        members = np.flatnonzero(labels == label)
        assert {order[i] for i in members} == {order[index]} and iou[index] == iou[members].max()
    found = partition(masks, 3, seed, 48)
    numbers = {order[index]: number for number, index in enumerate(sorted(best))}
    np.testing.assert_array_equal(found, np.tile([numbers[source] for source in truth], (48, 1)))
    assert found.dtype == np.uint8


def test_a_mask_is_described_by_the_mean_feature_at_the_positions_inside_it(localizer, features):
    with torch.inference_mode():
        masks = safire.ask(localizer.network, features, point_grid(4, 64))
        logits, iou = localizer.network.masks(features, point_grid(4, 64))
    torch.testing.assert_close(masks.logits, logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(masks.iou, iou, rtol=1e-4, atol=1e-5)
    for i, mask in enumerate(F.interpolate(logits[:, None], (64, 64), mode="bilinear")[:, 0] > 0):
        assert masks.area[i] == mask.sum()
        inside = [features[0, :, row, column] for row in range(4) for column in range(4) if mask[16 * row, 16 * column]]
        assert masks.feature[i].isnan().all() == (not inside)
        if inside:
            torch.testing.assert_close(masks.feature[i], torch.stack(inside).mean(0), rtol=1e-4, atol=1e-5)


def test_points_have_masks_of_their_own(localizer, features):
    points = torch.tensor([[8.0, 8.0], [50.0, 20.0]])
    with torch.inference_mode():
        both, iou = localizer.network.masks(features, points)
        alone, _ = localizer.network.masks(features, points[1:])
    assert both.shape == (2, 16, 16) and iou.shape == (2,)
    torch.testing.assert_close(both[1:], alone, rtol=1e-4, atol=1e-5)
    assert (both[0] - both[1]).abs().max() > 1e-3


@pytest.mark.parametrize(("height", "width", "grey"), [(1, 1, False), (9, 40, True), (70, 50, False)])
def test_localizes_images_of_any_size(localizer, photo, height, width, grey):
    score = localizer.localize(photo(height, width, grey))
    assert score.kind == "probability" and score.values.shape == (height, width)
    assert score.values.min() >= 0 and score.values.max() <= 1
    assert score.extras["point_iou"].shape == score.extras["point_cluster"].shape == (4, 4)
    assert score.extras["sources"].shape == (height, width) and score.extras["sources"].max() <= 2
    assert sum(score.extras["clusters"]) == (score.extras["point_cluster"] >= 0).sum()


def test_the_map_is_the_mean_of_the_forged_mask_and_what_the_other_leaves(localizer, photo, monkeypatch):
    logits, area = torch.full((16, 16, 16), -2.0), torch.full((16,), 9.0)
    logits[:, :, 8:] = 3.0
    logits[:6], area[:6] = 0.5, 2  # the forged ones
    features = 0.1 * torch.randn(16, 16, generator=torch.Generator().manual_seed(0))
    features[:6, 0], features[6:, 0] = 1, -1
    monkeypatch.setattr(safire, "ask", lambda *_: PointMasks(logits, torch.linspace(0, 1, 16), area, features))
    score = localizer.localize(photo(64, 64))
    forged, left, right = 1 / (1 + np.exp([-0.5, 2.0, -3.0]))
    assert score.values[0, [0, -1]] == pytest.approx([(forged + 1 - left) / 2, (forged + 1 - right) / 2], abs=1e-5)
    assert score.extras["clusters"] == [6, 10] and score.extras["iou"] == pytest.approx([5 / 15, 1])


def test_the_map_of_an_image_is_always_the_same_and_the_seed_a_setting(narrow, photo):
    image, (first, again, other) = photo(64, 64), (models.build("safire", weights=narrow, seed=s) for s in (0, 0, 1))
    np.testing.assert_array_equal(first.localize(image).values, again.localize(image).values)
    assert first.identity() == again.identity() != other.identity()
