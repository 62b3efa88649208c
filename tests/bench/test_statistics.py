"""Bootstrap intervals against SciPy, and their coverage by simulation."""

import math

import numpy as np
import pytest
from scipy import stats

from bench.statistics import (
    SeedVariance,
    bootstrap_mean,
    bootstrap_means,
    detectable,
    holm,
    over_seeds,
    paired_bootstrap,
    seed_variance,
)


def expanded(confidence, n):
    """The confidence level whose plain percentile interval is the expanded one (Hesterberg 2015, section 5)."""
    t = stats.t.ppf((1 + confidence) / 2, n - 1)
    return 1 - 2 * stats.norm.cdf(-math.sqrt(n / (n - 1)) * t)


@pytest.mark.parametrize("n", [5, 12, 40])
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_equals_scipys_percentile_bootstrap(n, confidence):
    values = np.random.default_rng(n).beta(0.5, 1, n)
    found = bootstrap_mean(values, confidence=confidence, resamples=20_000)
    reference = stats.bootstrap(
        (values,),
        np.mean,
        method="percentile",
        confidence_level=expanded(confidence, n),
        n_resamples=20_000,
        rng=np.random.default_rng(1),
    ).confidence_interval
    assert found.mean == pytest.approx(values.mean())
    error = values.std() / math.sqrt(n)
    assert found.low == pytest.approx(reference.low, abs=0.06 * error)
    assert found.high == pytest.approx(reference.high, abs=0.06 * error)


def test_clusters_of_equal_size_are_resampled_like_their_means():
    rng = np.random.default_rng(0)
    photos = np.repeat(np.arange(15), 4)
    values = rng.normal(size=15)[photos] + 0.1 * rng.normal(size=60)
    shuffled = rng.permutation(60)
    by_cluster = bootstrap_mean(values[shuffled], clusters=np.array([f"p{i:02d}" for i in photos])[shuffled])
    by_mean = bootstrap_mean(values.reshape(15, 4).mean(axis=1))
    assert by_cluster == pytest.approx(by_mean, abs=1e-12)
    alone = bootstrap_mean(values)
    assert by_cluster.high - by_cluster.low > 1.6 * (alone.high - alone.low)


def coverage(draw, truth, trials, **options):
    inside = 0
    for trial in range(trials):
        values, clusters = draw(np.random.default_rng(trial))
        _, low, high = bootstrap_mean(values, clusters=clusters, resamples=400, seed=trial, **options)
        inside += low <= truth <= high
    return inside / trials


def test_coverage_of_independent_images():
    found = coverage(lambda rng: (rng.beta(2, 3, 12), None), 0.4, 400)
    assert 0.92 < found < 0.98


def test_coverage_of_images_from_few_photos_needs_the_clusters():
    photos = np.repeat(np.arange(10), 4)

    def draw(rng, clusters=photos):
        return rng.normal(size=10)[photos] + 0.3 * rng.normal(size=40), clusters

    assert 0.91 < coverage(draw, 0.0, 400) < 0.985
    assert coverage(lambda rng: draw(rng, None), 0.0, 400) < 0.8


def test_nan_values_are_left_out():
    values = np.array([0.2, np.nan, 0.9, 0.4, np.nan])
    photos = np.array([0, 0, 1, 2, 3])
    assert bootstrap_mean(values, clusters=photos) == bootstrap_mean(values[[0, 2, 3]], clusters=photos[[0, 2, 3]])


@pytest.mark.parametrize(
    "values, clusters, mean",
    [([], None, math.nan), ([math.nan], None, math.nan), ([0.5], None, 0.5), ([0.2, 0.4], ["a", "a"], 0.3)],
)
def test_too_little_for_an_interval(values, clusters, mean):
    found = bootstrap_mean(values, clusters=clusters)
    assert found.mean == pytest.approx(mean, nan_ok=True)
    assert math.isnan(found.low) and math.isnan(found.high)


