"""JPEG as other encoders write it: chroma sampling, progressive scans, other quantization tables."""

from __future__ import annotations

import numpy as np

from bench.perturb import encode
from bench.perturb.step import step
from models.image import ForensicImage

ROBIDOUX = (
    (16, 16, 16, 18, 25, 37, 56, 85),
    (16, 17, 20, 27, 34, 40, 53, 75),
    (16, 20, 24, 31, 43, 62, 91, 135),
    (18, 27, 31, 40, 53, 74, 106, 156),
    (25, 34, 43, 53, 69, 94, 131, 189),
    (37, 40, 62, 74, 94, 124, 169, 238),
    (56, 53, 91, 106, 131, 169, 226, 311),
    (85, 75, 135, 156, 189, 238, 311, 418),
)


@step("jpeg_444", low=1, high=100, shown=(95, 90, 70, 50, 30))
def jpeg_444(image: ForensicImage, quality: int, rng: np.random.Generator) -> ForensicImage:
    """Baseline JPEG, standard quantization tables, chroma at full size.

    Level: quality factor, libjpeg scale
    Source: libjpeg-turbo; at 100 the re-save that CAT-Net gives to input that is no JPEG (dataset_arbitrary.py)
    """
    return encode.jpeg(image.rgb, quality, "4:4:4")


@step("jpeg_422", low=1, high=100, shown=(95, 90, 70, 50, 30))
def jpeg_422(image: ForensicImage, quality: int, rng: np.random.Generator) -> ForensicImage:
    """Baseline JPEG, standard quantization tables, chroma at half the width (as many cameras write it).

    Level: quality factor, libjpeg scale
    Source: libjpeg-turbo
    """
    return encode.jpeg(image.rgb, quality, "4:2:2")


@step("jpeg_progressive", low=1, high=100, shown=(95, 90, 70, 50, 30))
def jpeg_progressive(image: ForensicImage, quality: int, rng: np.random.Generator) -> ForensicImage:
    """Progressive JPEG, 4:2:0: the pixels and coefficients of `jpeg`, in a file of another order.

    Level: quality factor, libjpeg scale
    Source: ITU-T T.81, process SOF2; libjpeg-turbo through Pillow
    """
    return encode.jpeg_by_pillow(image.rgb, quality=quality, progressive=True)


@step("jpeg_mozjpeg", low=1, high=100, shown=(95, 90, 70, 50, 30))
def jpeg_mozjpeg(image: ForensicImage, quality: int, rng: np.random.Generator) -> ForensicImage:
    """Baseline JPEG with the quantization table that mozjpeg takes for luminance and chroma alike, 4:2:0.

    Level: quality factor, libjpeg scale
    Source: N. Robidoux's table of ImageMagick, mozjpeg's default (table 3), scaled by libjpeg's rule; the table only,
      not mozjpeg's trellis
    """
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    table = np.clip((np.array(ROBIDOUX).ravel() * scale + 50) // 100, 1, 255).tolist()
    return encode.jpeg_by_pillow(image.rgb, qtables=[table, table], subsampling="4:2:0")


@step("jpeg_flat", low=1, high=255, shown=(2, 5, 10, 20, 40))
def jpeg_flat(image: ForensicImage, quantization_step: int, rng: np.random.Generator) -> ForensicImage:
    """Baseline JPEG that quantizes all frequencies of all components alike, 4:2:0.

    Level: quantization step, coefficient units
    Source: ours: the simplest table of no known encoder
    """
    return encode.jpeg_by_pillow(image.rgb, qtables=[[quantization_step] * 64] * 2, subsampling="4:2:0")
