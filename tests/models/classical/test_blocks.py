"""The shared block arithmetic against SciPy, Pillow and plain loops."""

import io

import numpy as np
import pytest
from PIL import Image
from scipy.fft import dctn

from models.classical import blocks
from models.image import ForensicImage, encode_jpeg


def test_block_dct_is_scipys_and_inverts(host):
    plane = host[:40, :52, 0].astype(np.float32)
    coefficients = blocks.block_dct(plane)
    assert coefficients.shape == (5, 6, 8, 8)
    np.testing.assert_allclose(coefficients[3, 2], dctn(plane[24:32, 16:24], norm="ortho"), atol=1e-3)
    np.testing.assert_allclose(blocks.inverse_block_dct(coefficients), plane[:40, :48], atol=1e-3)


@pytest.mark.parametrize("quality", [1, 25, 49, 50, 75, 90, 100])
def test_standard_tables_are_those_that_pillow_writes(quality):
    file = io.BytesIO()
    Image.new("L", (8, 8)).save(file, "JPEG", quality=quality)
    written = Image.open(file).quantization[0]
    np.testing.assert_array_equal(blocks.standard_luminance_table(quality).ravel(), written)


def test_zigzag_walks_the_diagonals_as_jpeg_does():
    assert blocks.ZIGZAG[:6] == ((0, 0), (0, 1), (1, 0), (2, 0), (1, 1), (0, 2))
    assert blocks.ZIGZAG[-3:] == ((6, 7), (7, 6), (7, 7))
    assert len(set(blocks.ZIGZAG)) == 64


def test_coefficients_of_the_file_decode_to_its_pixels(host):
    image = ForensicImage.from_jpeg(encode_jpeg(host[:50, :61], 90, "4:4:4"))
    coefficients, table = blocks.jpeg_luminance(image)
    assert coefficients.shape == (7, 8, 8, 8)
    luminance = blocks.inverse_block_dct(coefficients * table) + 128
    error = blocks.rounding_error(image, luminance)
    assert error.shape == (48, 56)
    assert np.abs(error).mean() < 0.5


@pytest.mark.parametrize("origin", [(0, 0), (3, 5)])
def test_block_map_reaches_the_pixels_of_its_blocks(origin):
    values = np.random.default_rng(0).random((4, 5))
    spread = blocks.to_pixels(values, (40, 47), 8, origin)
    assert spread.shape == (40, 47)
    top, left = origin
    centres = spread[top : top + 32, left : left + 40].reshape(4, 8, 5, 8)[:, 3:5, :, 3:5].mean((1, 3))
    np.testing.assert_allclose(centres, values, atol=0.12)
    np.testing.assert_allclose(spread[top, left], values[0, 0], atol=1e-6)
    np.testing.assert_allclose(spread[-1, -1], values[-1, -1], atol=1e-6)


def test_deviation_has_no_polarity_and_is_zero_for_a_constant():
    values = np.array([1.0, 2, 3, 4, 9])
    np.testing.assert_allclose(blocks.deviation(values), [2, 1, 0, 1, 6])
    np.testing.assert_allclose(blocks.deviation(-values), blocks.deviation(values))
    assert (blocks.deviation(np.full(5, 3.0)) == 0).all()
