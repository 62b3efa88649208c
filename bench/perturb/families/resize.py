"""A change of size. It is not geometric: the result is scored at the ground truth's size."""

from __future__ import annotations

import cv2
import numpy as np

from bench.perturb.step import step
from models.image import ForensicImage


@step(
    "resize",
    values="real",
    low=0.05,
    high=4,
    identity=1,
    growth=lambda factor: factor**2,
    shown=(2, 1.5, 0.9, 0.75, 0.5, 0.25),
)
def resize(image: ForensicImage, factor: float, rng: np.random.Generator) -> ForensicImage:
    """cv2.INTER_AREA when shrinking, cv2.INTER_LINEAR when enlarging; scored at the original size.

    Level: factor, of height and width
    Source: OpenCV
    """
    height, width = (max(1, round(side * factor)) for side in image.shape)
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    return ForensicImage(cv2.resize(image.rgb, (width, height), interpolation=method))
