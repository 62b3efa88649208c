"""Exact counts behind every pixel metric: both classes sorted, and what a threshold at each forged score gives.

AUC, average precision and the best threshold depend on the scores through their order alone, so two sorts (one a
class, vectorised in NumPy) and one binary search for each distinct forged score replace the sorts, gathers and
cumulative sums over all pixels that scikit-learn makes for each metric anew.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Ranking:
    """The order of forged and pristine scores, ties included.

    positives (P,), negatives (N,): all scores of forged and of pristine pixels, ascending.
    values (V,): the distinct scores of forged pixels, ascending. For each of them, int64:
    count: forged pixels of exactly this score; ties: pristine pixels of exactly this score;
    tp, fp: forged and pristine pixels called forged by `score >= value`.
    """

    positives: np.ndarray
    negatives: np.ndarray
    values: np.ndarray
    count: np.ndarray
    ties: np.ndarray
    tp: np.ndarray
    fp: np.ndarray

    @classmethod
    def of(cls, scores: np.ndarray, mask: np.ndarray) -> Ranking:
        """Rank finite scores (H, W) against a bool mask (H, W), True = forged."""
        scores, mask = scores.ravel(), mask.ravel()
        positives, negatives = scores.compress(mask), scores.compress(~mask)
        positives.sort()
        negatives.sort()
        return cls.of_sorted(positives, negatives)

    @classmethod
    def of_sorted(cls, positives: np.ndarray, negatives: np.ndarray) -> Ranking:
        """Rank forged against pristine scores, both ascending."""
        first = np.ones(positives.size, bool)
        np.not_equal(positives[1:], positives[:-1], out=first[1:])
        start = np.flatnonzero(first)
        values = positives[start]
        below = np.searchsorted(negatives, values, "left")
        ties = np.zeros(values.size, np.int64)
        if negatives.size:
            # most scores of a continuous map are tied with no pristine one: search the upper end only where they are
            tied = negatives[np.minimum(below, negatives.size - 1)] == values
            ties[tied] = np.searchsorted(negatives, values[tied], "right") - below[tied]
        count = np.diff(start, append=positives.size)
        return cls(positives, negatives, values, count, ties, positives.size - start, negatives.size - below)

    @property
    def half_concordant(self) -> int:
        """Twice the number of (forged, pristine) pairs in which the forged pixel scores higher, a tie being half."""
        below = self.negatives.size - self.fp
        return int(np.dot(self.count, 2 * below + self.ties))

    def auc(self) -> float:
        """Area under the ROC curve (Mann-Whitney, ties half); NaN where one class is absent."""
        pairs = self.positives.size * self.negatives.size
        return self.half_concordant / (2 * pairs) if pairs else np.nan

    def average_precision(self) -> float:
        """Step-wise sum of precision over recall, as scikit-learn's average_precision_score; NaN without positives."""
        if not self.positives.size:
            return np.nan
        return float(np.dot(self.count, self.tp / (self.tp + self.fp))) / self.positives.size

    def best(self) -> tuple[float, float, float]:
        """(threshold, F1, IoU) of the threshold at which both are largest; NaN without positives.

        IoU = F1 / (2 - F1) grows with F1, so one threshold serves both, and it is always a forged pixel's score:
        raising a threshold to the next forged score above it loses no true positive.
        """
        if not self.positives.size:
            return np.nan, np.nan, np.nan
        union = self.positives.size + self.fp
        iou = self.tp / union
        at = int(np.argmax(iou))
        return float(self.values[at]), float(2 * self.tp[at] / (union[at] + self.tp[at])), float(iou[at])
