"""Faults of a lens that leave pixels where they are, or nearly."""

from __future__ import annotations

import cv2
import numpy as np

from bench.perturb.step import step
from models.image import ForensicImage


@step("vignette", values="real", low=0, high=1, identity=0, shown=(0.1, 0.2, 0.4, 0.6, 0.8))
def vignette(image: ForensicImage, loss: float, rng: np.random.Generator) -> ForensicImage:
    """Darker towards the corners: times 1 - v r^2, r the distance from the centre by half the diagonal.

    Level: loss of light v in the corners, share
    Source: ours, second-order model
    """
    height, width = image.shape
    y, x = np.arange(height, dtype=np.float32), np.arange(width, dtype=np.float32)
    y, x = y - (height - 1) / 2, x - (width - 1) / 2
    farthest = max(1.0, ((height - 1) ** 2 + (width - 1) ** 2) / 4)
    gain = 1 - np.float32(loss / farthest) * (y[:, None] ** 2 + x[None] ** 2)
    return ForensicImage(np.rint(image.rgb * gain[..., None]).astype(np.uint8))


@step("chromatic_aberration", values="real", low=0, high=0.05, identity=0, shown=(0.001, 0.002, 0.005, 0.01, 0.02))
def chromatic_aberration(image: ForensicImage, enlargement: float, rng: np.random.Generator) -> ForensicImage:
    """Red enlarged and blue shrunk about the centre, bilinear, mirrored border; green, and the geometry, stay.

    Level: enlargement, relative
    Source: lateral chromatic aberration, first-order model of Johnson & Farid, MM&Sec 2006
    """
    height, width = image.shape
    rgb = image.rgb.copy()
    for channel, scale in ((0, 1 + enlargement), (2, 1 - enlargement)):
        turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), 0, scale)
        plane = np.ascontiguousarray(image.rgb[..., channel])
        rgb[..., channel] = cv2.warpAffine(plane, turn, (width, height), borderMode=cv2.BORDER_REFLECT)
    return ForensicImage(rgb)
