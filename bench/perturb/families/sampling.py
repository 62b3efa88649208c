"""Other sampling of the same picture, scored at the original size."""

from __future__ import annotations

import cv2
import numpy as np

from bench.perturb.step import step
from models.image import ForensicImage


@step("rescale", values="real", low=0.02, high=1, identity=1, shown=(0.9, 0.75, 0.5, 0.25, 0.1))
def rescale(image: ForensicImage, factor: float, rng: np.random.Generator) -> ForensicImage:
    """Shrunk (cv2.INTER_AREA) and brought back to its size (cv2.INTER_LINEAR).

    Level: factor of the shrinking, of height and width
    Source: ours
    """
    height, width = image.shape
    small = tuple(max(1, round(side * factor)) for side in (width, height))
    shrunk = cv2.resize(image.rgb, small, interpolation=cv2.INTER_AREA)
    return ForensicImage(cv2.resize(shrunk, (width, height), interpolation=cv2.INTER_LINEAR))


@step(
    "stretch",
    values="real",
    low=0.1,
    high=4,
    identity=1,
    growth=lambda factor: factor,
    shown=(0.5, 0.8, 0.95, 1.05, 1.2, 1.5),
)
def stretch(image: ForensicImage, factor: float, rng: np.random.Generator) -> ForensicImage:
    """The width alone resized, cv2.INTER_AREA when shrinking, else cv2.INTER_LINEAR.

    Level: factor, of the width
    Source: ours
    """
    height, width = image.shape
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    return ForensicImage(cv2.resize(image.rgb, (max(1, round(width * factor)), height), interpolation=method))


@step("screenshot", low=16, high=7680, shown=(1920, 1280, 750, 390))
def screenshot(image: ForensicImage, screen_width: int, rng: np.random.Generator) -> ForensicImage:
    """Scaled, up or down, to fit a screen of 16:9, and stored without loss: no JPEG bytes, no recompression.

    cv2.INTER_AREA when shrinking, else cv2.INTER_LINEAR.

    Level: screen width, pixels
    Source: ours; no paper states a chain
    """
    height, width = image.shape
    factor = min(screen_width / width, screen_width * 9 / 16 / height)
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return ForensicImage(cv2.resize(image.rgb, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR))


@step("palette", low=2, high=256, shown=(256, 128, 64, 16, 8))
def palette(image: ForensicImage, colors: int, rng: np.random.Generator) -> ForensicImage:
    """Reduced to a palette of its own (median cut) with Floyd-Steinberg dithering, as GIF files are made.

    Level: size of the palette, colours
    Source: Pillow's Image.quantize
    """
    from PIL import Image

    source = Image.fromarray(image.rgb)
    chosen = source.quantize(colors, Image.Quantize.MEDIANCUT)
    return ForensicImage(np.array(source.quantize(palette=chosen, dither=Image.Dither.FLOYDSTEINBERG).convert("RGB")))