def test_columns_at_once_equal_columns_one_by_one():
    rng = np.random.default_rng(3)
    values = rng.random((20, 7))
    values[rng.random(values.shape) < 0.2] = np.nan
    values[:, 2] = np.nan
    photos = rng.integers(0, 6, 20)
    together = np.array(bootstrap_means(values, clusters=photos)).T
    for column, found in zip(values.T, together, strict=True):
        assert found == pytest.approx(np.array(bootstrap_mean(column, clusters=photos)), abs=1e-12, nan_ok=True)


def test_same_seed_same_interval():
    values = np.random.default_rng(4).random(30)
    assert bootstrap_mean(values, seed=5) == bootstrap_mean(values, seed=5)
    assert bootstrap_mean(values, seed=5) != bootstrap_mean(values, seed=6)


def test_cluster_labels_must_fit():
    with pytest.raises(ValueError, match="2 cluster labels for 3 values"):
        bootstrap_mean([1, 2, 3], clusters=[0, 1])


def test_paired_bootstrap_is_the_interval_of_the_differences():
    rng = np.random.default_rng(6)
    old = rng.random(40)
    new = old - 0.05 + 0.02 * rng.normal(size=40)
    old[3] = new[7] = np.nan
    found = paired_bootstrap(old, new, confidence=0.99)
    assert found[:3] == bootstrap_mean(new - old, confidence=0.99)
    assert found.n == 38
    assert found.high < 0 and found.p == pytest.approx(2 / 2001)
    same = paired_bootstrap(old, old)
    assert (same.mean, same.low, same.high, same.p) == (0, 0, 0, 1)


def test_p_value_is_close_to_a_paired_test():
    rng = np.random.default_rng(8)
    old = rng.normal(size=60)
    new = old + 0.13 + 0.5 * rng.normal(size=60)
    found = paired_bootstrap(old, new, resamples=20_000)
    assert found.p == pytest.approx(stats.ttest_rel(new, old).pvalue, abs=0.02)
    flipped = paired_bootstrap(new, old, resamples=20_000)
    assert flipped.mean == pytest.approx(-found.mean) and flipped.p == pytest.approx(found.p)


def test_paired_bootstrap_without_pairs():
    found = paired_bootstrap([1.0, np.nan], [np.nan, 1.0])
    assert found.n == 0 and math.isnan(found.mean) and math.isnan(found.p)


def test_holm_by_hand():
    # sorted .01 .02 .03 .5 -> x4 x3 x2 x1 = .04 .06 .06 .5, running maximum
    found = holm([0.03, math.nan, 0.01, 0.5, 0.02])
    assert found == pytest.approx([0.06, math.nan, 0.04, 0.5, 0.06], nan_ok=True)
    assert holm([0.6, 0.7]).tolist() == [1, 1]
    assert holm([]).size == 0


# ------------------------------------------------------------------------------------------------ images and seeds

PHOTOS = np.repeat(np.arange(24), 2)


def trained(rng, seeds, level=0.0, of_photo=None):
    """(seeds, images): an effect of each seed (std .5), of each photo under this variant (std 1), and noise (.3)."""
    of_seed = 0.5 * rng.normal(size=(seeds, 1))
    of_photo = rng.normal(size=24) if of_photo is None else of_photo
    return level + of_seed + of_photo[PHOTOS] + 0.3 * rng.normal(size=(seeds, PHOTOS.size))


def test_without_variance_between_seeds_it_is_the_paired_test():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(1, 30)), rng.normal(size=(1, 30)) + 0.4
    found = over_seeds(a, b, SeedVariance(0.0, 4), clusters=np.arange(30))
    expected = stats.ttest_rel(a[0], b[0])
    assert (found.p, found.df, found.n, found.clusters) == (pytest.approx(expected.pvalue), pytest.approx(29), 30, 30)
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval(0.95)))


def test_without_variance_between_images_it_is_the_two_sample_test():
    rng = np.random.default_rng(1)
    a, b = (np.repeat(rng.normal(size=(n, 1)), 10, axis=1) for n in (3, 4))
    found = over_seeds(a, b, seed_variance([a, b]), clusters=np.arange(10))
    expected = stats.ttest_ind(a[:, 0], b[:, 0])
    assert (found.p, found.df) == (pytest.approx(expected.pvalue), pytest.approx(5))
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval(0.95)))


