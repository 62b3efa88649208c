"""`Counts`: how many pixels of each class each cut calls forged, exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bench.metrics.statistics.packing import pack, unpack

if TYPE_CHECKING:
    from bench.metrics.view import Seen


@dataclass(frozen=True)
class Over:
    """Forged where value > threshold, in the precision of the values."""

    threshold: float

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Bool of the same shape."""
        return values > values.dtype.type(self.threshold)


@dataclass(frozen=True)
class AtLeast:
    """Forged where value >= threshold, in the precision of the values."""

    threshold: float

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Bool of the same shape."""
        return values >= values.dtype.type(self.threshold)


@dataclass(frozen=True)
class ComplementOver:
    """Forged where 1 - value > threshold, in the precision of the values."""

    threshold: float

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Bool of the same shape."""
        return values.dtype.type(1) - values > values.dtype.type(self.threshold)


@dataclass(frozen=True, eq=False)
class Counted:
    """Exact counts of one image, or of several added up.

    Attributes:
        called: int64 (cuts, 2), pristine and forged pixels that each cut calls forged.
        total: int64 (2,), pristine and forged pixels.
    """

    called: np.ndarray
    total: np.ndarray

    def confusion(self, cut: int = 0) -> tuple[int, int, int, int]:
        """(TP, FP, FN, TN) of a cut."""
        fp, tp = map(int, self.called[cut])
        pristine, forged = map(int, self.total)
        return tp, fp, forged - tp, pristine - fp

    def __add__(self, other: Counted) -> Counted:
        return Counted(self.called + other.called, self.total + other.total)

    def to_bytes(self) -> bytes:
        """See `pack`."""
        return pack({"called": self.called, "total": self.total})


@dataclass(frozen=True)
class Counts:
    """Counts at these cuts, each a predicate of the values of the view."""

    cuts: tuple[Over | AtLeast | ComplementOver, ...]
    needs_scale: ClassVar[bool] = True

    def measure(self, seen: Seen) -> Counted:
        """Counts of the scored pixels."""
        values, forged = seen.pixels
        n_forged = int(np.count_nonzero(forged))
        rows = []
        for cut in self.cuts:
            called = cut(values)
            tp = int(np.count_nonzero(called & forged))
            rows.append((int(np.count_nonzero(called)) - tp, tp))
        return Counted(np.array(rows, np.int64), np.array([forged.size - n_forged, n_forged], np.int64))

    def read(self, data: bytes) -> Counted:
        """The counts that `to_bytes` packed."""
        return Counted(**unpack(data))
