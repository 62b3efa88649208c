"""Images that are smaller than a network can take."""

from __future__ import annotations

import cv2
import numpy as np


def at_least(rgb: np.ndarray, side: int) -> np.ndarray:
    """The image (H, W, 3) with no side below `side`: its last row and column are repeated as often as needed."""
    missing = [max(0, side - n) for n in rgb.shape[:2]]
    if not any(missing):
        return rgb
    return cv2.copyMakeBorder(rgb, 0, missing[0], 0, missing[1], cv2.BORDER_REPLICATE)
