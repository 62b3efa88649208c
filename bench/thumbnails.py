"""Small pictures for the report's drill-down.

Photo, ground truth, score map, prediction, and what else a localizer gives for each pixel.
"""

from __future__ import annotations

import cv2
import numpy as np

from models.image import ScoreMap

SIDE = 208  # pixels of the longer side


def photo(rgb: np.ndarray) -> bytes:
    """JPEG of a reduced photo."""
    return _encode(".jpg", cv2.cvtColor(_reduced(rgb), cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 72])


def mask(forged: np.ndarray) -> bytes:
    """One-bit PNG of a reduced mask, white = forged."""
    small = _reduced(forged.astype(np.uint8) * 255)
    return _encode(".png", (small > 127).astype(np.uint8) * 255, [cv2.IMWRITE_PNG_BILEVEL, 1])


def score(values: np.ndarray, kind: str) -> bytes:
    """8-bit grey JPEG of a reduced score map: probabilities as they are, other kinds from 1st to 99th percentile."""
    small = _reduced(values)
    if kind == "probability":
        low, high = 0.0, 1.0
    else:
        low, high = np.percentile(small, (1, 99))
    grey = np.clip((small - low) / max(high - low, 1e-12) * 255, 0, 255).astype(np.uint8)
    return _encode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, 72])


def prediction(score_map: ScoreMap, best_threshold: float | None) -> bytes | None:
    """Mask of the pixels called forged: at the localizer's own threshold, else at the best one (an oracle)."""
    own = score_map.fixed_threshold
    if own is not None:
        return mask(score_map.values > own)
    if best_threshold is not None and np.isfinite(best_threshold):
        return mask(score_map.values >= best_threshold)
    return None


def confidence(values: np.ndarray) -> bytes:
    """8-bit grey JPEG of a localizer's confidence in its map (float32, 0..1), white = sure."""
    return score(values, "probability")


def sources(labels: np.ndarray) -> bytes:
    """Grey PNG of regions by source, from the numbers 0, 1, ... (uint8) evenly from black to white."""
    scale = min(1.0, SIDE / max(labels.shape))
    size = tuple(max(1, round(n * scale)) for n in labels.shape[::-1])
    small = cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST).astype(np.float32)
    return _encode(".png", np.rint(small * (255 / max(1, labels.max()))).astype(np.uint8), [])


# Maps that a localizer may have beside its score map, by their name in the extras. Of other arrays nothing is kept.
EXTRAS = {"confidence": confidence, "sources": sources}


def _reduced(array: np.ndarray) -> np.ndarray:
    scale = SIDE / max(array.shape[:2])
    if scale >= 1:
        return array
    size = (max(1, round(array.shape[1] * scale)), max(1, round(array.shape[0] * scale)))
    return cv2.resize(array, size, interpolation=cv2.INTER_AREA)


def _encode(suffix: str, array: np.ndarray, flags: list[int]) -> bytes:
    return cv2.imencode(suffix, array, flags)[1].tobytes()
