"""Image codecs other than JPEG that Pillow brings along."""

from __future__ import annotations

import numpy as np

from bench.perturb import encode
from bench.perturb.step import step
from models.image import ForensicImage

LOSSLESS = 101


@step("webp", low=1, high=LOSSLESS, identity=LOSSLESS, needs="PIL._webp", shown=(95, 80, 60, 40, 20))
def webp(image: ForensicImage, quality: int, rng: np.random.Generator) -> ForensicImage:
    """WebP by libwebp, method 4, 4:2:0; 101 is lossless.

    Level: quality factor, libwebp scale
    Source: libwebp through Pillow; TGIF (Mareen et al., WIFS 2024) tests 50 to 100
    """
    if quality == LOSSLESS:
        return encode.recompressed(image.rgb, "WEBP", lossless=True, method=0)
    return encode.recompressed(image.rgb, "WEBP", quality=quality, method=4)


@step("avif", low=0, high=100, needs="PIL._avif", shown=(90, 70, 50, 30, 10))
def avif(image: ForensicImage, quality: int, rng: np.random.Generator) -> ForensicImage:
    """AVIF by libaom, speed 8, 4:2:0, one thread.

    Level: quality factor, libavif scale
    Source: libavif through Pillow; no localization paper is known to test it
    """
    options = {"speed": 8, "subsampling": "4:2:0", "codec": "aom", "max_threads": 1}
    return encode.recompressed(image.rgb, "AVIF", quality=quality, **options)


@step("jpeg2000", values="real", low=1, high=500, shown=(5, 10, 20, 50, 100))
def jpeg2000(image: ForensicImage, ratio: float, rng: np.random.Generator) -> ForensicImage:
    """JPEG 2000 with the irreversible 9/7 wavelet and the colour transform.

    Level: compression ratio, bytes of the pixels by bytes of the file
    Source: ITU-T T.800; OpenJPEG through Pillow
    """
    levels = int(min(5, np.log2(min(image.shape))))
    options = {"quality_mode": "rates", "quality_layers": [ratio], "num_resolutions": levels + 1}
    return encode.recompressed(image.rgb, "JPEG2000", irreversible=True, mct=1, **options)
