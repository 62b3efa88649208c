"""Steps that say which pixels of a ground truth are forged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from bench.metrics.view import Source


@dataclass(frozen=True)
class Above:
    """Forged where the value (0..255) is above a bound."""

    bound: float

    def __call__(self, values: np.ndarray, source: Source) -> np.ndarray:
        """Bool (H, W)."""
        return values > self.bound
