"""`Levels`: how many pixels of each class have each of 256 levels, or lie between given thresholds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bench.metrics.statistics.packing import pack, unpack

if TYPE_CHECKING:
    from bench.metrics.view import Seen


@dataclass(frozen=True, eq=False)
class Histogram:
    """Counts of one image, or of several added up: int64 (2, L), pristine and forged pixels, levels ascending."""

    counts: np.ndarray

    def __add__(self, other: Histogram) -> Histogram:
        return Histogram(self.counts + other.counts)

    @property
    def total(self) -> np.ndarray:
        """int64 (2,), pristine and forged pixels."""
        return self.counts.sum(axis=1)

    def confusion(self, lowest: int) -> tuple[int, int, int, int]:
        """(TP, FP, FN, TN) of the pixels at this level or above called forged."""
        fp, tp = map(int, self.counts[:, lowest:].sum(axis=1))
        pristine, forged = map(int, self.total)
        return tp, fp, forged - tp, pristine - fp

    def at_least(self) -> np.ndarray:
        """int64 (2, L): pristine and forged pixels at each level or above."""
        return self.counts[:, ::-1].cumsum(axis=1)[:, ::-1]

    def highest(self) -> int:
        """The highest level that any pixel has."""
        return int(np.flatnonzero(self.counts.any(axis=0))[-1])

    def auc(self) -> float:
        """Area under the ROC curve, pairs of the same level counting half; NaN where one class is absent."""
        pristine, forged = self.counts
        pairs = int(pristine.sum()) * int(forged.sum())
        below = np.cumsum(pristine) - pristine
        return (int(np.dot(forged, below)) + int(np.dot(forged, pristine)) / 2) / pairs if pairs else math.nan

    def to_bytes(self) -> bytes:
        """See `pack`."""
        return pack({"counts": self.counts.astype(np.uint32)})


@dataclass(frozen=True)
class Levels:
    """Of 8-bit values: the 256 levels."""

    needs_scale: ClassVar[bool] = True

    def measure(self, seen: Seen) -> Histogram:
        """Counts of the scored pixels."""
        values, forged = seen.pixels
        both = np.bincount(values, minlength=256)
        positive = np.bincount(values[forged], minlength=256)
        return Histogram(np.stack([both - positive, positive]))

    def read(self, data: bytes) -> Histogram:
        """The counts that `to_bytes` packed."""
        return Histogram(unpack(data)["counts"].astype(np.int64))


@dataclass(frozen=True)
class Steps:
    """The levels of float32 values in 0..1.

    Level k holds those from the k-th of `count` equidistant thresholds 0, ..., 1 up to the next; the thresholds are
    float32, as torch.linspace gives them.
    """

    count: int
    needs_scale: ClassVar[bool] = True

    @property
    def thresholds(self) -> np.ndarray:
        """float32 (count,), ascending from 0 to 1."""
        return np.linspace(0, 1, self.count).astype(np.float32)

    def measure(self, seen: Seen) -> Histogram:
        """Counts of the scored pixels."""
        classes = (seen.order.negatives, seen.order.positives)
        above = [scores.size - np.searchsorted(scores, self.thresholds, "left") for scores in classes]
        return Histogram(-np.diff(np.stack(above), append=0, axis=1))

    def read(self, data: bytes) -> Histogram:
        """The counts that `to_bytes` packed."""
        return Histogram(unpack(data)["counts"].astype(np.int64))
