"""Robustness summaries against values known by hand, against a plain loop of resamples, and by coverage."""

import math

import numpy as np
import pytest
from scipy import integrate

from bench.robustness import area, half_level, retained, robustness
from bench.statistics import bootstrap_mean


def test_values_by_hand():
    found = robustness(np.array([[0.9, 0.8, 0.6, 0.5]] * 2), chance=0.5)
    assert found.area.mean == pytest.approx((0.85 + 0.7 + 0.55) / 3)
    assert found.retained.mean == pytest.approx((0.3 + 0.1 + 0.0) / 3 / 0.4)
    assert found.half.mean == pytest.approx(1.5 / 3)  # .7 lies midway between levels 1 and 2
    assert (found.worst.mean, found.worst_at, found.n, found.photos) == (0.5, 3, 2, 2)


def test_positions_are_those_of_the_levels():
    found = robustness(np.array([[1.0, 0.5, 0.0]] * 3), positions=np.array([0, 1, 4]))
    assert found.area.mean == pytest.approx((0.75 * 1 + 0.25 * 3) / 4)
    assert found.half.mean == pytest.approx(1.0)
    curves = np.random.default_rng(0).random((5, 7))
    x = np.sort(np.random.default_rng(1).random(7))
    assert area(curves, x) == pytest.approx(integrate.trapezoid(curves, x, axis=1) / (x[-1] - x[0]))


@pytest.mark.parametrize(
    ("curve", "half", "share"),
    [
        ([0.9, 0.8, 0.75], math.inf, (0.3 + 0.25) / 2 / 0.4),  # never falls so far
        ([0.9, 0.9, 0.9], math.inf, 1.0),
        ([0.9, 0.95, 1.0], math.inf, (0.45 + 0.5) / 2 / 0.4),  # the perturbation helps
        ([0.9, 0.7, 0.9], 0.5, (0.2 + 0.4) / 2 / 0.4),  # the first time counts
        ([0.9, 0.5, 0.5], 0.25, 0.0),
        ([0.5, 0.6, 0.4], math.nan, math.nan),  # no excess over chance
        ([0.4, 0.4, 0.4], math.nan, math.nan),
    ],
)
def test_half_level_and_retained_share(curve, half, share):
    curves = np.array([curve])
    assert half_level(curves, np.linspace(0, 1, 3), 0.5)[0] == pytest.approx(half, nan_ok=True)
    assert retained(curves, 0.5)[0] == pytest.approx(share, nan_ok=True)


def test_an_image_that_lacks_a_level_is_left_out_everywhere():
    values = np.array([[0.9, 0.5], [0.8, 0.4], [0.1, np.nan]])
    assert robustness(values) == robustness(values[:2])


def test_intervals_of_area_and_worst_level_are_those_of_means():
    """A mean of levels is a mean over images, and with one level so is the worst."""
    rng = np.random.default_rng(2)
    values, photos = rng.random((40, 2)), rng.integers(0, 12, 40)
    found = robustness(values, clusters=photos)
    by_mean = bootstrap_mean(values.mean(axis=1), clusters=photos)
    assert found.area == pytest.approx(by_mean, abs=2e-3)
    assert found.worst == pytest.approx(bootstrap_mean(values[:, 1], clusters=photos), abs=4e-3)


def test_coverage_of_every_summary():
    """True curve .9, .8, .65, .55 with image effects: area, share and half level are known."""
    truth = np.array([[0.9, 0.8, 0.65, 0.55]])
    x = np.linspace(0, 1, 4)
    known = (area(truth, x)[0], retained(truth, 0.5)[0], half_level(truth, x, 0.5)[0])
    inside = np.zeros(3)
    for trial in range(300):
        rng = np.random.default_rng(5000 + trial)
        values = truth + 0.1 * rng.normal(size=(40, 1)) + 0.1 * rng.normal(size=(40, 4))
        found = robustness(values, chance=0.5, seed=trial)
        inside += [i.low <= value <= i.high for i, value in zip(found[:3], known, strict=True)]
    assert (inside / 300 > 0.91).all() and (inside / 300 < 0.99).all()


def test_too_little():
    one = robustness(np.array([[0.9, 0.8]]))
    assert one.area.mean == pytest.approx(0.85) and math.isnan(one.area.low)
    none = robustness(np.full((3, 2), np.nan))
    assert none.n == 0 and math.isnan(none.area.mean)
    with pytest.raises(ValueError, match="increasing"):
        robustness(np.ones((3, 2)), positions=np.array([1, 0]))
    with pytest.raises(ValueError, match="1 levels"):
        robustness(np.ones((3, 1)))
