"""JPEG compression as libjpeg does it by default."""

from __future__ import annotations

import numpy as np

from bench.perturb import encode
from bench.perturb.step import step
from models.image import ForensicImage


@step("jpeg", low=1, high=100, shown=(95, 90, 80, 70, 60, 50, 30))
def jpeg(image: ForensicImage, quality: int, rng: np.random.Generator) -> ForensicImage:
    """Baseline JPEG, standard quantization tables, 4:2:0 chroma; the result carries its new bytes.

    Level: quality factor, libjpeg scale
    Source: ITU-T T.81; libjpeg-turbo, byte for byte as Pillow writes it
    """
    return encode.jpeg(image.rgb, quality)
