import math
from itertools import pairwise

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from sklearn.datasets import load_sample_image

from bench.perturb import parse, perturb
from bench.severity import severity
from models.image import ForensicImage


@pytest.fixture(scope="module")
def photo():
    return ForensicImage(np.ascontiguousarray(load_sample_image("flower.jpg")[60:260, 100:393]))


@pytest.mark.parametrize("spec", [p.spec for p in parse("jpeg:90,50,5;blur:3,9;noise:2,10,100;noise:0")])
def test_equals_scikit_image(photo, spec):
    changed = perturb(photo, spec, ("set", "flower"))
    measured = severity(photo, changed)
    reference = structural_similarity(
        photo.luminance.astype(float),
        changed.luminance.astype(float),
        data_range=255,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    assert measured.ssim == pytest.approx(reference, abs=1e-5)
    if not np.array_equal(photo.rgb, changed.rgb):
        assert measured.psnr == pytest.approx(peak_signal_noise_ratio(photo.rgb, changed.rgb), abs=1e-9)


def test_saturated_and_flat_images_stay_exact():
    rng = np.random.default_rng(0)
    black = ForensicImage(np.zeros((64, 64, 3), np.uint8))
    white = ForensicImage(np.full((64, 64, 3), 255, np.uint8))
    speckled = ForensicImage(np.where(rng.random((64, 64, 1)) < 0.1, 250, white.rgb).astype(np.uint8))
    for a, b in ((black, white), (white, speckled), (speckled, black)):
        reference = structural_similarity(
            a.luminance.astype(float),
            b.luminance.astype(float),
            data_range=255,
            gaussian_weights=True,
            use_sample_covariance=False,
        )
        assert severity(a, b).ssim == pytest.approx(reference, abs=1e-4)
    assert severity(black, white).psnr == 0


def test_identity_is_infinitely_close(photo):
    measured = severity(photo, perturb(photo, "identity"))
    assert (measured.psnr, measured.ssim, measured.bytes) == (math.inf, 1.0, None)


def test_bytes_are_those_of_the_jpeg(photo):
    compressed = perturb(photo, "jpeg:60")
    assert severity(photo, compressed).bytes == len(compressed.jpeg)
    assert severity(compressed, compressed).bytes == len(compressed.jpeg)
    assert severity(photo, perturb(compressed, "blur:3")).bytes is None


def test_another_size_is_brought_back(photo):
    half, tenth = (severity(photo, perturb(photo, f"resize:{factor}")) for factor in (0.5, 0.1))
    assert math.inf > half.psnr > tenth.psnr > 10
    assert 1 > half.ssim > tenth.ssim > 0
    assert severity(photo, perturb(photo, "resize:0.5+jpeg:70")).bytes > 0


def test_stronger_is_more_severe(photo):
    for family in ("jpeg:90,80,70,60,50", "blur:3,5,9", "noise:2,5,10"):
        measured = [severity(photo, p.apply(photo, ("set", "flower"))) for p in parse(family)]
        assert all(a.psnr > b.psnr and a.ssim > b.ssim for a, b in pairwise(measured)), family


def test_ssim_of_an_image_under_its_window_is_undefined():
    small = ForensicImage(np.full((10, 40, 3), 90, np.uint8))
    measured = severity(small, ForensicImage(small.rgb + np.uint8(1)))
    assert math.isnan(measured.ssim)
    assert measured.psnr == pytest.approx(20 * math.log10(255))


def test_bits_per_pixel_are_of_the_perturbed_image_and_known_of_other_codecs(photo):
    half = perturb(photo, "resize:0.5+jpeg:70")
    measured = severity(photo, half)
    assert measured.bits_per_pixel == 8 * len(half.jpeg) / (half.shape[0] * half.shape[1])
    sizes = [severity(photo, perturb(photo, f"webp:{q}")).bytes for q in (90, 50, 10)]
    assert sizes[0] > sizes[1] > sizes[2] > 0
    assert severity(photo, perturb(photo, "webp:50+blur:3")).bits_per_pixel is None


def test_region_of_severity_equals_its_crop(photo):
    noisy = perturb(photo, "noise:10")
    where = np.zeros(photo.shape, bool)
    where[40:150, 60:200] = True
    inner = [ForensicImage(np.ascontiguousarray(i.rgb[where].reshape(110, 140, 3))) for i in (photo, noisy)]
    whole, part = severity(photo, noisy, where), severity(*inner)
    assert whole.psnr == pytest.approx(part.psnr, abs=1e-9)
    assert whole.ssim == pytest.approx(part.ssim, abs=1e-6)
    assert whole.scorable == where.mean()
