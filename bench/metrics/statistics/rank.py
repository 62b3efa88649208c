"""`Rank`: what depends on the order of the scores alone, exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bench.metrics.statistics.packing import pack, unpack

if TYPE_CHECKING:
    from bench.metrics.view import Seen

NAMES = (
    "n_pristine",
    "n_forged",
    "half_concordant",
    "tied_pairs",
    "n_values",
    "average_precision",
    "best_f1",
    "best_threshold",
    "best_f1_not_all",
    "inverted_best_f1",
)


@dataclass(frozen=True)
class Ranks:
    """Ranking metrics of one image.

    Attributes:
        n_pristine, n_forged: scored pixels.
        half_concordant: twice the number of (forged, pristine) pairs in which the forged pixel scores higher, a tie
            being half; tied_pairs: the ties.
        n_values: distinct scores.
        average_precision: as scikit-learn's; NaN without forged pixels.
        best_f1, best_threshold: largest F1 of `score >= threshold` over all thresholds; NaN without forged pixels.
        best_f1_not_all: the same without the threshold that calls every pixel forged; 0 without forged pixels.
        inverted_best_f1: largest F1 of `score <= threshold`; 0 without forged pixels.
    """

    n_pristine: int
    n_forged: int
    half_concordant: int
    tied_pairs: int
    n_values: int
    average_precision: float
    best_f1: float
    best_threshold: float
    best_f1_not_all: float
    inverted_best_f1: float

    def auc(self) -> float:
        """Area under the ROC curve, ties half; NaN where one class is absent."""
        pairs = self.n_forged * self.n_pristine
        return self.half_concordant / (2 * pairs) if pairs else math.nan

    def auc_bounds(self) -> tuple[float, float]:
        """What any order of tied pixels can give; NaN where one class is absent."""
        pairs = self.n_forged * self.n_pristine
        if not pairs:
            return math.nan, math.nan
        low = (self.half_concordant - self.tied_pairs) / (2 * pairs)
        return low, low + self.tied_pairs / pairs

    def to_bytes(self) -> bytes:
        """See `pack`."""
        counts = np.array([getattr(self, name) for name in NAMES[:5]], np.int64)
        return pack({"counts": counts, "values": np.array([getattr(self, name) for name in NAMES[5:]], np.float64)})


@dataclass(frozen=True)
class Rank:
    """Ranking metrics of a view, or of 1 minus its scores."""

    complement: bool = False
    needs_scale: ClassVar[bool] = False

    def measure(self, seen: Seen) -> Ranks:
        """Those of the scored pixels."""
        order = seen.complement_order if self.complement else seen.order
        n_forged, n_pristine = order.positives.size, order.negatives.size
        distinct = _distinct(order.negatives) + int(np.count_nonzero(order.ties == 0))
        threshold, best, _ = order.best()
        not_all = inverted = 0.0
        if n_forged:
            f1 = 2 * order.tp / (n_forged + order.fp + order.tp)
            f1[(order.tp == n_forged) & (order.fp == n_pristine)] = 0
            not_all = float(f1.max())
            below, pristine_below = n_forged - order.tp + order.count, n_pristine - order.fp + order.ties
            inverted = float((2 * below / (n_forged + below + pristine_below)).max())
        return Ranks(
            n_pristine=n_pristine,
            n_forged=n_forged,
            half_concordant=order.half_concordant,
            tied_pairs=int(np.dot(order.count, order.ties)),
            n_values=distinct,
            average_precision=order.average_precision(),
            best_f1=best,
            best_threshold=threshold,
            best_f1_not_all=not_all,
            inverted_best_f1=inverted,
        )

    def read(self, data: bytes) -> Ranks:
        """What `to_bytes` packed."""
        arrays = unpack(data)
        return Ranks(*arrays["counts"].tolist(), *arrays["values"].tolist())


def _distinct(ordered: np.ndarray) -> int:
    return int(np.count_nonzero(ordered[1:] != ordered[:-1])) + 1 if ordered.size else 0
