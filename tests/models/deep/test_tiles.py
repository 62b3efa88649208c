"""Tiles and patches against loops and wholes."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from models.deep.parts.tiles import merge, patches, patchwise, tiles


@pytest.mark.parametrize(("height", "width"), [(895, 900), (896, 896), (1344, 2000)])
def test_tiles_cover_the_image_and_end_at_its_borders(height, width):
    covered = np.zeros((height, width), int)
    for place in tiles(height, width, 896):
        assert covered[place].shape == (min(896, height), min(896, width))
        covered[place] += 1
    assert covered.min() >= 1 and covered[-1, -1] >= 1


def test_merging_equals_a_loop_over_tiles_and_pixels():
    rng = np.random.default_rng(0)
    height, width, size = 40, 45, 32
    places = tiles(height, width, size)
    predictions = [rng.random((size, size), np.float32) for _ in places]
    expected = np.full((height, width), np.nan)
    for (rows, columns), prediction in zip(places, predictions, strict=True):
        for y, x in np.ndindex(size, size):
            # the centre of a 3 x 3 map, enlarged bilinearly: a pyramid over the middle of the tile
            weight = np.prod([max(0, 1 - abs((i + 0.5) * 3 / size - 1.5)) for i in (y, x)])
            old = expected[rows.start + y, columns.start + x]
            value = prediction[y, x]
            expected[rows.start + y, columns.start + x] = (
                value if np.isnan(old) else weight * value + (1 - weight) * old
            )
    np.testing.assert_allclose(merge(predictions, height, width, size), expected, atol=1e-6)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (16, 31), (40, 50)])
def test_patches_give_what_the_whole_gives_if_the_halo_is_wide_enough(height, width):
    torch.manual_seed(0)
    x, first, second = torch.randn(2, 3, height, width), torch.randn(4, 3, 5, 5), torch.randn(1, 4, 3, 3)

    def function(part):
        return F.conv2d(F.conv2d(part, first, padding=2).relu(), second, padding=1)

    assert len(list(patches(height, width, 16))) == -(-height // 16) * -(-width // 16)
    torch.testing.assert_close(patchwise(function, x, 16, 3), function(x))
    if width > 16:
        assert (patchwise(function, x, 16, 2) - function(x)).abs().max() > 1e-3
