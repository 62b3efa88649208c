"""Effect sizes, ranks over test sets and chance in a perturbation, against SciPy, printed tables and simulation."""

import math

import numpy as np
import pytest
from scipy import stats

from bench.comparisons import critical_difference, effect_size, over_draws


def test_effect_size_is_hedges_of_the_paired_differences():
    rng = np.random.default_rng(0)
    old, new = rng.random(30), rng.random(30) + 0.1
    found = effect_size(old, new)
    t = stats.ttest_rel(new, old).statistic
    assert found.d == pytest.approx(t / math.sqrt(30) * (1 - 3 / (4 * 29 - 1)))
    brute = np.mean([(n > o) + 0.5 * (n == o) for o, n in zip(old, new, strict=True)])
    assert found.superiority == pytest.approx(brute) and found.n == 30


def test_images_of_a_photo_are_averaged():
    photos = np.repeat(np.arange(8), 3)
    rng = np.random.default_rng(1)
    old, new = rng.random(24), rng.random(24)
    found = effect_size(old, new, clusters=photos)
    means = [(new - old)[photos == p].mean() for p in range(8)]
    assert found == effect_size(np.zeros(8), np.array(means))


@pytest.mark.parametrize(
    ("change", "d", "superiority"),
    [([0, 0, 0], 0.0, 0.5), ([0.1, 0.1, 0.1], math.inf, 1.0), ([-0.1] * 3, -math.inf, 0.0), ([0.2], math.nan, 1.0),
     ([], math.nan, math.nan), ([math.nan], math.nan, math.nan)],
)  # fmt: skip
def test_edges_of_effect_sizes(change, d, superiority):
    found = effect_size(np.zeros(len(change)), np.array(change, float))
    assert found.d == pytest.approx(d, nan_ok=True) and found.superiority == pytest.approx(superiority, nan_ok=True)


@pytest.mark.parametrize("ties", [False, True])
def test_friedman_equals_scipys(ties):
    scores = np.random.default_rng(2).random((9, 5))
    scores = scores.round(1) if ties else scores
    found = critical_difference(scores)
    assert found.chi2 == pytest.approx(stats.friedmanchisquare(*scores.T).statistic)
    f = 8 * found.chi2 / (9 * 4 - found.chi2)
    assert found.p == pytest.approx(stats.f.sf(f, 4, 32))


# Demsar 2006, table 5(a): critical values of the two-tailed Nemenyi test at .05
@pytest.mark.parametrize(
    ("count", "q"), [*enumerate((1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164), start=2)]
)
def test_critical_difference_equals_the_printed_table(count, q):
    found = critical_difference(np.random.default_rng(3).random((14, count)))
    assert found.critical == pytest.approx(q * math.sqrt(count * (count + 1) / 84), abs=1.5e-3)


def test_groups_are_the_largest_that_cannot_be_told_apart():
    # ranks 1, 2, 3, 4 on every set: the critical difference of 4 localizers on 12 sets is 1.354
    scores = np.tile([4.0, 3.0, 2.0, 1.0], (12, 1))
    found = critical_difference(scores[:, [2, 0, 3, 1]])
    assert found.ranks.tolist() == [3, 1, 4, 2] and found.p < 1e-12
    assert found.groups == [(1, 3), (3, 0), (0, 2)]
    assert critical_difference(np.ones((5, 3))).groups == [(0, 1, 2)]
    assert critical_difference(np.ones((5, 3))).p == pytest.approx(1.0)


@pytest.mark.parametrize("scores", [np.ones((1, 3)), np.ones((3, 1)), np.array([[1, np.nan], [1, 2]])])
def test_ranks_need_sets_and_scores(scores):
    with pytest.raises(ValueError, match="needs two of each"):
        critical_difference(scores)


def test_family_wise_rate_of_the_critical_difference():
    alarms = [
        bool(np.ptp(found.ranks) >= found.critical)
        for found in (critical_difference(np.random.default_rng(i).random((20, 4))) for i in range(200))
    ]
    assert np.mean(alarms) < 0.09


def draws_of(rng, draws, images, of_image=0.1, of_draw=0.1):
    return 0.6 + of_image * rng.normal(size=images) + of_draw * rng.normal(size=(draws, images))


def test_two_sources_of_chance_are_told_apart():
    found = [over_draws(draws_of(np.random.default_rng(i), 4, 50)) for i in range(200)]
    assert np.mean([f.between for f in found]) == pytest.approx(0.1 / math.sqrt(50), rel=0.05)
    # of_draw^2 / draws over of_image^2 + of_draw^2 / draws
    assert np.mean([f.share for f in found]) == pytest.approx(0.2, rel=0.1)


def test_interval_covers_new_images_and_new_draws():
    found = [over_draws(draws_of(np.random.default_rng(5000 + i), 3, 30)) for i in range(300)]
    assert 0.92 < np.mean([f.low <= 0.6 <= f.high for f in found]) < 0.98


def test_a_perturbation_without_chance_has_none():
    values = np.tile(np.random.default_rng(5).random(20), (3, 1))
    found = over_draws(values)
    assert (found.between, found.share, found.draws, found.n) == (pytest.approx(0), pytest.approx(0), 3, 20)
    with pytest.raises(ValueError, match="several seeds"):
        over_draws(values[:1])
