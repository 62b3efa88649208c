"""Intervals and comparisons over images: bootstrap of means, paired bootstrap of differences, Holm's correction.

Images forged from one photo are not independent, so whole clusters (source photos) are resampled, each with all of
its images (Davison and Hinkley, Bootstrap Methods, 1997, section 3.8). Intervals are percentile intervals of the
resampled means at the expanded level of Hesterberg (The American Statistician 69(4), 2015, section 5): alpha / 2 is
replaced by Phi(-sqrt(k / (k - 1)) t), t being Student's quantile for k clusters, because the plain percentile
interval is too narrow when k is small. NaN values are left out everywhere; n counts the finite ones.

Where networks are trained several times, chance has a second source, the seed: `over_seeds`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np


class Interval(NamedTuple):
    """A mean and the bounds of its bootstrap interval; NaN where they are undefined."""

    mean: float
    low: float
    high: float


class Difference(NamedTuple):
    """Mean of candidate - reference over the n images that both have, its interval and two-sided bootstrap p-value."""

    mean: float
    low: float
    high: float
    n: int
    p: float


def bootstrap_mean(
    values: np.ndarray,
    *,
    clusters: np.ndarray | None = None,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Mean of the finite values (n,) with its interval.

    clusters: (n,) labels; values of one label are resampled together. None: every value for itself.
    Mean NaN without a finite value; bounds NaN with fewer than two clusters, from which nothing can be said.
    """
    column = np.asarray(values, np.float64).reshape(-1, 1)
    means, low, high = bootstrap_means(column, clusters=clusters, confidence=confidence, resamples=resamples, seed=seed)
    return Interval(float(means[0]), float(low[0]), float(high[0]))


