"""Many paired comparisons at once: which mean changes could not all be chance.

A check compares hundreds of cells; were each tested by itself, an unchanged localizer would fail often. Here the
largest test statistic over all cells is held against what it is where nothing changed (max-T; Westfall and Young,
Resampling-Based Multiple Testing, 1993), so that the chance of even one false alarm is bounded, however many cells
there are and however they hang together.

What it is where nothing changed is found by swapping: then the two runs of a photo are exchangeable, so that changing
the sign of all differences of a photo, in all cells at once, gives an outcome as likely as the one observed (Fisher's
randomization test; exact for any distribution of the noise). Up to `SWAPS` patterns are tried all, otherwise that
many are drawn. With so few photos that even the rarest pattern is too likely (2^k patterns of k photos, so fewer than
seven at a rate of .01), Student's t with Bonferroni's correction takes its place; it assumes normal noise.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from bench.statistics import cluster_sums

SWAPS = 4096
_BLOCK = 512  # cells that are resampled together, so that memory does not grow with their number
_SLACK = 1e-9  # relative; equal statistics may differ by rounding


class Changes(NamedTuple):
    """Of each of m cells, arrays (m,).

    mean: over its images, NaN without any. se: standard error of the mean, photos being independent; NaN with fewer
    than two photos. photos, images: how many were compared. critical: how many standard errors a mean must exceed
    to differ from 0 at the family-wise rate; NaN where nothing can be said.
    """

    mean: np.ndarray
    se: np.ndarray
    photos: np.ndarray
    images: np.ndarray
    critical: np.ndarray

    @property
    def t(self) -> np.ndarray:
        """mean / se: 0 where nothing changed, infinite where all images changed alike."""
        return _ratio(self.mean, self.se)

    @property
    def differs(self) -> np.ndarray:
        """Whether |t| exceeds the critical value, (m,) bool."""
        return np.abs(self.t) > self.critical * (1 + _SLACK)

    def detectable(self, power: float) -> np.ndarray:
        """The true change of each cell that would be found with this probability: (critical + t_power) se.

        The noise is taken to be what it was here (Cohen, Statistical Power Analysis, 1988). The statistic's
        own spread is that of a noncentral t: Student's quantile times sqrt(1 + critical^2 / (2 df)).
        """
        from scipy.special import stdtrit

        df = np.maximum(self.photos - 1, 1)
        return (self.critical + stdtrit(df, power) * np.sqrt(1 + self.critical**2 / (2 * df))) * self.se


def paired_changes(
    changes: np.ndarray, *, clusters: np.ndarray, rate: float, swaps: int = SWAPS, seed: int = 0
) -> Changes:
    """Means of the changes, and the critical values that keep false alarms at `rate`.

    Where nothing changed, the chance that any mean is called a loss is at most `rate`, and the same for a gain.
    changes: (images, cells), NaN where an image is not compared. clusters: (images,) labels of the source photos.
    Cells of few photos and of many are two families, as a statistic of two photos, which is wild, would hide the
    others; each is tested at half the rate.
    """
    changes = np.asarray(changes, np.float64)
    present = np.isfinite(changes)
    sums, _ = cluster_sums(np.where(present, changes, 0), clusters)
    counts, _ = cluster_sums(present.astype(np.float64), clusters)
    images, photos = counts.sum(axis=0), np.count_nonzero(counts, axis=0)
    cells = _Cells(sums, counts, images, photos)
    mean, se = (row[0] for row in cells.resampled(np.ones((1, len(sums)))))
    critical = np.full(len(mean), np.nan)

    patterns, judged, families = np.exp2(np.minimum(photos, 60)), photos > 1, 1
    swapped = judged & (patterns * rate >= 1)
    if swapped.any() and (judged & ~swapped).any():
        families = 2
        swapped = judged & (patterns * rate >= families)
    few = judged & ~swapped
    if swapped.any():
        critical[swapped] = _critical_by_swaps(cells.of(swapped), rate / families, swaps, seed)
    if few.any():
        from scipy.special import stdtrit

        critical[few] = stdtrit(photos[few] - 1, 1 - rate / families / np.count_nonzero(few))
    return Changes(mean, se, photos, images.astype(int), critical)


class _Cells(NamedTuple):
    """Sums of the changes per photo and cell (photos, cells), how many images they are of, and both totals (cells,)."""

    sums: np.ndarray
    counts: np.ndarray
    images: np.ndarray
    photos: np.ndarray

    def of(self, chosen: np.ndarray | slice) -> _Cells:
        return _Cells(self.sums[:, chosen], self.counts[:, chosen], self.images[chosen], self.photos[chosen])

    def resampled(self, signs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Means and their standard errors (patterns, cells) with the photos' changes times signs (patterns, photos).

        The variance of a mean is k / (k - 1) sum_g (s_g S_g - n_g mean)^2 / n^2 over k photos with sums S_g of n_g
        images; its square is multiplied out, so that it takes two matrix products.
        """
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = signs @ self.sums / self.images
            spread = (self.sums**2).sum(axis=0) + mean * (
                mean * (self.counts**2).sum(axis=0) - 2 * (signs @ (self.sums * self.counts))
            )
            # a difference of nearly equal numbers where all photos changed alike: what rounding leaves is no spread
            spread[spread < 1e-13 * (self.sums**2).sum(axis=0)] = 0
            variance = spread * (self.photos / (self.photos - 1)) / self.images**2
        return mean, np.sqrt(np.where(self.photos > 1, variance, np.nan))


def _critical_by_swaps(cells: _Cells, rate: float, swaps: int, seed: int) -> np.ndarray:
    """The value (cells,) that the largest statistic exceeds in at most `rate` of the patterns; see `paired_changes`.

    With unequal numbers of photos the statistics are compared by their tail probability, else the cell with the
    fewest photos would decide for all.
    """
    from scipy.special import log_ndtr, ndtri_exp, stdtr, stdtrit

    signs = _patterns(np.flatnonzero(cells.counts.any(axis=1)), len(cells.sums), max(swaps, math.ceil(10 / rate)), seed)
    df = cells.photos - 1
    alike = (df == df[0]).all()
    largest = np.full(len(signs), -np.inf)
    for start in range(0, len(df), _BLOCK):
        block = slice(start, start + _BLOCK)
        mean, se = cells.of(block).resampled(signs)
        t = _ratio(mean, se)
        if not alike:
            t = -ndtri_exp(np.log(np.maximum(stdtr(df[block], -t), 1e-300)))
        np.maximum(largest, t.max(axis=1), out=largest)
    exceeding = math.floor(rate * len(signs) + _SLACK)  # patterns, the one observed among them
    bound = np.partition(largest, -exceeding - 1)[-exceeding - 1]
    if alike:
        return np.full(len(df), bound)
    return -stdtrit(df, np.exp(log_ndtr(-bound)))


def _patterns(used: np.ndarray, photos: int, most: int, seed: int) -> np.ndarray:
    """Signs (patterns, photos), the first row all 1: every pattern of the used photos if they are at most `most`."""
    if 2.0 ** len(used) <= most:
        signs = np.ones((2 ** len(used), photos))
        signs[:, used] = 1 - 2.0 * (np.arange(len(signs))[:, None] >> np.arange(len(used)) & 1)
        return signs
    signs = 2.0 * np.random.default_rng(seed).integers(0, 2, (most, photos)) - 1
    signs[0] = 1
    return signs


def _ratio(mean: np.ndarray, se: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(mean == 0, 0.0 * se, mean / se)
