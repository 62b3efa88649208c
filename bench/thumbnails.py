"""Small pictures for the report's drill-down.

Photo, ground truth, score map, prediction, and what else a localizer gives for each pixel.
"""

from __future__ import annotations

import io

import cv2
import numpy as np
from PIL import Image

from models.image import ScoreMap

SIDE = 256  # pixels of the longer side
QUALITY = 60  # of WebP, for photos and score maps; masks and regions are stored without loss


def photo(rgb: np.ndarray) -> bytes:
    """WebP of a reduced photo."""
    return _encode(_reduced(rgb))


def mask(forged: np.ndarray) -> bytes:
    """Lossless WebP of a reduced mask, white = forged."""
    small = _reduced(forged.astype(np.uint8) * 255)
    return _encode((small > 127).astype(np.uint8) * 255, lossless=True)


def score(values: np.ndarray, kind: str) -> bytes:
    """Grey WebP of a reduced score map: probabilities as they are, other kinds from 1st to 99th percentile.

    A constant map is black.
    """
    small = _reduced(values)
    if kind == "probability":
        low, high = 0.0, 1.0
    else:
        low, high = np.percentile(small, (1, 99))
    span = float(high) - float(low)
    if span <= 1e-6 * max(abs(float(low)), abs(float(high))):  # what is left is the rounding of the reduction
        return _encode(np.zeros(small.shape, np.uint8))
    return _encode(np.clip((small - low) / span * 255, 0, 255).astype(np.uint8))


def prediction(score_map: ScoreMap, best_threshold: float | None) -> bytes | None:
    """Mask of the pixels called forged: at the localizer's own threshold, else at the best one (an oracle)."""
    own = score_map.fixed_threshold
    if own is not None:
        return mask(score_map.values > own)
    if best_threshold is not None and np.isfinite(best_threshold):
        return mask(score_map.values >= best_threshold)
    return None


def confidence(values: np.ndarray) -> bytes:
    """Grey WebP of a localizer's confidence in its map (float32, 0..1), white = sure."""
    return score(values, "probability")


def sources(labels: np.ndarray) -> bytes:
    """Lossless grey WebP of regions by source, from the numbers 0, 1, ... (uint8) evenly from black to white."""
    scale = min(1.0, SIDE / max(labels.shape))
    size = tuple(max(1, round(n * scale)) for n in labels.shape[::-1])
    small = cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST).astype(np.float32)
    return _encode(np.rint(small * (255 / max(1, labels.max()))).astype(np.uint8), lossless=True)


# Maps that a localizer may have beside its score map, by their name in the extras. Of other arrays nothing is kept.
EXTRAS = {"confidence": confidence, "sources": sources}


def _reduced(array: np.ndarray) -> np.ndarray:
    scale = SIDE / max(array.shape[:2])
    if scale >= 1:
        return array
    size = (max(1, round(array.shape[1] * scale)), max(1, round(array.shape[0] * scale)))
    return cv2.resize(array, size, interpolation=cv2.INTER_AREA)


def _encode(array: np.ndarray, lossless: bool = False) -> bytes:
    """WebP with the fastest method: the harness makes two pictures per cell."""
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "WEBP", lossless=lossless, quality=0 if lossless else QUALITY, method=0)
    return buffer.getvalue()
