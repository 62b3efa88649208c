"""HEIC, by a plug-in of Pillow."""

from __future__ import annotations

import numpy as np

from bench.perturb import encode
from bench.perturb.step import step
from models.image import ForensicImage


@step("heic", low=1, high=100, needs="pillow_heif", extra="heic", shown=(90, 70, 50, 30, 10))
def heic(image: ForensicImage, quality: int, rng: np.random.Generator) -> ForensicImage:
    """HEIC (HEVC intra), 4:2:0.

    Level: quality factor, libheif scale
    Source: libheif through pillow-heif; no localization paper is known to test it
    """
    import pillow_heif

    pillow_heif.register_heif_opener(thumbnails=False)
    return encode.recompressed(image.rgb, "HEIF", quality=quality, chroma=420)
