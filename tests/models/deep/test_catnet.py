"""CAT-Net: its input from JPEG bytes, and the localizer with a network as wide as a hair."""

import io

import numpy as np
import pytest
from PIL import Image

import models
from models.deep import catnet
from models.deep.parts.dct_volume import dct_volume, luma_coefficients, with_jpeg
from models.deep.parts.tiles import Tiling
from models.image import ForensicImage, JpegCoefficients, encode_jpeg
from models.memory import Cost, MemoryPolicy


@pytest.fixture
def narrow(tiny_weights):
    return tiny_weights("catnet-v2")


def test_volume_equals_a_loop_over_coefficients():
    rng = np.random.default_rng(3)
    coefficients = rng.integers(-30, 31, (8, 16)).astype(np.int32)
    volume = dct_volume(coefficients).numpy()
    assert volume.shape == (21, 8, 16) and volume.dtype == np.float32
    for k in range(21):
        for (y, x), c in np.ndenumerate(coefficients):
            assert volume[k, y, x] == (abs(c) >= 20 if k == 20 else abs(c) == k)


def test_luma_is_cut_to_the_blocks_that_cover_the_image_or_filled_with_zeros():
    stored = JpegCoefficients((np.arange(32 * 16, dtype=np.int32).reshape(32, 16),), (), ())
    covered = luma_coefficients(stored, 17, 20)
    assert covered.shape == (24, 24)
    np.testing.assert_array_equal(covered[:, :16], stored.coefficients[0][:24])
    assert not covered[:, 16:].any()


@pytest.mark.parametrize("subsampling", ["4:2:0", "4:2:2", "4:4:4"])
def test_coefficients_and_table_give_back_the_luma_of_the_file(photo, subsampling):
    image = ForensicImage.from_jpeg(encode_jpeg(photo(30, 43).rgb, 80, subsampling))
    coefficients, table = luma_coefficients(image.dct, *image.shape), image.dct.tables[0]
    i = np.arange(8)
    basis = np.cos((2 * i[None] + 1) * i[:, None] * np.pi / 16) * np.where(i == 0, 8**-0.5, 0.5)[:, None]
    blocks = coefficients.reshape(4, 8, 6, 8).transpose(0, 2, 1, 3) * table
    luma = (basis.T @ blocks @ basis).transpose(0, 2, 1, 3).reshape(32, 48) + 128
    with Image.open(io.BytesIO(image.jpeg)) as file:
        file.draft("L", file.size)
        stored = np.asarray(file.convert("L"), np.float64)
    assert np.abs(np.clip(luma[:30, :43], 0, 255) - stored).max() < 1.01


def test_an_image_without_jpeg_bytes_is_saved_as_pillow_saves_it(photo):
    image = photo(20, 30)
    file = io.BytesIO()
    Image.fromarray(image.rgb).save(file, "JPEG", quality=100, subsampling=0)
    saved = with_jpeg(image)
    assert saved.jpeg == file.getvalue()
    np.testing.assert_array_equal(saved.rgb, np.asarray(Image.open(file)))
    assert with_jpeg(saved) is saved


def test_input_is_padded_with_grey_to_whole_blocks(photo):
    image = ForensicImage.from_jpeg(encode_jpeg(photo(13, 20).rgb, 90))
    rgb, volume, table = catnet.network_input(image)
    assert rgb.shape == (1, 3, 16, 24) and volume.shape == (1, 21, 16, 24) and table.shape == (1, 1, 8, 8)
    np.testing.assert_allclose(rgb[0, :, :13, :20].permute(1, 2, 0) * 127.5 + 127.5, image.rgb, atol=1e-4)
    assert not rgb[:, :, 13:].any() and not rgb[:, :, :, 20:].any()
    assert table[0, 0, 0, 0] == 3 and table[0, 0, 0, 7] == 12  # row 0 of the standard table at quality 90


@pytest.mark.parametrize(("height", "width", "grey"), [(1, 1, False), (7, 30, True), (61, 50, False)])
def test_localizes_images_of_any_size(narrow, photo, height, width, grey):
    localizer = models.build("catnet-v2", weights=narrow)
    plain = photo(height, width, grey)
    for image in (plain, ForensicImage.from_jpeg(encode_jpeg(plain.rgb, 80))):
        score = localizer.localize(image)
        assert score.kind == "probability" and score.values.shape == (height, width)
        assert score.values.min() >= 0 and score.values.max() <= 1
        assert score.extras["resaved"] == (image.jpeg is None)


def test_patches_of_the_volume_give_what_the_whole_gives(narrow, photo, monkeypatch):
    localizer = models.build("catnet-v2", weights=narrow)
    image = ForensicImage.from_jpeg(encode_jpeg(photo(90, 60).rgb, 80))
    whole = localizer.localize(image).values
    monkeypatch.setattr(catnet, "PATCH_SIDE", 20)
    np.testing.assert_allclose(localizer.localize(image).values, whole, atol=1e-5)


def test_tiles_come_close_to_the_whole(narrow, photo, monkeypatch):
    localizer = models.find("catnet-v2")
    monkeypatch.setattr(localizer, "memory", MemoryPolicy(Cost(per_pixel=1000), Tiling(320, 64)))
    image = ForensicImage.from_jpeg(encode_jpeg(photo(192, 448).rgb, 80))
    whole, tiled = (models.build("catnet-v2", weights=narrow, memory_gb=gb).localize(image) for gb in (1, 0.08))
    assert whole.extras["seen"] == "whole" and tiled.extras["seen"] == "tiles 320x320, overlap 128"
    assert np.corrcoef(whole.values.ravel(), tiled.values.ravel())[0, 1] > 0.99
    assert np.abs(whole.values - tiled.values).mean() < 0.02 * whole.values.std()


def test_a_jpeg_of_grey_pixels_alone_is_read(narrow, photo):
    file = io.BytesIO()
    Image.fromarray(photo(24, 24, grey=True).rgb[:, :, 0]).save(file, "JPEG", quality=75)
    score = models.build("catnet-v2", weights=narrow).localize(ForensicImage.from_jpeg(file.getvalue()))
    assert score.values.shape == (24, 24) and not score.extras["resaved"]


def test_the_map_follows_the_coefficients_and_not_only_the_pixels(narrow, photo):
    localizer = models.build("catnet-v2", weights=narrow)
    image = ForensicImage.from_jpeg(encode_jpeg(photo(64, 64).rgb, 70))
    once, again = localizer.localize(image).values, localizer.localize(image).values
    without = localizer.localize(ForensicImage(image.rgb)).values
    np.testing.assert_array_equal(once, again)
    assert np.abs(once - without).max() > 1e-3
