"""The forging primitives, against brute-force loops, scipy and constructed truths."""

import cv2
import numpy as np
import pytest
from scipy import ndimage

from bench.data import forge
from models.image import decode_rgb, encode_jpeg


def photo(height=120, width=160, seed=0):
    """A smooth coloured scene with some texture."""
    rng = np.random.default_rng(seed)
    scene = ndimage.gaussian_filter(rng.normal(size=(height, width, 3)), (6, 6, 0)) * 900 + 128
    return np.clip(scene + rng.normal(0, 4, scene.shape), 0, 255).astype(np.uint8)


def disc(height, width, row, column, radius):
    y, x = np.ogrid[:height, :width]
    return (y - row) ** 2 + (x - column) ** 2 <= radius**2


def test_noise_has_the_stated_deviation_and_grows_with_the_light():
    grey = np.full((400, 400), 128, np.uint8)
    noisy = forge.sensor_noise(grey, np.random.default_rng(1), 5.0)
    assert noisy.std() == pytest.approx(np.sqrt(25 + 1 / 12), rel=0.02)  # 1/12: rounding to integers
    assert noisy.mean() == pytest.approx(128, abs=0.1)
    dark = forge.sensor_noise(np.full_like(grey, 32), np.random.default_rng(1), 5.0)
    assert dark.std() == pytest.approx(np.sqrt(25 * (0.4 + 0.6 * 32 / 128) + 1 / 12), rel=0.02)


@pytest.mark.parametrize("colour_filter", forge.FILTERS)
def test_demosaicing_keeps_the_sampled_colour_and_averages_the_others(colour_filter):
    rgb = photo(14, 18)
    result = forge.bayer(rgb, np.random.default_rng(0), colour_filter=colour_filter)
    colour = {"R": 0, "G": 1, "B": 2}
    plane = np.array([[colour[colour_filter[2 * (r % 2) + c % 2]] for c in range(18)] for r in range(14)])
    for r in range(2, 12):
        for c in range(2, 16):
            for channel in range(3):
                if plane[r, c] == channel:
                    expected = rgb[r, c, channel]
                    assert result[r, c, channel] == expected
                    continue
                near = [(r + i, c + j) for i in (-1, 0, 1) for j in (-1, 0, 1) if plane[r + i, c + j] == channel]
                if channel == 1:
                    near = [(i, j) for i, j in near if abs(i - r) + abs(j - c) == 1]
                expected = np.mean([rgb[i, j, channel] for i, j in near])
                assert abs(result[r, c, channel] - expected) <= 0.5


def test_compression_on_the_aligned_grid_is_a_plain_jpeg_round_trip():
    rgb = photo()
    assert np.array_equal(forge.compress(rgb, 80), decode_rgb(encode_jpeg(rgb, 80)))


@pytest.mark.parametrize("grid", [(0, 0), (3, 0), (2, 5), (7, 1)])
def test_block_borders_lie_where_the_grid_says(grid):
    rgb = photo(160, 200)
    luma = forge.compress(rgb, 40, grid, "4:4:4").astype(float).mean(2)
    across_rows = [np.abs(np.diff(luma, 2, axis=0))[k::8].mean() for k in range(8)]
    across_columns = [np.abs(np.diff(luma, 2, axis=1))[:, k::8].mean() for k in range(8)]
    # The second difference at index k spans rows k, k+1, k+2: a border before row b shows at k = b-2 and b-1.
    rows = (int(np.argmax(np.add(across_rows, np.roll(across_rows, -1)))) + 2) % 8
    columns = (int(np.argmax(np.add(across_columns, np.roll(across_columns, -1)))) + 2) % 8
    assert (rows, columns) == grid


def test_a_camera_history_is_a_function_of_the_generator():
    options = dict(noise_std=3, demosaic=True, quality=85, grid=(2, 3), scale=0.75)
    first, second, other = (forge.camera_history(photo(), np.random.default_rng(s), **options) for s in (5, 5, 6))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)
    assert first.shape == (90, 120, 3)


@pytest.mark.parametrize("height, width", [(40, 300), (200, 100), (250, 250)])
def test_random_crop_has_the_size_and_shows_the_photo(height, width):
    rgb = photo(100, 300)
    crop = forge.random_crop(rgb, np.random.default_rng(0), height, width)
    assert crop.shape == (height, width, 3)
    if height <= 100:
        windows = np.lib.stride_tricks.sliding_window_view(rgb, (height, width, 3))
        assert (windows == crop).all(axis=(-1, -2, -3)).any()


