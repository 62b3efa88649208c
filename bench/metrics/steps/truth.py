"""Steps that say which pixels of a ground truth are forged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bench.metrics.steps.size import Linear

if TYPE_CHECKING:
    from bench.metrics.view import Source


@dataclass(frozen=True)
class Above:
    """Forged where the value (0..255) is above a bound."""

    bound: float

    def __call__(self, values: np.ndarray, source: Source) -> np.ndarray:
        """Bool (H, W)."""
        return values > self.bound


@dataclass(frozen=True)
class Exactly:
    """Forged where the value (0..255) is this one."""

    value: int

    def __call__(self, values: np.ndarray, source: Source) -> np.ndarray:
        """Bool (H, W)."""
        return values == self.value


@dataclass(frozen=True)
class Stretched:
    """255 above a bound, 0 elsewhere: uint8, to be resized before it is bool."""

    bound: int

    def __call__(self, values: np.ndarray, source: Source) -> np.ndarray:
        """uint8 (H, W)."""
        return np.where(values > self.bound, np.uint8(255), np.uint8(0))


@dataclass(frozen=True)
class ToScoreOrAsItIs:
    """Where the score map has another size: resized to it (bilinear), then 255 above 127 and 0 elsewhere."""

    def __call__(self, values: np.ndarray, source: Source) -> np.ndarray:
        """uint8 (H, W) of the score map's size."""
        if values.shape == source.score.values.shape:
            return values
        return Stretched(127)(Linear("score")(values, source), source)

    def footprint(self, unscorable: np.ndarray, source: Source) -> np.ndarray:
        """As `Linear`."""
        return Linear("score").footprint(unscorable, source)
