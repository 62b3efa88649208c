"""FOCAL: clustering against its definition and constructed clusters; the localizer with narrow networks."""

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

import models
from models.deep import focal
from models.image import ForensicImage


@pytest.fixture
def narrow(tiny_weights):
    return tiny_weights("focal-hrnet")


@pytest.fixture
def narrow_both(tiny_weights):
    return tiny_weights("focal")


def two_bundles(sizes, dimensions, spread):
    """Unit vectors around two directions, shuffled, and which of the two each belongs to."""
    rng = np.random.default_rng(1)
    directions = rng.standard_normal((2, dimensions))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    truth = rng.permutation(np.repeat([0, 1], sizes))
    points = directions[truth] + spread * rng.standard_normal((len(truth), dimensions))
    return F.normalize(torch.from_numpy(points.astype(np.float32)), dim=1), truth


def test_constructed_clusters_are_found():
    points, truth = two_bundles((700, 120), 16, 0.05)
    labels = focal.two_clusters(points).labels.numpy()
    assert np.array_equal(labels, truth) or np.array_equal(labels, 1 - truth)


def test_result_is_a_fixed_point_and_its_inertia_that_of_its_centres():
    points, _ = two_bundles((300, 200), 8, 0.6)
    found = focal.two_clusters(points)
    x, labels = points.double().numpy(), found.labels.numpy()
    centres = [x[labels == k].mean(0) for k in (0, 1)]
    nearest = [int(np.argmax([row @ c for c in centres])) for row in x]
    assert np.mean(nearest == labels) > 0.99  # the last centres are those before the last assignment
    inertia = sum(((row - centres[k]) ** 2).sum() for row, k in zip(x, labels, strict=True))
    assert found.inertia == pytest.approx(inertia, rel=1e-3)


def test_clustering_takes_no_part_in_the_global_random_state():
    points, _ = two_bundles((60, 40), 4, 0.9)
    torch.manual_seed(1)
    first, drawn = focal.two_clusters(points), torch.rand(1)
    torch.manual_seed(2)
    assert torch.equal(first.labels, focal.two_clusters(points).labels)
    torch.manual_seed(1)
    assert torch.equal(drawn, torch.rand(1))


def test_equal_points_are_one_cluster():
    assert not focal.two_clusters(F.normalize(torch.ones(50, 3), dim=1)).labels.any()


@pytest.mark.parametrize("flipped", [False, True])
def test_the_smaller_cluster_is_forged_and_cut_at_half(flipped):
    labels = np.zeros((8, 8), np.int64)
    labels[2:5, 3:6] = 1
    mask = focal.forged_mask(1 - labels if flipped else labels, 20, 32)
    scaled = cv2.resize((labels * 255).astype(np.float32), (32, 20))
    assert mask.dtype == bool and mask.any()
    np.testing.assert_array_equal(mask, scaled > 127)


@pytest.mark.parametrize(("height", "width", "grey"), [(1, 1, False), (7, 30, True), (90, 71, False)])
def test_localizes_images_of_any_size(narrow, photo, height, width, grey):
    localizer = models.build("focal-hrnet", weights=narrow)
    image = photo(height, width, grey)
    score = localizer.localize(image)
    assert score.kind == "probability" and score.values.shape == (height, width)
    assert set(np.unique(score.values)) <= {0, 1}
    np.testing.assert_array_equal(score.values, localizer.localize(image).values)


def test_both_extractors_are_clustered_as_one(narrow_both, tiny, photo, tmp_path):
    image = photo(40, 50)
    localizer = models.build("focal", weights=narrow_both)
    x = localizer.preprocess(image)
    with torch.inference_mode():
        both = localizer.network(x)
        vit, hrnet = localizer.network.vit(x), localizer.network.hrnet(x)
    picked = hrnet[:, :, ::4, ::4]
    expected = [v / v.norm(dim=1, keepdim=True) for v in (vit, picked)]
    torch.testing.assert_close(both, torch.cat(expected, 1), atol=1e-5, rtol=1e-4)
    score = localizer.localize(image)
    assert score.values.shape == (40, 50) and set(np.unique(score.values)) <= {0, 1}
    for part, name in (("vit", "FOCAL_ViT_weights.pth"), ("hrnet", "FOCAL_HRNet_weights.pth")):
        own = {k.removeprefix(part): v for k, v in narrow_both.items() if k.startswith(part)}
        torch.save({f"module{k}": v for k, v in own.items()}, tmp_path / name)
    from_files = models.build("focal", weights=tmp_path)
    np.testing.assert_array_equal(from_files.localize(image).values, score.values)
    tiny("focal-vit")
    alone = models.build("focal-vit", weights=tmp_path / "FOCAL_ViT_weights.pth")
    assert alone.localize(photo(1, 7)).values.shape == (1, 7)


def test_an_image_of_one_colour_is_not_forged_where_nothing_differs(narrow):
    network = models.build("focal-hrnet", weights=narrow).network
    network.requires_grad_(False)
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.weight.zero_()  # the same embedding everywhere
    localizer = models.build("focal-hrnet", weights=network.state_dict())
    assert not localizer.localize(ForensicImage(np.full((30, 40, 3), 99, np.uint8))).values.any()