def test_images_of_one_photo_count_together():
    """Leave-one-photo-out jackknife, which the formula equals for photos with equally many images."""
    values = trained(np.random.default_rng(2), 1)
    found = over_seeds(values, None, SeedVariance(0.0, 1), clusters=PHOTOS)
    left = np.array([values[0, photo != PHOTOS].mean() for photo in range(24)])
    assert found.se**2 == pytest.approx(23 / 24 * ((left - left.mean()) ** 2).sum())


def test_standard_error_is_that_of_resampling_seeds_and_photos():
    """Both resampled by brute force; the bootstrap's variance of few seeds is (k - 1) / k of theirs."""
    rng = np.random.default_rng(3)
    a, b = trained(rng, 8), trained(rng, 8)
    found = over_seeds(a, b, seed_variance([a, b]), clusters=PHOTOS)
    drawn = []
    for _ in range(4000):
        photos = np.concatenate([np.flatnonzero(photo == PHOTOS) for photo in rng.integers(0, 24, 24)])
        rows = [rng.integers(0, 8, 8) for _ in range(2)]
        drawn.append(a[np.ix_(rows[0], photos)].mean() - b[np.ix_(rows[1], photos)].mean())
    assert found.mean == pytest.approx(a.mean() - b.mean())
    assert found.se == pytest.approx(np.std(drawn), rel=0.08)


def test_coverage_over_images_and_three_seeds():
    """Images alone would promise far too much; so would percentiles of resampled seeds."""
    inside = {"both": 0, "images": 0}
    for trial in range(400):
        rng = np.random.default_rng(trial)
        a, b = trained(rng, 3, level=0.2), trained(rng, 3)
        found = over_seeds(a, b, seed_variance([a, b]), clusters=PHOTOS)
        alone = paired_bootstrap(b.mean(0), a.mean(0), clusters=PHOTOS, resamples=300)
        inside["both"] += found.low <= 0.2 <= found.high
        inside["images"] += alone.low <= 0.2 <= alone.high
    assert 0.925 < inside["both"] / 400 < 0.99
    assert inside["images"] / 400 < 0.88


def test_a_single_seed_borrows_the_variance_of_the_others():
    inside = 0
    for trial in range(400):
        rng = np.random.default_rng(trial)
        a, b, single = trained(rng, 3), trained(rng, 3), trained(rng, 1)
        found = over_seeds(a, single, seed_variance([a, b, single]), clusters=PHOTOS)
        inside += found.low <= 0 <= found.high
    assert 0.925 < inside / 400 < 0.99


def test_seed_variance_is_pooled():
    rng = np.random.default_rng(4)
    groups = [rng.normal(size=(n, 5)) + n for n in (3, 4, 1)]
    means = [group.mean(axis=1) for group in groups[:2]]
    expected = (2 * np.var(means[0], ddof=1) + 3 * np.var(means[1], ddof=1)) / 5
    assert seed_variance(groups) == (pytest.approx(expected), 5)
    with pytest.raises(ValueError, match="two seeds"):
        seed_variance([groups[2]])


@pytest.mark.parametrize("count", [4, 10])
def test_a_detectable_difference_is_detected_as_often_as_promised(count):
    """Two-sample tests of a true difference of that size: their standard error and degrees of freedom are known."""
    true = detectable(math.sqrt(2 / count), 2 * count - 2, alpha=0.0125, power=0.8)
    samples = np.random.default_rng(5).normal(size=(20_000, 2, count))
    p = stats.ttest_ind(samples[:, 0] + true, samples[:, 1], axis=1).pvalue
    assert (p < 0.0125).mean() == pytest.approx(0.8, abs=0.03)


def test_one_photo_says_nothing_about_photos():
    found = over_seeds(np.array([[0.2, 0.4]]), None, SeedVariance(0.1, 2), clusters=np.array(["a", "a"]))
    assert found.mean == pytest.approx(0.3) and math.isnan(found.low) and math.isnan(found.p)
