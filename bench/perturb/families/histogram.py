"""Tone changed by what the image's own histogram is."""

from __future__ import annotations

import cv2
import numpy as np

from bench.perturb.step import step
from models.image import ForensicImage

TILES = 8


@step("clahe", values="real", low=0.1, high=100, shown=(1, 2, 4, 8, 16))
def clahe(image: ForensicImage, clip_limit: float, rng: np.random.Generator) -> ForensicImage:
    """Contrast-limited adaptive histogram equalization of the luma (YCrCb) in 8 x 8 tiles.

    Level: clip limit, times the mean of a histogram
    Source: Zuiderveld, Graphics Gems IV, 1994; cv2.createCLAHE
    """
    return _luma(image, cv2.createCLAHE(clip_limit, (TILES, TILES)).apply)


@step("equalize", values="none")
def equalize(image: ForensicImage, level: None, rng: np.random.Generator) -> ForensicImage:
    """Histogram equalization of the luma (YCrCb).

    Source: cv2.equalizeHist
    """
    return _luma(image, cv2.equalizeHist)


@step("autocontrast", values="real", low=0, high=40, shown=(0, 1, 2, 5, 10))
def autocontrast(image: ForensicImage, cut: float, rng: np.random.Generator) -> ForensicImage:
    """All channels stretched by one line so that the luma's darkest and brightest `cut` percent are clipped.

    Level: clipped share at either end, percent
    Source: as Pillow's ImageOps.autocontrast with preserve_tone
    """
    luma = cv2.cvtColor(image.rgb, cv2.COLOR_RGB2GRAY)
    below = np.cumsum(np.bincount(luma.ravel(), minlength=256))
    dark = int(np.searchsorted(below, cut / 100 * luma.size, side="right"))
    bright = int(np.searchsorted(below, (1 - cut / 100) * luma.size, side="left"))
    if bright <= dark:
        return ForensicImage(image.rgb.copy())
    levels = (np.arange(256) - dark) * (255 / (bright - dark))
    return ForensicImage(cv2.LUT(image.rgb, np.clip(np.rint(levels), 0, 255).astype(np.uint8)))


def _luma(image: ForensicImage, change) -> ForensicImage:
    planes = cv2.cvtColor(image.rgb, cv2.COLOR_RGB2YCrCb)
    planes[..., 0] = change(np.ascontiguousarray(planes[..., 0]))
    return ForensicImage(cv2.cvtColor(planes, cv2.COLOR_YCrCb2RGB))