@pytest.mark.parametrize("shape", [*forge.SHAPES, None])
@pytest.mark.parametrize("area", [0.005, 0.05, 0.2, 0.5])
@pytest.mark.parametrize("height, width", [(96, 96), (400, 600), (600, 300)])
def test_shapes_are_connected_and_have_the_area_asked_for(shape, area, height, width):
    for seed in range(6):
        mask = forge.random_shape_mask(np.random.default_rng(seed), height, width, area, shape)
        assert mask.dtype == bool and mask.shape == (height, width)
        allowed = max(0.15 * area, 2 * 4 * np.sqrt(area / (height * width)))
        assert abs(mask.mean() - area) < allowed
        assert ndimage.label(mask, np.ones((3, 3)))[1] == 1


def test_unknown_shape_and_area_are_refused():
    with pytest.raises(ValueError, match="blob, polygon, ellipse"):
        forge.random_shape_mask(np.random.default_rng(0), 100, 100, 0.1, "star")
    with pytest.raises(ValueError, match="between 0 and 1"):
        forge.random_shape_mask(np.random.default_rng(0), 100, 100, 10)


def test_a_segment_follows_the_object():
    rgb = photo(200, 240)
    thing = disc(200, 240, 90, 130, 45)
    rgb[thing] = (200, 30, 30)
    hits = 0
    for seed in range(20):
        mask = forge.segment_mask(rgb, np.random.default_rng(seed), thing.mean())
        assert 0.3 * thing.mean() < mask.mean() < 3 * thing.mean()
        hits += (mask & thing).sum() / (mask | thing).sum() > 0.8
    assert hits >= 2  # whenever the first segment is picked inside the object


def test_a_thing_is_cut_out_of_what_surrounds_it():
    rgb = photo(200, 240)
    thing = disc(200, 240, 90, 130, 45)
    rgb[thing] = (200, 30, 30)
    for seed in range(5):
        mask = forge.object_mask(rgb, np.random.default_rng(seed))
        assert (mask & thing).sum() / (mask | thing).sum() > 0.9
        assert (mask == forge.object_mask(rgb, np.random.default_rng(seed))).all()


def test_a_photo_without_a_thing_has_none_cut_out():
    flat = np.full((200, 240, 3), 90, np.uint8)
    sky_and_ground = flat.copy()
    sky_and_ground[110:] = (40, 90, 30)  # whatever of it is called the thing ends at three sides
    for rgb in (flat, sky_and_ground, np.full((20, 16, 3), 7, np.uint8)):
        assert forge.object_mask(rgb, np.random.default_rng(1)) is None


def test_splice_pastes_exactly_the_masked_pixels():
    host, donor = photo(seed=1), photo(90, 80, seed=2)
    mask = disc(90, 80, 40, 40, 30)
    image, truth = forge.splice(host, donor, mask, shift=(50, -20))
    assert truth.sum() < mask.sum()  # cut off at the left and the bottom
    for r in range(0, 120, 3):
        for c in range(0, 160, 3):
            y, x = r - 50, c + 20
            inside = 0 <= y < 90 and 0 <= x < 80 and mask[y, x]
            assert truth[r, c] == inside
            assert (image[r, c] == (donor[y, x] if inside else host[r, c])).all()


def test_a_donor_quite_outside_changes_nothing():
    host, donor = photo(seed=1), photo(90, 80, seed=2)
    image, truth = forge.splice(host, donor, np.ones((90, 80), bool), shift=(-200, 500), match_colour=1)
    assert np.array_equal(image, host) and not truth.any()


def test_colour_matching_brings_mean_and_deviation_to_the_hosts():
    host = photo(seed=1) // 4 * 3 + 20
    donor = photo(seed=2)
    mask = disc(120, 160, 60, 80, 40)
    image, truth = forge.splice(host, donor, mask, match_colour=1.0)
    for c in range(3):
        assert image[truth][:, c].mean() == pytest.approx(host[truth][:, c].mean(), abs=1)
        assert image[truth][:, c].std() == pytest.approx(host[truth][:, c].std(), rel=0.05)


def test_feathering_stays_inside_and_fades():
    host, donor = np.zeros((100, 100, 3), np.uint8), np.full((100, 100, 3), 250, np.uint8)
    mask = disc(100, 100, 50, 50, 30)
    image, truth = forge.splice(host, donor, mask, feather=3)
    assert np.array_equal(truth, mask)
    assert not image[~mask].any()
    assert (image[disc(100, 100, 50, 50, 20)] == 250).all()
    assert ((image > 0) & (image < 250)).any()


def test_copy_move_by_a_shift_repeats_the_pixels():
    rgb = photo()
    source = disc(120, 160, 40, 40, 20)
    image, target, kept = forge.copy_move(rgb, source, shift=(30, 60))
    assert np.array_equal(target, np.roll(source, (30, 60), (0, 1)))
    assert np.array_equal(image[target], rgb[source])
    assert np.array_equal(image[~target], rgb[~target])
    assert np.array_equal(kept, source)


