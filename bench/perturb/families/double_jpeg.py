"""Two JPEG compressions whose 8 x 8 grids do not coincide."""

from __future__ import annotations

import cv2
import numpy as np

from bench.perturb import encode
from bench.perturb.step import step
from models.image import ForensicImage

SHIFT = 4  # pixels, the farthest from both neighbouring grids
SECOND = 90


@step("double_jpeg", low=1, high=100, shown=(90, 75, 60, 45, 30))
def double_jpeg(image: ForensicImage, first_quality: int, rng: np.random.Generator) -> ForensicImage:
    """JPEG on a grid shifted by (4, 4), then JPEG of quality 90 on the image's own grid, both 4:2:0.

    The border is mirrored for the first compression and cut off again, so that no pixel moves. (Two aligned
    compressions are a chain: jpeg:70+jpeg:90.)

    Level: quality of the first compression, libjpeg scale
    Source: non-aligned double JPEG as in Bianchi & Piva, IEEE TIFS 7(3), 2012
    """
    height, width = image.shape
    wide = cv2.copyMakeBorder(image.rgb, SHIFT, 0, SHIFT, 0, cv2.BORDER_REFLECT)
    first = encode.jpeg(wide, first_quality).rgb[SHIFT : SHIFT + height, SHIFT : SHIFT + width]
    return encode.jpeg(first, SECOND)
