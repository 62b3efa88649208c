"""Unbounded scores brought to 0..1, as tables print them that count such a method at a threshold of .5."""

from __future__ import annotations

import numpy as np

from models.image import ScoreMap


def scaled_to_unit(score: ScoreMap) -> ScoreMap:
    """The map with its smallest value at 0 and its largest at 1, as a probability; a flat map is 0 everywhere.

    The order of the pixels stays, so that metrics without a fixed threshold do. What counts as forged then depends on
    one extreme pixel, and every photo whose map is not flat has something forged.
    """
    values = score.values.astype(np.float64)  # the difference of two float32 may be none
    low, high = values.min(), values.max()
    values = (values - low) / (high - low) if high > low else np.zeros_like(values)
    return ScoreMap(values.astype(np.float32), "probability", score.image_score, score.extras)
