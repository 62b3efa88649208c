"""SparseViT: its grids against slices, and the localizer with a small, narrow network."""

import cv2
import numpy as np
import pytest
import torch

import models
from models.deep import sparsevit
from models.deep.parts.imagenet import normalized_square
from models.deep.sparsevit import from_grids, to_grids


@pytest.fixture
def narrow(tiny_weights):
    return tiny_weights("sparsevit")


@pytest.fixture
def localizer(narrow):
    return models.build("sparsevit", weights=narrow)


@pytest.mark.parametrize("group", [1, 2, 4])
def test_a_grid_is_every_so_many_rows_and_columns(group):
    x = torch.arange(2.0 * 3 * 8 * 12).view(2, 3, 8, 12)
    grids = to_grids(x, group)
    step_down, step_right = 8 // group, 12 // group
    expected = [
        image[:, a::step_down, b::step_right].flatten(1).T
        for image in x
        for a in range(step_down)
        for b in range(step_right)
    ]
    assert torch.equal(grids, torch.stack(expected))
    assert torch.equal(from_grids(grids, group, 8, 12), x)


def test_a_position_attends_to_its_grid_alone(random_weights):
    block = sparsevit.SparseBlock(64, 2, 64)
    block.load_state_dict(random_weights(block))
    torch.nn.init.zeros_(block.gamma_2)  # the feed-forward part sees neighbours
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 64, 6, 6, generator=generator)
    other = x.clone()
    other[:, :, 1, 2] += torch.randn(64, generator=generator)  # normalization would take a constant away
    with torch.inference_mode():
        changed = (block(x) != block(other)).any(1)[0].nonzero().tolist()
    assert changed == [[1, 2], [1, 5], [4, 2], [4, 5]]


@pytest.mark.parametrize(("height", "width", "grey"), [(1, 1, False), (9, 40, True), (70, 50, False)])
def test_localizes_images_of_any_size(localizer, photo, height, width, grey):
    score = localizer.localize(photo(height, width, grey))
    assert score.kind == "probability" and score.values.shape == (height, width)
    assert score.values.min() >= 0 and score.values.max() <= 1


def test_the_map_is_the_networks_at_sixteen_times_the_size(localizer, photo):
    image = photo(64, 64)
    with torch.inference_mode():
        logits = localizer.network(normalized_square(image.rgb, 64))
    assert logits.shape == (1, 1, 4, 4)
    # Half-pixel centres and repeated borders are what OpenCV's resize has too.
    enlarged = cv2.resize(logits[0, 0].numpy(), (64, 64), interpolation=cv2.INTER_LINEAR)
    values = localizer.localize(image).values
    np.testing.assert_allclose(values, 1 / (1 + np.exp(-enlarged)), atol=1e-5)
    assert np.ptp(values) > 1e-3