def test_copy_move_turns_counter_clockwise_and_scales():
    rgb = photo(200, 200)
    source = np.zeros((200, 200), bool)
    source[40:81, 30:91] = True  # centre (60, 60)
    angle, scale, shift = 30.0, 1.2, (70, 60)
    image, target, _ = forge.copy_move(rgb, source, angle=angle, scale=scale, shift=shift)
    assert target.sum() == pytest.approx(source.sum() * scale**2, rel=0.02)
    turn = np.radians(angle)
    for y, x in [(-10, 20), (5, 0), (12, -25), (0, 28)]:  # offsets from the source's centre
        r = 60 + shift[0] + scale * (y * np.cos(turn) - x * np.sin(turn))
        c = 60 + shift[1] + scale * (x * np.cos(turn) + y * np.sin(turn))
        assert target[round(r), round(c)]
        back = np.array([round(r) - 60 - shift[0], round(c) - 60 - shift[1]]) / scale
        sy = 60 + back[0] * np.cos(turn) + back[1] * np.sin(turn)
        sx = 60 + back[1] * np.cos(turn) - back[0] * np.sin(turn)
        expected = [ndimage.map_coordinates(rgb[:, :, k].astype(float), [[sy], [sx]], order=1)[0] for k in range(3)]
        assert np.abs(image[round(r), round(c)] - expected).max() < 3


@pytest.mark.parametrize("mirror", [False, True])
def test_copy_move_mirrors_shears_turns_and_scales_in_this_order(mirror):
    """Against OpenCV's affine warp with the product of the four matrices."""
    rgb = photo(220, 220)
    source = np.zeros((220, 220), bool)
    source[40:81, 40:101] = True
    source[40:60, 40:60] = False  # so that a mirror image differs
    centre, turn = np.array([70.0, 60.0]), np.radians(25)
    matrix = 1.1 * np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    matrix = matrix @ np.array([[1, 0.3], [0, 1]]) @ np.diag([-1.0 if mirror else 1.0, 1.0])
    offset = centre + np.array([60, 70]) - matrix @ centre
    image, target, _ = forge.copy_move(rgb, source, angle=25, scale=1.1, shear=0.3, mirror=mirror, shift=(70, 60))
    affine = np.column_stack([matrix, offset])
    expected = cv2.warpAffine(rgb, affine, (220, 220), flags=cv2.INTER_LINEAR).astype(int)
    where = cv2.warpAffine(source.astype(np.float32), affine, (220, 220), flags=cv2.INTER_LINEAR) > 0.5
    assert (where != target).mean() < 1e-3
    inside = ndimage.binary_erosion(target & where, iterations=2)
    assert inside.sum() > 1500
    assert np.abs(image[inside] - expected[inside]).max() <= 4
    assert np.array_equal(image[~target], rgb[~target])


def test_copying_nothing_is_refused():
    with pytest.raises(ValueError, match="mask is empty"):
        forge.copy_move(photo(), np.zeros((120, 160), bool))


@pytest.mark.parametrize("method", ["telea", "ns", "exemplar"])
def test_removal_takes_the_object_away_and_touches_nothing_else(method):
    rgb = np.full((120, 160, 3), (60, 120, 60), np.uint8) + photo() // 16
    thing = disc(120, 160, 60, 100, 18)
    rgb[thing] = (255, 0, 0)
    mask = disc(120, 160, 60, 100, 21)
    image, truth = forge.remove(rgb, mask, method=method, rng=np.random.default_rng(0))
    assert np.array_equal(truth, mask)
    assert np.array_equal(image[~mask], rgb[~mask])
    assert image[mask][:, 0].max() < 90 and image[mask][:, 1].min() > 110


def test_exemplar_fill_keeps_the_texture_that_smearing_loses():
    rng = np.random.default_rng(3)
    rgb = rng.integers(100, 140, (120, 160, 3)).astype(np.uint8)
    mask = disc(120, 160, 60, 80, 25)
    smeared = forge.remove(rgb, mask, method="telea")[0][mask].std()
    filled = forge.remove(rgb, mask, method="exemplar", rng=rng)[0][mask].std()
    assert filled > 0.9 * rgb[mask].std() > 1.5 * smeared


def test_a_hole_that_leaves_no_whole_patch_is_still_filled():
    rgb = photo(96, 96)
    mask = np.zeros((96, 96), bool)
    mask[::12] = True
    image, _ = forge.remove(rgb, mask, method="exemplar", rng=np.random.default_rng(0))
    assert np.array_equal(image[~mask], rgb[~mask])


def test_removing_everything_and_unknown_methods_are_refused():
    with pytest.raises(ValueError, match="whole image"):
        forge.remove(photo(), np.ones((120, 160), bool))
    with pytest.raises(ValueError, match="exemplar"):
        forge.remove(photo(), disc(120, 160, 5, 5, 3), method="magic")


def test_a_mask_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"bool \(120, 160\)"):
        forge.remove(photo(), np.zeros((160, 120), bool))
