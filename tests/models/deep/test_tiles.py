"""Tiles and patches against loops and wholes."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from models.deep.parts.resample import centre_aligned, corner_aligned, interpolated, left_aligned, resampled, sampled
from models.deep.parts.tiles import Tiling, merge, patchwise, pieces, tiles


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

    torch.testing.assert_close(patchwise(function, x, 16, 3), function(x))
    if width > 16:
        assert (patchwise(function, x, 16, 2) - function(x)).abs().max() > 1e-3


@pytest.mark.parametrize("length", [1, 31, 256, 257, 800, 1000, 4032])
def test_pieces_keep_every_pixel_once_and_see_the_margin(length):
    tiling = Tiling(256, 64)
    rows = [row for row, _ in tiling.places(length, 1)]
    assert [n for row in rows for n in range(row.first, row.last)] == list(range(length))
    for row in rows:
        assert row.stop - row.start <= 256 and row.start % 32 == row.first % 32 == 0
        assert row.start == max(0, row.first - 64) or len(rows) == 1
        assert row.stop == min(length, row.last + 64)
    kept = [row.last - row.first for row in rows]
    assert len(rows) == (1 if length <= 256 else -(-length // 128))
    assert max(kept) - min(kept) <= 32 * len(rows)  # no sliver at the end
    assert str(tiling) == "tiles 256x256, overlap 128"


def test_pieces_lie_where_strided_convolutions_put_them():
    x = torch.arange(101.0).reshape(1, 1, 1, 101)
    whole = x
    for _ in range(3):
        whole = F.conv2d(whole, torch.tensor([[[[0.0, 1.0, 0.0]]]]), stride=(1, 2), padding=(0, 1))
    for piece in pieces(101, 32, 16):
        part = x[..., piece.seen]
        for _ in range(3):
            part = F.conv2d(part, torch.tensor([[[[0.0, 1.0, 0.0]]]]), stride=(1, 2), padding=(0, 1))
        coarse = piece.at(8)
        assert coarse.whole == whole.shape[3] and coarse.stop - coarse.start == part.shape[3]
        torch.testing.assert_close(part[..., coarse.middle], whole[..., coarse.kept])


def test_tiles_give_what_the_whole_gives_if_the_margin_is_wide_enough():
    x, kernel = torch.randn(1, 2, 150, 210).double(), torch.randn(2, 2, 3, 3).double() / 4

    def function(part):
        for _ in range(20):
            part = F.conv2d(part, kernel, padding=1).tanh()
        return part

    whole = function(x)
    torch.testing.assert_close(Tiling(128, 32).apply(function, x), whole)
    far = Tiling(96, 0).apply(function, x) - whole
    assert far.abs().max() > 1e-2


@pytest.mark.parametrize(("aligned", "corners"), [(corner_aligned, True), (centre_aligned, False)])
@pytest.mark.parametrize("sizes", [(7, 5, 24, 31), (12, 15, 6, 7), (1, 2, 3, 1), (37, 300, 73, 599)])
def test_interpolation_is_that_of_pytorch(aligned, corners, sizes):
    height, width, *target = sizes
    x = torch.rand(1, 2, height, width).double()
    ours = x
    for axis, source, length in ((2, height, target[0]), (3, width, target[1])):
        ours = interpolated(ours, axis, aligned(torch.arange(length, dtype=x.dtype), source, length))
    torch.testing.assert_close(ours, F.interpolate(x, target, mode="bilinear", align_corners=corners))


def test_a_tile_is_resampled_as_the_whole_is():
    coarse = torch.rand(1, 2, 26, 51)
    whole = F.interpolate(coarse, (101, 203), mode="bilinear", align_corners=True)
    for fine in Tiling(96, 32).places(101, 203):
        seen = tuple(piece.at(4) for piece in fine)
        part = resampled(coarse[:, :, seen[0].seen, seen[1].seen], seen, fine, corner_aligned)
        kept = whole[:, :, fine[0].kept, fine[1].kept]
        torch.testing.assert_close(part[:, :, fine[0].middle, fine[1].middle], kept)


@pytest.mark.parametrize("side", [20, 256])
def test_grids_from_tiles_are_those_of_the_whole(side):
    x = torch.rand(1, 1, 130, 205)

    def maps(part, place=None):
        return [part * 2, F.avg_pool2d(part, 2, ceil_mode=True)]

    found = sampled(maps, x, Tiling(96, 32), [side, side // 2], corner_aligned)
    for grid, whole, length in zip(found, maps(x), (side, side // 2), strict=True):
        wanted = F.interpolate(whole, (length, length), mode="bilinear", align_corners=True)
        torch.testing.assert_close(grid, wanted)


def test_resizing_from_the_left_is_tensorflow_1s():
    x = torch.rand(1, 1, 5, 7)
    (found,) = sampled(lambda part, _: [part], x, Tiling(64, 0), [4], left_aligned)
    for i, j in np.ndindex(4, 4):
        y, z = i * 5 / 4, j * 7 / 4
        top, left = int(y), int(z)
        bottom, right = min(top + 1, 4), min(left + 1, 6)
        a, b = y - top, z - left
        pixels = x[0, 0].numpy()
        upper = (1 - b) * pixels[top, left] + b * pixels[top, right]
        lower = (1 - b) * pixels[bottom, left] + b * pixels[bottom, right]
        assert float(found[0, 0, i, j]) == pytest.approx((1 - a) * upper + a * lower, abs=1e-6)
