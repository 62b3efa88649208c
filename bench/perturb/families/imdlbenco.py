"""The perturbations of IMDL-BenCo, which Mesorch, SparseViT and IML-ViT share: albumentations 1.3.0 as they call it."""

from __future__ import annotations

import cv2
import numpy as np

from bench.perturb.step import Recompressed, step
from models.image import ForensicImage


@step("imdlbenco_blur", values="odd", low=1, high=99, aliases=("safire_blur",), shown=(3, 7, 11, 15, 19, 23))
def imdlbenco_blur(image: ForensicImage, kernel_size: int, rng: np.random.Generator) -> ForensicImage:
    """cv2.GaussianBlur(image, (k, k), 0); up to k = 7 OpenCV takes fixed kernels that differ from its rule for sigma.

    Level: kernel size k, pixels
    Source: IMDL-BenCo robustness_wrapper.py (albumentations 1.3.0); SAFIRE robust_image_aug.py does the same
    """
    return ForensicImage(cv2.GaussianBlur(image.rgb, (kernel_size, kernel_size), 0))


@step(
    "imdlbenco_noise", values="real", low=0, high=16384, identity=0, deterministic=False, shown=(3, 7, 11, 15, 19, 23)
)
def imdlbenco_noise(image: ForensicImage, variance: float, rng: np.random.Generator) -> ForensicImage:
    """White Gaussian noise of this variance in each channel, clipped and truncated: the mean falls by .5.

    Level: variance, squared grey levels (23 is a standard deviation of 4.8)
    Source: IMDL-BenCo robustness_wrapper.py (albumentations 1.3.0, GaussNoise)
    """
    draw = rng.standard_normal(image.rgb.shape, np.float32)
    draw *= np.float32(np.sqrt(variance))
    return ForensicImage(truncated(image.rgb, draw))


@step("imdlbenco_jpeg", low=2, high=100, deterministic=False, aliases=("safire_jpeg",), shown=(100, 90, 80, 70, 60, 50))
def imdlbenco_jpeg(image: ForensicImage, quality: int, rng: np.random.Generator) -> ForensicImage:
    """JPEG 4:2:0 of quality q - 1 or q, drawn, with red and blue swapped, so that chroma is computed wrongly.

    Level: greater one of the two qualities q, libjpeg scale
    Source: IMDL-BenCo robustness_wrapper.py (albumentations 1.3.0, ImageCompression); SAFIRE does the same
    """
    return swapped_jpeg(image.rgb, int(rng.integers(quality - 1, quality, endpoint=True)))


def truncated(rgb: np.ndarray, draw: np.ndarray) -> np.ndarray:
    """What becomes of uint8 pixels and the noise added to them in floating point: clipped, then cut to whole levels."""
    return np.clip(rgb.astype(np.float32) + draw, 0, 255).astype(np.uint8)


def swapped_jpeg(rgb: np.ndarray, quality: int) -> Recompressed:
    """The pixels after a JPEG whose encoder takes RGB for BGR; its file shows other colours, so it is not carried."""
    data = cv2.imencode(".jpg", rgb, (cv2.IMWRITE_JPEG_QUALITY, quality))[1]
    swapped = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert swapped is not None, "a JPEG that was just made"
    return Recompressed(swapped, stored=data.size)
