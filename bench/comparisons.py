"""Comparisons beyond the paired difference: effect sizes, ranks over several test sets, chance in a perturbation."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from bench.statistics import bootstrap_mean, cluster_sums


class Effect(NamedTuple):
    """How large a difference is beside its spread, over n source photos.

    d: mean difference over its standard deviation between photos, times Hedges' correction for small n (Cohen's d_z;
    Lakens, Frontiers in Psychology 4, 2013); NaN with fewer than two photos, 0 where nothing differs, infinite where
    all photos differ alike. superiority: share of the photos on which the candidate is better, ties counted half.
    """

    d: float
    superiority: float
    wins: int
    ties: int
    losses: int

    @property
    def n(self) -> int:
        """How many were compared."""
        return self.wins + self.ties + self.losses


def effect_size(reference: np.ndarray, candidate: np.ndarray, *, clusters: np.ndarray | None = None) -> Effect:
    """Effect of candidate against reference, each (images,), over the images at which both are finite.

    clusters: (images,) source photos; the images of one are averaged, as they are not independent.
    """
    change = np.asarray(candidate, np.float64) - np.asarray(reference, np.float64)
    finite = np.isfinite(change)
    if not finite.any():
        return Effect(math.nan, math.nan, 0, 0, 0)
    labels = np.arange(change.size) if clusters is None else np.asarray(clusters)
    sums, sizes = cluster_sums(change[finite, None], labels[finite])
    photos = sums[:, 0] / sizes
    n, mean = photos.size, float(photos.mean())
    wins, losses = int((photos > 0).sum()), int((photos < 0).sum())
    d = math.nan
    if n > 1:
        spread = 0.0 if np.ptp(photos) < 1e-12 * abs(mean) else float(photos.std(ddof=1))
        corrected = (1 - 3 / (4 * (n - 1) - 1)) * mean
        d = corrected / spread if spread else math.copysign(math.inf, mean) if mean else 0.0
    return Effect(d, (wins + (n - wins - losses) / 2) / n, wins, n - wins - losses, losses)


class Ranks(NamedTuple):
    """Localizers ranked over several test sets (Demsar, Journal of Machine Learning Research 7, 2006).

    ranks: (k,) mean rank of each localizer, 1 = best. chi2, p: Friedman's statistic with its correction for ties, and
    the p-value of Iman and Davenport's F, which is less conservative. critical: Nemenyi's critical difference; two
    localizers whose mean ranks differ by less cannot be told apart. groups: the largest sets of localizers that
    cannot, as indices, best first.
    """

    ranks: np.ndarray
    chi2: float
    p: float
    critical: float
    groups: list[tuple[int, ...]]


def critical_difference(scores: np.ndarray, *, alpha: float = 0.05) -> Ranks:
    """Ranks of scores (test sets, localizers), larger = better, all finite.

    chi2 = 12 N / (k (k + 1)) (sum_j R_j^2 - k (k + 1)^2 / 4) over N sets and k localizers, divided by the correction
    for ties; F = (N - 1) chi2 / (N (k - 1) - chi2) with k - 1 and (k - 1)(N - 1) degrees of freedom; critical =
    q_alpha sqrt(k (k + 1) / (6 N)), q the studentized range's quantile over sqrt 2.

    Raises ValueError with fewer than two sets or localizers, or where a score is missing.
    """
    from scipy.stats import f, rankdata, studentized_range

    scores = np.asarray(scores, np.float64)
    sets, count = scores.shape
    if sets < 2 or count < 2 or not np.isfinite(scores).all():
        raise ValueError(f"{sets} test sets and {count} localizers: needs two of each, and a score of each on each")
    ranked = rankdata(-scores, axis=1)
    ranks = ranked.mean(axis=0)
    spread = float(((ranked - (count + 1) / 2) ** 2).sum()) / (count - 1)  # sets * k (k + 1) / 12 without ties
    chi2 = sets**2 * float(((ranks - (count + 1) / 2) ** 2).sum()) / spread if spread else 0.0
    left = sets * (count - 1) - chi2
    p = float(f.sf((sets - 1) * chi2 / left, count - 1, (count - 1) * (sets - 1))) if left > 1e-9 else 0.0
    critical = float(studentized_range.ppf(1 - alpha, count, np.inf)) / math.sqrt(2)
    critical *= math.sqrt(count * (count + 1) / (6 * sets))
    return Ranks(ranks, chi2, p, critical, _groups(ranks, critical))


def _groups(ranks: np.ndarray, critical: float) -> list[tuple[int, ...]]:
    """The runs of neighbouring ranks within the critical difference that no other run contains."""
    order = np.argsort(ranks, kind="stable")
    groups, reached = [], 0
    for start in range(len(order)):
        end = start
        while end + 1 < len(order) and ranks[order[end + 1]] - ranks[order[start]] < critical:
            end += 1
        if end > start and end + 1 > reached:
            groups.append(tuple(order[start : end + 1].tolist()))
            reached = end + 1
    return groups


class OverDraws(NamedTuple):
    """Mean over images and over draws of a random perturbation, with both sources of chance.

    low, high: interval, of new images and new draws. between: standard deviation of the whole set's mean from one
    draw to the next. share: of the mean's variance, what the draws alone make; 0 where more draws would not help.
    """

    mean: float
    low: float
    high: float
    between: float
    share: float
    draws: int
    n: int


def over_draws(
    values: np.ndarray, *, clusters: np.ndarray | None = None, confidence: float = 0.95, resamples: int = 2000
) -> OverDraws:
    """values: (draws, images), one row a seed of the perturbation; images with a gap are left out.

    The realisations of different images are independent (they are seeded by image), so draws are nested in images:
    Var(mean) = sigma_image^2 / n + sigma_draw^2 / (n draws). Resampling the photos with their averages over the draws
    covers both terms; the second is estimated by the pooled variance within images.

    Raises ValueError for fewer than two draws.
    """
    values = np.asarray(values, np.float64)
    if len(values) < 2:
        raise ValueError("one draw says nothing about the chance in the perturbation; run several seeds")
    complete = np.isfinite(values).all(axis=0)
    values = values[:, complete]
    labels = None if clusters is None else np.asarray(clusters)[complete]
    mean, low, high = bootstrap_mean(values.mean(axis=0), clusters=labels, confidence=confidence, resamples=resamples)
    number, n = values.shape
    if not n:
        return OverDraws(math.nan, math.nan, math.nan, math.nan, math.nan, number, 0)
    within = float(values.var(axis=0, ddof=1).mean()) / n
    averages = values.mean(axis=0)
    sums, sizes = cluster_sums((averages - mean)[:, None], np.arange(n) if labels is None else labels)
    k = sizes.size
    total = k / (k - 1) * float((sums**2).sum()) / n**2 if k > 1 else math.nan
    share = within / number / total if total else 0.0
    return OverDraws(mean, low, high, math.sqrt(within), min(1.0, share), number, n)
