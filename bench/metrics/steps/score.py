"""Steps that prepare a score map: units, rounding, size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from bench.metrics.view import Source


@dataclass(frozen=True)
class Probability:
    """Logits through the sigmoid, float32; probabilities and unbounded scores as they are."""

    def __call__(self, values: np.ndarray, source: Source) -> np.ndarray:
        """float32 (H, W)."""
        if source.kind != "logit":
            return values
        with np.errstate(over="ignore"):  # exp(-x) of a very negative logit: the sigmoid is 0
            return 1 / (1 + np.exp(-values))


@dataclass(frozen=True)
class Times:
    """Multiplied by a number, in the map's precision."""

    factor: float

    def __call__(self, values: np.ndarray, source: Source) -> np.ndarray:
        """float32 (H, W)."""
        return values * values.dtype.type(self.factor)
