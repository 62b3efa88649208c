"""`Curve`: the joint histogram of score and ground truth in bins adapted to the scores; the statistic of `native`."""

from __future__ import annotations

import functools
import lzma
import math
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bench.metrics.kernel import Ranking

if TYPE_CHECKING:
    from bench.metrics.view import Seen

SHARE = 384  # parts of a class, with an edge each; two edges are at most 1.5 parts apart, 1/256 of the class
HEADER = struct.Struct("<BIdd")
VERSION = 2
# Small counts and round edges in transposed bytes: no literal contexts, a dictionary of the size of the data.
PACKING = ({"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 1 << 16, "lc": 0, "pb": 0},)


@dataclass(frozen=True, eq=False)
class Curve:
    """The joint histogram of score and ground truth of one image, in bins adapted to its scores.

    thresholds: float32 (B,), strictly descending. positives, negatives: int64 (B,): the forged and the pristine pixels
        with thresholds[b] <= score < thresholds[b - 1]. The first bin is empty (its edge lies just above the
        maximum) and the last edge is the minimum: every pixel is in a bin. B is about 770 for continuous scores.
    auc, ap: pixel AUC and average precision of the scores themselves, before binning; NaN where undefined.

    Edges lie near the quantiles of both classes, each at the number with the fewest bits there, so that few bytes
    hold them, and so that no bin holds more than 1/256 of either class unless it is one tied score, which is never
    split and stands alone where it is heavy; and always at the protocols' fixed thresholds and at the threshold of
    the best F1. So best F1, best IoU and everything at those thresholds are exact, like AUC and AP. At any other
    threshold the counts are off by at most 1/256 of each class.
    """

    thresholds: np.ndarray
    positives: np.ndarray
    negatives: np.ndarray
    auc: float
    ap: float

    @classmethod
    def from_scores(cls, values: np.ndarray, mask: np.ndarray, exact: Sequence[float] = ()) -> Curve:
        """Condense a finite float32 map (H, W) and its bool ground truth (H, W).

        exact: thresholds whose counts must be exact, each the smallest score that is called forged.
        """
        return cls.from_ranking(Ranking.of(values + np.float32(0), mask), exact)  # -0.0 and 0.0 are one score

    @classmethod
    def from_ranking(cls, ranking: Ranking, exact: Sequence[float] = ()) -> Curve:
        """Condense scores that are in order already; at least one."""
        classes = [scores for scores in (ranking.positives, ranking.negatives) if scores.size]
        low, high = min(scores[0] for scores in classes), max(scores[-1] for scores in classes)
        best = ranking.best()[0]
        wanted = [b for b in (*exact, best) if low < b <= high]
        edges = np.concatenate([wanted, _edges(ranking.positives), _edges(ranking.negatives), [low, _above(high)]])
        edges = np.unique(edges.astype(np.float32))[::-1]
        positives, negatives = _histogram(ranking.positives, edges), _histogram(ranking.negatives, edges)
        return cls(edges, positives, negatives, ranking.auc(), ranking.average_precision())

    @classmethod
    def pooled(cls, curves: Sequence[Curve], bins: int = 4096) -> Curve:
        """All pixels of several images as one curve of about `bins` bins.

        Edges that all of them share (the protocols' thresholds) and heavily tied scores are kept. Counts of a bin
        that a new edge divides are interpolated; AUC and AP are those of the bins.
        """
        if not curves:
            raise ValueError("no curve to pool")
        common = functools.reduce(np.intersect1d, [c.thresholds for c in curves])
        edges = np.unique(np.concatenate([c.thresholds for c in curves]))
        # every curve has its edges at its own quantiles: every k-th of all of them divides the whole about evenly
        kept = [edges[:: math.ceil(edges.size / bins)], edges[-1:], common]
        n_forged, n_pristine = (sum(getattr(c, n) for c in curves) for n in ("n_forged", "n_pristine"))
        for curve in curves:
            heavy = (bins * curve.positives > n_forged) | (bins * curve.negatives > n_pristine)
            value = curve.thresholds[heavy & _tied(curve.thresholds)]
            kept += [value, _above(value)]
        edges = np.unique(np.concatenate(kept))[::-1]
        positives, negatives = (np.diff(np.rint(c), prepend=0).astype(np.int64) for c in _shared_out(curves, edges))
        return cls(
            edges, positives, negatives, binned_auc(positives, negatives), binned_ap(edges, positives, negatives)
        )

    @property
    def n_forged(self) -> int:
        """Forged pixels."""
        return int(self.positives.sum())

    @property
    def n_pristine(self) -> int:
        """Pristine pixels."""
        return int(self.negatives.sum())

    @property
    def maximum(self) -> float:
        """The largest score of the map."""
        return float(np.nextafter(self.thresholds[0], np.float32(-np.inf)))

    def counts(self, threshold: float) -> tuple[float, float]:
        """(true positives, false positives) of `score >= threshold`.

        Exact where `threshold` is one of the thresholds; inside a bin the counts are interpolated.
        """
        at = np.array([threshold], np.float32) + np.float32(0)
        tp, fp = (float(_interpolated(self.thresholds, count, at)[0]) for count in (self.positives, self.negatives))
        return tp, fp

    def best(self) -> tuple[float, float, float]:
        """(threshold, F1, IoU) of the best threshold, as `Ranking.best`; NaN without forged pixels."""
        if not self.n_forged:
            return math.nan, math.nan, math.nan
        tp, fp = np.cumsum(self.positives), np.cumsum(self.negatives)
        iou = tp / (self.n_forged + fp)
        at = int(np.argmax(iou))
        return float(self.thresholds[at]), float(2 * tp[at] / (self.n_forged + fp[at] + tp[at])), float(iou[at])

    def best_threshold(self) -> float:
        """The threshold of the best F1, `score >= threshold`; NaN without forged pixels."""
        return self.best()[0]

    def to_bytes(self) -> bytes:
        """A compact versioned form: differences of ordered float bits and the counts, bytes transposed, LZMA."""
        gaps = -np.diff(_ordinal(self.thresholds), prepend=_ordinal(self.thresholds[:1]))
        gaps[0] = _ordinal(self.thresholds[:1])[0]
        columns = [c.astype("<u4").view(np.uint8).reshape(-1, 4).T for c in (gaps, self.positives, self.negatives)]
        body = lzma.compress(np.concatenate(columns).tobytes(), lzma.FORMAT_RAW, filters=PACKING)
        data = HEADER.pack(VERSION, self.thresholds.size, self.auc, self.ap) + body
        return data + zlib.crc32(data).to_bytes(4, "little")

    @classmethod
    def from_bytes(cls, data: bytes) -> Curve:
        """The curve that `to_bytes` wrote. Raises ValueError for damaged bytes or another version."""
        if len(data) > 4 and data[0] != VERSION:
            raise ValueError(f"a stored curve has format {data[0]}, this code reads {VERSION}; run again")
        if len(data) < HEADER.size + 4 or zlib.crc32(data[:-4]).to_bytes(4, "little") != data[-4:]:
            raise ValueError("a stored curve is damaged; delete its cell and run again")
        _, size, auc, ap = HEADER.unpack_from(data)
        unpacked = lzma.decompress(data[HEADER.size : -4], lzma.FORMAT_RAW, filters=PACKING)
        flat = np.frombuffer(unpacked, np.uint8).reshape(3, 4, size)
        gaps, positives, negatives = (
            np.ascontiguousarray(column.T).view("<u4").ravel().astype(np.int64) for column in flat
        )
        gaps[1:] *= -1
        return cls(_from_ordinal(np.cumsum(gaps)), positives, negatives, auc, ap)


@dataclass(frozen=True)
class Curves:
    """The curve of a view.

    limits: (score kind, bound): counts must be exact at `score > bound`.
    """

    limits: tuple[tuple[str, float], ...]
    needs_scale: ClassVar[bool] = False

    def measure(self, seen: Seen) -> Curve:
        """The curve of the scored pixels."""
        exact = [smallest_above(bound) for kind, bound in self.limits if kind == seen.kind]
        return Curve.from_ranking(seen.order, exact)

    def read(self, data: bytes) -> Curve:
        """The curve that `to_bytes` packed."""
        return Curve.from_bytes(data)


def smallest_above(bound: float) -> float:
    """The smallest float32 score above a float32 bound."""
    return float(np.nextafter(np.float32(bound), np.float32(np.inf)))


def binned_auc(positives: np.ndarray, negatives: np.ndarray) -> float:
    """AUC of bins in descending order, pairs within a bin counting half; NaN where one class is absent."""
    pairs = int(positives.sum()) * int(negatives.sum())
    below = negatives.sum() - np.cumsum(negatives)
    return (int(np.dot(positives, below)) + int(np.dot(positives, negatives)) / 2) / pairs if pairs else math.nan


def binned_ap(thresholds: np.ndarray, positives: np.ndarray, negatives: np.ndarray) -> float:
    """Average precision of bins in descending order; NaN without positives.

    A bin that is one tied score is one step. In any other bin with m forged and n pristine pixels the k-th forged one
    is taken to have n (k - 1/2) / m pristine ones of the bin above it: its precision is a ratio of two linear
    functions of k, and their sum over k a difference of digamma functions.
    """
    from scipy.special import digamma

    if not positives.any():
        return math.nan
    filled = positives > 0
    m, n = positives[filled].astype(np.float64), negatives[filled].astype(np.float64)
    tp, fp = np.cumsum(positives)[filled] - m, np.cumsum(negatives)[filled] - n
    tied = _tied(thresholds)[filled]
    slope = 1 + n / m
    ratio = (tp + fp - n / m / 2) / slope
    smooth = (m + (tp - ratio) * (digamma(ratio + m + 1) - digamma(ratio + 1))) / slope
    step = m * (tp + m) / (tp + m + fp + n)
    return float(np.where(tied, step, smooth).sum() / positives.sum())


def _edges(ordered: np.ndarray) -> np.ndarray:
    """Bin edges for one class in ascending order: one in each 384th part of it, and around each heavily tied score.

    Each lies in the lower half of its part, at the number with the most zero bits at its end.
    """
    if not ordered.size:
        return ordered
    part = ordered.size / SHARE
    above = np.unique(np.ceil((np.arange(1, SHARE + 1) - 0.5) * part).astype(np.int64))  # pixels certainly above
    below = above + max(1, int(part / 2))
    above, below = above[below <= ordered.size], below[below <= ordered.size]
    low, high = ordered[ordered.size - below], ordered[ordered.size - above]
    tied = low == high
    return np.concatenate([_roundest(low[~tied], high[~tied]), high[tied], _above(high[tied]), ordered[:1]])


def _roundest(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The numbers in low < x <= high whose ordinals end with the most zeros."""
    first, last = _ordinal(low), _ordinal(high)
    # below the highest bit in which the two differ, and which only the larger has set, all can be cleared
    differing = np.frexp((first ^ last).astype(np.float64))[1] - 1
    return _from_ordinal(last >> differing << differing)


def _histogram(ordered: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Counts of an ascending class in bins with these descending lower edges."""
    return np.diff(ordered.size - np.searchsorted(ordered, edges, "left"), prepend=0)


def _interpolated(thresholds: np.ndarray, counts: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Pixels with score >= each of `at` (float32): linear within a bin in the order of the float32 numbers.

    Adjacent floats are a step apart in it, so it is logarithmic towards 0, as saturated probabilities are spread.
    """
    total = np.cumsum(counts)
    return np.interp(-_ordinal(at), -_ordinal(thresholds), total, left=0, right=total[-1])


def _shared_out(curves: Sequence[Curve], edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cumulative forged and pristine counts of all curves at descending edges."""
    positives, negatives = np.zeros(edges.size), np.zeros(edges.size)
    for curve in curves:
        positives += _interpolated(curve.thresholds, curve.positives, edges)
        negatives += _interpolated(curve.thresholds, curve.negatives, edges)
    return positives, negatives


def _above(values: np.ndarray) -> np.ndarray:
    return np.nextafter(values, np.float32(np.inf))


def _tied(thresholds: np.ndarray) -> np.ndarray:
    """Which bins hold one single score: those whose upper edge is the next float."""
    upper = np.concatenate([[np.inf], thresholds[:-1]]).astype(np.float32)
    return upper == _above(thresholds)


def _ordinal(values: np.ndarray) -> np.ndarray:
    """Float32 to int64 0..2^32 in the order of the numbers, adjacent floats being adjacent integers."""
    bits = values.view(np.uint32).astype(np.int64)
    return np.where(bits < 2**31, bits + 2**31, 2**32 - bits)


def _from_ordinal(ordinal: np.ndarray) -> np.ndarray:
    bits = np.where(ordinal >= 2**31, ordinal - 2**31, 2**32 - ordinal)
    return bits.astype(np.uint32).view(np.float32)
