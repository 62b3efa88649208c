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
        return _sigmoid(values) if source.kind == "logit" else values


@dataclass(frozen=True)
class Times:
    """Multiplied by a number, in the map's precision."""

    factor: float

    def __call__(self, values: np.ndarray, source: Source) -> np.ndarray:
        """float32 (H, W)."""
        return values * values.dtype.type(self.factor)


@dataclass(frozen=True)
class LogOdds:
    """Probabilities, clipped to 1e-7 from 0 and 1, as logits; logits and unbounded scores as they are."""

    def __call__(self, values: np.ndarray, source: Source) -> np.ndarray:
        """float32 (H, W)."""
        if source.kind != "probability":
            return values
        logits = np.empty(values.shape, np.float32)
        for row in range(0, len(values), 64):  # in float64, which for the whole map would not stay in the cache
            p = values[row : row + 64].astype(np.float64)
            np.minimum(np.maximum(p, 1e-7, out=p), 1 - 1e-7, out=p)
            np.divide(p, 1 - p, out=p)
            logits[row : row + 64] = np.log(p, out=p)
        return logits


@dataclass(frozen=True)
class Sigmoid:
    """Values, logits by now, through the sigmoid."""

    def __call__(self, values: np.ndarray, source: Source) -> np.ndarray:
        """float32 (H, W)."""
        return _sigmoid(values)


@dataclass(frozen=True)
class SigmoidIfOutside:
    """Through the sigmoid if any value lies outside 0..1, as torchmetrics does without a word."""

    def __call__(self, values: np.ndarray, source: Source) -> np.ndarray:
        """float32 (H, W)."""
        if source.kind == "probability" or (values.min() >= 0 and values.max() <= 1):
            return values
        return source.made(Probability(), values) if source.kind == "logit" else _sigmoid(values)


@dataclass(frozen=True)
class Truncated:
    """255 p as uint8, the fraction cut off."""

    def __call__(self, values: np.ndarray, source: Source) -> np.ndarray:
        """uint8 (H, W)."""
        return (values * np.float32(255)).astype(np.uint8)


@dataclass(frozen=True)
class Rounded:
    """255 p as uint8, to the nearest (half to even), the product in float32 or in float64."""

    double: bool = False

    def __call__(self, values: np.ndarray, source: Source) -> np.ndarray:
        """uint8 (H, W)."""
        factor = np.float64(255) if self.double else np.float32(255)
        return np.rint(values * factor).astype(np.uint8)


def _sigmoid(values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # exp(-x) of a very negative logit is infinite: the sigmoid is 0
        return 1 / (1 + np.exp(-values))
