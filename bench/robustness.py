"""How much of a localizer's accuracy survives a perturbation: four summaries of its curve over the levels.

With m_0 the mean at the identity level, m_1 ... m_L the means at the levels x_1 < ... < x_L, and c what chance gives:

    area      (1 / (x_L - x_0)) sum_l (m_l + m_{l+1}) / 2 (x_{l+1} - x_l), the normalised area under the curve
    retained  (mean of m_1 ... m_L - c) / (m_0 - c), the share of the excess over chance that is left
    half      the first x at which the curve, drawn with straight lines, falls to c + (m_0 - c) / 2
    worst     the smallest of m_1 ... m_L

All means are over the same images, those that have a value at every level, so that a level does not look better
because hard images drop out of it. Intervals resample source photos, each with all its images and levels.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bench.statistics import Interval, cluster_draws, cluster_sums, tail_share


class Robustness(NamedTuple):
    """Summaries with their intervals (field mean: the value), see the module.

    half: infinite where the curve never falls so far within the levels that were measured; a bound may be, too.
    retained, half: NaN without any excess over chance at the identity level, bounds NaN where a resample has none.
    worst_at: number of the level with the smallest mean. n: images that every mean is over, photos: of how many photos.
    """

    area: Interval
    retained: Interval
    half: Interval
    worst: Interval
    worst_at: int
    n: int
    photos: int


def robustness(
    values: np.ndarray,
    *,
    positions: np.ndarray | None = None,
    chance: float = 0.0,
    clusters: np.ndarray | None = None,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Robustness:
    """Summaries of values (images, levels), of which level 0 is the identity and larger is better.

    positions: x (levels,), increasing; None spaces the levels evenly from 0 to 1, which suits grids whose numbers
    (quality factors, noise levels) are not proportional to what they do. chance: the value of a localizer that knows
    nothing, .5 for AUC, 0 where there is none. clusters: (images,) source photos.

    Raises ValueError for fewer than two levels or positions that do not increase.
    """
    values = np.asarray(values, np.float64)
    levels = values.shape[1]
    x = np.linspace(0, 1, levels) if positions is None else np.asarray(positions, np.float64)
    if levels < 2 or x.shape != (levels,) or not (np.diff(x) > 0).all():
        raise ValueError(f"{levels} levels at {x.tolist()}: needs the identity and a level, at increasing positions")
    complete = np.isfinite(values).all(axis=1)
    labels = (np.arange(len(values)) if clusters is None else np.asarray(clusters))[complete]
    if not complete.any():
        nothing = Interval(np.nan, np.nan, np.nan)
        return Robustness(nothing, nothing, nothing, nothing, 0, 0, 0)
    sums, sizes = cluster_sums(values[complete], labels)
    curve = values[complete].mean(axis=0)[None]
    chosen = cluster_draws(sizes.size, resamples, seed)
    resampled = (chosen @ sums) / (chosen @ sizes)[:, None]

    def summary(function) -> Interval:
        (value,) = function(curve)
        if sizes.size < 2:
            return Interval(float(value), np.nan, np.nan)
        drawn, cut = function(resampled), tail_share(confidence, sizes.size)
        # no interpolation between resamples: some may be infinite
        low, high = np.quantile(drawn, (cut, 1 - cut), method="inverted_cdf")
        return Interval(float(value), float(low), float(high))

    return Robustness(
        summary(lambda m: area(m, x)),
        summary(lambda m: retained(m, chance)),
        summary(lambda m: half_level(m, x, chance)),
        summary(lambda m: m[:, 1:].min(axis=1)),
        1 + int(curve[0, 1:].argmin()),
        int(complete.sum()),
        int(sizes.size),
    )


def area(curves: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Normalised area under curves (k, levels) over positions x (levels,): (k,), a weighted mean of the levels."""
    return np.trapezoid(curves, x, axis=1) / (x[-1] - x[0])


def retained(curves: np.ndarray, chance: float) -> np.ndarray:
    """Share of the excess over chance at the first level that is left over the others, on average; (k,).

    NaN without excess; negative where the curve falls below chance, above 1 where the perturbation helps.
    """
    excess = curves - chance
    return np.where(excess[:, 0] > 0, excess[:, 1:].mean(axis=1) / np.where(excess[:, 0] > 0, excess[:, 0], 1), np.nan)


def half_level(curves: np.ndarray, x: np.ndarray, chance: float) -> np.ndarray:
    """The position at which half of the excess over chance is gone for the first time, (k,); infinite where never."""
    excess = curves - chance
    missing = excess - excess[:, :1] / 2  # below 0 where more than half is gone
    below = missing[:, 1:] <= 0
    after = np.argmax(below, axis=1) + 1
    rows = np.arange(len(curves))
    before, here = missing[rows, after - 1], missing[rows, after]
    crossed = below.any(axis=1)
    step = np.divide(before, before - here, out=np.zeros(len(curves)), where=crossed & (before > here))
    found = np.where(crossed, x[after - 1] + step * (x[after] - x[after - 1]), np.inf)
    return np.where(excess[:, 0] > 0, found, np.nan)
