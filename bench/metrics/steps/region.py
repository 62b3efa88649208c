"""Which pixels are scored: margins around the edge of the forged region, no-score zones, padding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from bench.metrics.view import Source


@dataclass(frozen=True)
class Margins:
    """Forged pixels that survive an erosion, pristine ones that survive a dilation of the forged region.

    erode, dilate: width of the square windows in pixels. Outside the image nothing counts, as with a reflected border.
    """

    erode: int
    dilate: int

    def __call__(self, forged: np.ndarray, source: Source) -> np.ndarray:
        """Bool (H, W)."""
        forged = forged.view(np.uint8)
        return _eroded(forged, self.erode).astype(bool) | ~_dilated(forged, self.dilate).astype(bool)


@dataclass(frozen=True)
class NoScoreZones:
    """The scored region of NIST's MaskScorer (lib/masks.py, aggregateNoScore), box kernels.

    Its reference mask is black where forged, white where pristine; any other grey is a distraction.

    erode, dilate, distraction: widths in pixels.
    binary: whether the mask is made two-level first (> 127), so that there is no distraction.
    """

    erode: int
    dilate: int
    distraction: int
    binary: bool = False

    def zones(self, forged: np.ndarray, source: Source) -> tuple[np.ndarray, np.ndarray]:
        """Bool (H, W) twice: True outside the boundary zone, and outside the distraction zone."""
        forged = forged.view(np.uint8)
        kept_forged = _eroded(forged, self.erode).astype(bool)
        boundary = kept_forged | ~_dilated(forged, self.dilate).astype(bool)
        if self.binary:
            return boundary, np.ones_like(boundary)
        values = source.truth.values
        other = (values != 0) & (values != 255)
        other = (other if source.truth.scorable is None else other & source.truth.scorable).view(np.uint8)
        return boundary, kept_forged | ~_dilated(other, self.distraction).astype(bool)

    def __call__(self, forged: np.ndarray, source: Source) -> np.ndarray:
        """Bool (H, W)."""
        boundary, distraction = self.zones(forged, source)
        return boundary & distraction


@dataclass(frozen=True)
class OfTruth:
    """Where the ground truth was before it was padded."""

    def __call__(self, forged: np.ndarray, source: Source) -> np.ndarray:
        """Bool (H, W)."""
        inside = np.zeros(forged.shape, bool)
        height, width = source.truth.shape
        inside[:height, :width] = True
        return inside


def _eroded(forged: np.ndarray, width: int) -> np.ndarray:
    return cv2.erode(forged, np.ones((width, width), np.uint8))


def _dilated(forged: np.ndarray, width: int) -> np.ndarray:
    return cv2.dilate(forged, np.ones((width, width), np.uint8))
