"""ADQ1, ADQ2, NADQ and DCT on constructed double JPEG splices, beside recorded maps of pyIFD 0.0.3."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

import models
from models.classical import adq1, adq2, nadq
from models.classical import dct as inconsistent_quantisation
from models.classical.blocks import jpeg_luminance, to_pixels
from models.image import ForensicImage, NotApplicable, decode_rgb, encode_jpeg

JPEG_ONLY = ["adq1", "adq2", "nadq", "nadq-aligned"]


def saved(rgb, quality):
    return decode_rgb(encode_jpeg(rgb, quality))


def aligned_splice(host, donor, mask, first, second):
    """A JPEG photo with a region that was never compressed, saved again on the same grid."""
    return ForensicImage.from_jpeg(encode_jpeg(np.where(mask[..., None], donor, saved(host, first)), second))


def non_aligned_splice(host, donor, mask, first, second):
    """An uncompressed photo with a region from a JPEG whose grid is moved by (3, 5), saved as JPEG."""
    region = np.roll(saved(donor, first), (3, 5), (0, 1))
    return ForensicImage.from_jpeg(encode_jpeg(np.where(mask[..., None], region, host), second))


def block_values(score, size=8):
    """One value a block of a map of the image's size: the mean of its central four pixels."""
    rows, columns = (n // size for n in score.values.shape)
    middle = score.values[: rows * size, : columns * size].reshape(rows, size, columns, size)
    return middle[:, size // 2 - 1 : size // 2 + 1, :, size // 2 - 1 : size // 2 + 1].mean((1, 3))


def auc(mask, image, name):
    return roc_auc_score(mask.ravel(), models.build(name).localize(image).values.ravel())


@pytest.mark.parametrize("name", ["adq1", "adq2", "nadq-aligned"])
@pytest.mark.parametrize("first, second", [(60, 85), (50, 95)])
def test_aligned_double_jpeg_splice_is_found(name, first, second, host, donor, forged):
    assert auc(forged, aligned_splice(host, donor, forged, first, second), name) > 0.95


@pytest.mark.parametrize("first, second, least", [(60, 85, 0.999), (50, 95, 0.999), (80, 70, 0.999)])
def test_adq1_agrees_with_pyifd(first, second, least, host, donor, forged, pyifd_maps):
    image = aligned_splice(host, donor, forged, first, second)
    ours = adq1.block_posterior(jpeg_luminance(image)[0])
    assert np.corrcoef(ours.ravel(), pyifd_maps[f"ADQ1_{first}_{second}"].ravel())[0, 1] > least


@pytest.mark.parametrize("first, second, least", [(60, 85, 0.99), (50, 95, 0.99), (80, 70, 0.99)])
def test_adq2_agrees_with_pyifd(first, second, least, host, donor, forged, pyifd_maps):
    ours = models.build("adq2").localize(aligned_splice(host, donor, forged, first, second))
    theirs = pyifd_maps[f"ADQ2_{first}_{second}"]
    assert np.corrcoef(block_values(ours).ravel(), theirs.ravel())[0, 1] > least


def test_nadq_agrees_with_pyifd(host, donor, forged, pyifd_maps):
    image = non_aligned_splice(host, donor, forged, 70, 95)
    ratio, _, _ = nadq.non_aligned_ratio(image, *jpeg_luminance(image))
    ours = nadq._cumulate(ratio, 3)
    theirs = pyifd_maps["NADQ_70_95"][: ours.shape[0], : ours.shape[1]]  # pyIFD adds a row and column of zeros
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.98


def test_dct_separates_at_least_as_well_as_pyifd(host, donor, forged, pyifd_maps):
    """pyIFD counts spectral peaks and wraps its map to 8 bits: AUC .844 and .916 there."""
    for first, second in ((60, 85), (50, 95)):
        theirs = to_pixels(pyifd_maps[f"DCT_{first}_{second}"].astype(np.float32), forged.shape, 8)
        image = aligned_splice(host, donor, forged, first, second)
        assert auc(forged, image, "dct") > roc_auc_score(forged.ravel(), theirs.ravel()) + 0.02


def test_non_aligned_double_jpeg_splice_is_found_with_its_shift(host, donor, forged):
    score = models.build("nadq").localize(non_aligned_splice(host, donor, forged, 70, 95))
    assert roc_auc_score(forged.ravel(), score.values.ravel()) > 0.95
    assert score.extras["shift"] == (3, 5)


@pytest.mark.parametrize("second", [None, 95])
def test_inconsistent_quantisation_is_found(second, host, donor, forged):
    rgb = np.where(forged[..., None], donor, saved(host, 60))
    image = ForensicImage(rgb) if second is None else ForensicImage.from_jpeg(encode_jpeg(rgb, second))
    assert auc(forged, image, "dct") > 0.93


@pytest.mark.parametrize("name", [*JPEG_ONLY, "dct"])
def test_singly_compressed_photo_scores_near_chance(name, host, checkerboard):
    image = ForensicImage.from_jpeg(encode_jpeg(host, 85))
    assert abs(auc(checkerboard, image, name) - 0.5) < 0.05


@pytest.mark.parametrize("name", JPEG_ONLY)
def test_image_without_jpeg_bytes_is_not_applicable(name, host):
    with pytest.raises(NotApplicable, match="not a JPEG"):
        models.build(name).localize(ForensicImage(host))


def test_never_compressed_image_is_not_applicable_to_dct(host):
    with pytest.raises(NotApplicable, match="no DCT frequency shows quantisation"):
        models.build("dct").localize(ForensicImage(host))


def test_estimated_first_steps_are_those_of_the_first_table(host, donor, forged):
    # quality 60: the IJG luminance table begins 13 9 8 / 10 10
    image = aligned_splice(host, donor, forged, 60, 90)
    for name in ("adq2", "nadq-aligned"):
        steps = models.build(name).localize(image).extras["first_steps"]
        assert (steps[0, 1], steps[1, 0], steps[0, 2]) == (9, 10, 8)


def test_quantisation_steps_of_a_decoded_jpeg_are_read_from_its_pixels(host):
    steps = models.build("dct").localize(ForensicImage(saved(host, 70))).extras["steps"]
    true = np.array([[0, 7, 6, 10], [7, 7, 8, 11], [8, 8, 10, 14]])  # IJG table at quality 70, DC left out
    np.testing.assert_allclose(steps[:3, :4].ravel()[1:], true.ravel()[1:], atol=1)


def test_periods_of_combs_are_found_in_histograms():
    position = np.arange(-200, 201)
    for period in (2, 3, 5, 8):
        envelope = 1000 * np.exp(-np.abs(position) / 60)
        assert adq1.histogram_period(np.where(position % period == 0, envelope, 0)) == period
    assert adq1.histogram_period(1000 * np.exp(-np.abs(position) / 60)) == 1


def test_share_of_period_equals_a_loop_over_bins():
    rng = np.random.default_rng(0)
    histogram = rng.integers(0, 50, 41)
    peak, period = int(histogram.argmax()), 6
    expected = np.ones(len(histogram))
    for value, count in enumerate(histogram):
        k = abs(value - peak) // period
        low = peak + k * period if value >= peak else peak - k * period - period + 1
        low = min(max(low, 0), len(histogram) - period)
        if count:
            expected[value] = count / sum(histogram[low : low + period])
    np.testing.assert_allclose(adq1._share_of_period(histogram, period), expected)


@pytest.mark.parametrize("second", [3, 5])
def test_periodic_gain_is_what_double_quantisation_does_to_a_uniform_histogram(second):
    first = np.array([4, 7, 12])
    values = np.arange(-20, 21)
    fine = np.arange(-400, 400, 0.01) + 0.005  # no ties with the borders of bins
    for q, gain in zip(first, adq2.periodic_gain(values, first, second), strict=True):
        once = np.rint(fine / second)
        twice = np.rint(q * np.rint(fine / q) / second)
        ratio = [(twice == v).sum() / (once == v).sum() for v in values]
        np.testing.assert_allclose(gain, ratio, atol=0.02)


def test_em_on_the_histogram_equals_em_on_the_blocks():
    rng = np.random.default_rng(3)
    beside = np.rint(rng.laplace(0, 40, 3000))
    here = np.concatenate([np.rint(rng.laplace(0, 40, 1500)), np.rint(rng.laplace(0, 40, 1500) / 9) * 9])
    steps = np.array([7, 8, 9, 10])
    fit = nadq._fit_plain(here, beside, steps, 0.6, 0.0)
    reference = np.bincount(beside.astype(int) + 2048, minlength=4096).astype(float)
    once = (reference + 1) / (len(beside) + 4096)
    likelihoods = []
    for step in steps:  # one coefficient after the other, as the paper writes it
        twice = nadq._quantised(reference, np.array([step]), 0.6, 0.0)[0]
        twice = (twice / twice.sum() * len(beside) + 1) / (len(beside) + 4096)
        alpha = 0.95
        for _ in range(20):
            p0 = [once[int(v) + 2048] for v in here]
            p1 = [twice[int(v) + 2048] for v in here]
            alpha = np.mean([a * alpha / (a * alpha + b * (1 - alpha)) for a, b in zip(p0, p1, strict=True)])
        likelihoods.append(np.sum(np.log(alpha * np.array(p0) + (1 - alpha) * np.array(p1))))
    assert fit.step == steps[int(np.argmax(likelihoods))] == 9
    assert fit.likelihood == pytest.approx(max(likelihoods), abs=10)


def test_dct_line_strength_equals_the_fourier_transform():
    rng = np.random.default_rng(0)
    values = np.rint(rng.laplace(0, 40, 5000) / 11) * 11
    assert inconsistent_quantisation.quantisation_step(values + rng.normal(0, 0.4, 5000)) == 11
    assert inconsistent_quantisation.quantisation_step(rng.laplace(0, 40, 5000)) == 1