def bootstrap_means(
    values: np.ndarray,
    *,
    clusters: np.ndarray | None = None,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`bootstrap_mean` of every column of values (n, m) at once: means, lower and upper bounds, each (m,)."""
    means, drawn, sizes = resampled_means(values, clusters=clusters, resamples=resamples, seed=seed)
    return means, *interval_bounds(drawn, sizes, confidence)


def resampled_means(
    values: np.ndarray, *, clusters: np.ndarray | None = None, resamples: int = 2000, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means (m,) of the columns of values (n, m), their resampled means (resamples, m) and numbers of clusters (m,).

    One matrix product makes the resamples of all columns that have values at the same rows.

    A column with fewer than two clusters has NaN resamples: nothing can be said from it.
    """
    values = np.asarray(values, np.float64)
    finite = np.isfinite(values)
    labels = np.arange(len(values)) if clusters is None else np.asarray(clusters)
    if len(labels) != len(values):
        raise ValueError(f"{len(labels)} cluster labels for {len(values)} values")
    means, counts = np.full(values.shape[1], np.nan), np.zeros(values.shape[1], int)
    drawn = np.full((resamples, values.shape[1]), np.nan, order="F")
    # columns that lack the same images share their clusters and so their resamples
    patterns: dict[bytes, list[int]] = {}
    for column, pattern in enumerate(np.packbits(finite, axis=0).T):
        patterns.setdefault(pattern.tobytes(), []).append(column)
    for columns in patterns.values():
        pattern = finite[:, columns[0]]
        if not pattern.any():
            continue
        present = values[np.ix_(pattern, columns)]
        means[columns] = present.mean(axis=0)
        sums, sizes = cluster_sums(present, labels[pattern])
        counts[columns] = len(sizes)
        if len(sizes) > 1:
            drawn[:, columns] = _resampled(sums, sizes, resamples, seed)
    return means, drawn, counts


def interval_bounds(drawn: np.ndarray, clusters: np.ndarray, confidence: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper bounds (m,) of resampled means (resamples, m) over so many clusters (m,); NaN below two."""
    low, high = (np.full(drawn.shape[1], np.nan) for _ in range(2))
    for count in np.unique(clusters):
        if count > 1:
            columns = np.flatnonzero(clusters == count)
            tail = tail_share(confidence, int(count))
            of_column = np.ascontiguousarray(drawn[:, columns].T)
            low[columns], high[columns] = np.quantile(of_column, (tail, 1 - tail), axis=1)
    return low, high


def two_sided(drawn: np.ndarray) -> np.ndarray:
    """Two-sided bootstrap p-values (m,) of mean differences resampled (resamples, m), as in `paired_bootstrap`."""
    beyond = np.minimum((drawn <= 0).sum(axis=0), (drawn >= 0).sum(axis=0))
    p = np.minimum(1.0, 2 * (beyond + 1) / (len(drawn) + 1))
    return np.where(np.isnan(drawn[:1]).any(axis=0), np.nan, p)


def paired_bootstrap(
    reference: np.ndarray,
    candidate: np.ndarray,
    *,
    clusters: np.ndarray | None = None,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Difference:
    """Candidate - reference over the images at which both (n,) are finite, as `bootstrap_mean` of the differences.

    p: twice the smaller share of resamples on one side of zero (those at zero on both), one added to count and
    resamples so that it is never 0 (Davison and Hinkley, equation 4.11); NaN with fewer than two clusters.
    """
    change = np.asarray(candidate, np.float64) - np.asarray(reference, np.float64)
    finite = np.isfinite(change)
    mean, low, high = bootstrap_mean(change, clusters=clusters, confidence=confidence, resamples=resamples, seed=seed)
    p = math.nan
    if math.isfinite(low):
        labels = np.arange(change.size) if clusters is None else np.asarray(clusters)
        drawn = _resampled(*cluster_sums(change[finite, None], labels[finite]), resamples, seed)
        beyond = min(np.count_nonzero(drawn <= 0), np.count_nonzero(drawn >= 0))
        p = min(1.0, 2 * (beyond + 1) / (resamples + 1))
    return Difference(mean, low, high, int(finite.sum()), p)


def holm(p_values: np.ndarray) -> np.ndarray:
    """p-values (m,) adjusted for m comparisons (Holm, Scandinavian Journal of Statistics 6(2), 1979).

    NaN stays NaN and does not count as a comparison.
    """
    p_values = np.asarray(p_values, np.float64)
    adjusted = np.full(p_values.shape, np.nan)
    order = np.argsort(p_values)[: np.count_nonzero(np.isfinite(p_values))]
    steps = p_values[order] * np.arange(order.size, 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted


def cluster_sums(values: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Per cluster: sum of each column of values (n, m) and number of rows."""
    _, index = np.unique(labels, return_inverse=True)
    sizes = np.bincount(index)
    sums = np.zeros((sizes.size, values.shape[1]))
    np.add.at(sums, index, values)
    return sums, sizes


def _resampled(sums: np.ndarray, sizes: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Means (resamples, m) of clusters drawn with replacement."""
    drawn = cluster_draws(sizes.size, resamples, seed)
    return (drawn @ sums) / (drawn @ sizes)[:, None]


@functools.lru_cache(maxsize=4)
def cluster_draws(clusters: int, resamples: int, seed: int) -> np.ndarray:
    """How often each cluster is drawn in each resample, float64 (resamples, clusters)."""
    chosen = np.random.default_rng(seed).integers(0, clusters, (resamples, clusters))
    chosen += clusters * np.arange(resamples)[:, None]
    return np.bincount(chosen.ravel(), minlength=resamples * clusters).reshape(resamples, clusters).astype(np.float64)


@functools.lru_cache(maxsize=1024)
def tail_share(confidence: float, clusters: int) -> float:
    """The share of resampled means to leave out on each side."""
    from scipy.special import ndtr, stdtrit

    student = stdtrit(clusters - 1, (1 + confidence) / 2)
    return float(ndtr(-math.sqrt(clusters / (clusters - 1)) * student))


class OverSeeds(NamedTuple):
    """Mean over n images of `clusters` photos and over seeds, of one variant or of a difference of two.

    se: standard error over images and seeds; df: its degrees of freedom; low, high: interval; p: two-sided.
    """

    mean: float
    low: float
    high: float
    p: float
    se: float
    df: float
    n: int
    clusters: int


class SeedVariance(NamedTuple):
    """Variance between trainings that differ in their seed alone, and its degrees of freedom."""

    value: float
    df: int


def seed_variance(groups: Iterable[np.ndarray]) -> SeedVariance:
    """Pooled variance of the means over images of several variants' trainings.

    groups: one array (seeds, images) a variant. Those with one seed tell nothing. Raises ValueError where none tells.
    """
    means = [np.mean(group, axis=1) for group in groups]
    df = sum(len(m) - 1 for m in means)
    if df < 1:
        raise ValueError("no variant was trained with two seeds")
    return SeedVariance(float(sum(((m - m.mean()) ** 2).sum() for m in means) / df), df)


def over_seeds(
    reference: np.ndarray,
    candidate: np.ndarray | None,
    between: SeedVariance,
    *,
    clusters: np.ndarray,
    confidence: float = 0.95,
) -> OverSeeds:
    """Reference - candidate, each (seeds, images) and finite, over the same images.

    Without a candidate it is the mean of the reference. Two sources of chance are crossed: which photos
    are tested (images of one are not independent: `clusters` holds a label per image) and which seed a network is
    trained from. The variance of the mean is the sum of

        images: G / (G - 1) sum_g (sum of photo g's seed-averaged differences from the mean)^2 / n^2, G photos,
        seeds:  between.value (1 / seeds of the reference + 1 / seeds of the candidate),

    with Satterthwaite's degrees of freedom (Biometrics Bulletin 2, 1946) for the Student interval and p. With a
    handful of seeds, resampling them would not do: three seeds have ten distinct resamples, and their percentiles
    cover far less than they say. That the same seed starts alike in both is not used; it could only narrow the
    interval. The seeds' part contains a little of the images' already, which errs on the wide side.
    """
    from scipy.special import stdtr, stdtrit

    values = np.mean(reference, axis=0)
    weight = 1 / len(reference)
    if candidate is not None:
        values = values - np.mean(candidate, axis=0)
        weight += 1 / len(candidate)
    mean = float(values.mean())
    sums, sizes = cluster_sums((values - mean)[:, None], np.asarray(clusters))
    groups = len(sizes)
    if groups < 2:
        return OverSeeds(mean, math.nan, math.nan, math.nan, math.nan, math.nan, values.size, groups)
    of_images = groups / (groups - 1) * float((sums**2).sum()) / values.size**2
    of_seeds = between.value * weight
    variance = of_images + of_seeds
    if variance == 0:
        return OverSeeds(mean, mean, mean, 1.0 if mean == 0 else 0.0, 0.0, math.inf, values.size, groups)
    df = variance**2 / (of_images**2 / (groups - 1) + of_seeds**2 / between.df)
    se = math.sqrt(variance)
    reach = se * float(stdtrit(df, (1 + confidence) / 2))
    p = 2 * float(stdtr(df, -abs(mean) / se))
    return OverSeeds(mean, mean - reach, mean + reach, p, se, df, values.size, groups)


def detectable(se: float, df: float, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """The smallest true difference that a two-sided test at level `alpha` finds with probability `power`.

    (t_{1 - alpha / 2, df} + t_{power, df}) se, t Student's quantiles (Cohen, Statistical Power Analysis, 1988).
    """
    from scipy.special import stdtrit

    return se * float(stdtrit(df, 1 - alpha / 2) + stdtrit(df, power))
