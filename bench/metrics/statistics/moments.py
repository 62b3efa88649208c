"""`Moments`: sums of the scores and of their squares, per class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bench.metrics.statistics.packing import pack, unpack

if TYPE_CHECKING:
    from bench.metrics.view import Seen


@dataclass(frozen=True, eq=False)
class Sums:
    """Sums of one image, or of several added up: float64 (2, 3), pristine and forged; pixels, scores, squares."""

    values: np.ndarray

    def __add__(self, other: Sums) -> Sums:
        return Sums(self.values + other.values)

    def soft_confusion(self) -> tuple[float, float, float, float]:
        """(TP, FP, FN, TN) in which a pixel of score p is called forged to the share p."""
        (pristine, fp, _), (forged, tp, _) = self.values.tolist()
        return tp, fp, forged - tp, pristine - fp

    def mean_squared_error(self) -> float:
        """Mean of (score - truth) squared, the truth being 1 where forged: the Brier score of probabilities."""
        (pristine, _, squares), (forged, sums, forged_squares) = self.values.tolist()
        return (squares + forged_squares - 2 * sums + forged) / (pristine + forged)

    def to_bytes(self) -> bytes:
        """See `pack`."""
        return pack({"values": self.values})


@dataclass(frozen=True)
class Moments:
    """Sums of a view."""

    needs_scale: ClassVar[bool] = True

    def measure(self, seen: Seen) -> Sums:
        """Those of the scored pixels, added up in float64."""
        values, forged = seen.pixels
        rows = []
        for scores in (values[~forged], values[forged]):
            rows.append((scores.size, scores.sum(dtype=np.float64), np.square(scores).sum(dtype=np.float64)))
        return Sums(np.array(rows, np.float64))

    def read(self, data: bytes) -> Sums:
        """What `to_bytes` packed."""
        return Sums(unpack(data)["values"])
