"""Steps that change the size of a score map or of a ground truth, and what unscorable pixels make of that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from bench.metrics.view import Source


@dataclass(frozen=True)
class Linear:
    """Bilinear with half-pixel centres and no smoothing (cv2.INTER_LINEAR); nothing where the size is right.

    to: "truth", "score" (the size of the other one) or (height, width).
    """

    to: str | tuple[int, int]

    def __call__(self, values: np.ndarray, source: Source) -> np.ndarray:
        """The same type (H, W); 8-bit values are rounded, as OpenCV does."""
        return _resized(values, _size(self.to, source), cv2.INTER_LINEAR)

    def footprint(self, unscorable: np.ndarray, source: Source) -> np.ndarray:
        """Where any pixel with a weight is unscorable."""
        return _resized(unscorable.astype(np.float32), _size(self.to, source), cv2.INTER_LINEAR) > 0


@dataclass(frozen=True)
class Nearest:
    """The nearest pixel (cv2.INTER_NEAREST); nothing where the size is right. to: as in `Linear`."""

    to: str | tuple[int, int]

    def __call__(self, values: np.ndarray, source: Source) -> np.ndarray:
        """The same type (H, W)."""
        return _resized(values, _size(self.to, source), cv2.INTER_NEAREST)

    def footprint(self, unscorable: np.ndarray, source: Source) -> np.ndarray:
        """Where the pixel that is taken is unscorable."""
        return _resized(unscorable.astype(np.uint8), _size(self.to, source), cv2.INTER_NEAREST) > 0


def _size(to: str | tuple[int, int], source: Source) -> tuple[int, int]:
    if to == "truth":
        return source.truth.shape
    return source.score.values.shape if to == "score" else to


def _resized(values: np.ndarray, size: tuple[int, int], how: int) -> np.ndarray:
    if values.shape == size:
        return values
    return cv2.resize(values, size[::-1], interpolation=how)
