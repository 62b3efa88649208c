"""JPEG XL, by a plug-in of Pillow."""

from __future__ import annotations

import numpy as np

from bench.perturb import encode
from bench.perturb.step import step
from models.image import ForensicImage


@step("jxl", low=1, high=100, identity=100, needs="pillow_jxl", extra="jxl", shown=(95, 80, 60, 40, 20))
def jxl(image: ForensicImage, quality: int, rng: np.random.Generator) -> ForensicImage:
    """JPEG XL (VarDCT), effort 3; 100 is lossless.

    Level: quality factor, libjxl scale
    Source: libjxl through pillow-jxl-plugin; no localization paper is known to test it
    """
    import pillow_jxl  # noqa: F401 (registers the format)

    return encode.recompressed(image.rgb, "JXL", quality=quality, effort=3, lossless=quality == 100)
