"""The perturbations of HiFi-Net, as the docstring of its data loader states them."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

from bench.perturb.step import PerturbationError, step
from models.image import ForensicImage


@step("hifi_blur", values="real", low=0, high=50, identity=0, shown=(1, 2, 4, 7, 10))
def hifi_blur(image: ForensicImage, radius: float, rng: np.random.Generator) -> ForensicImage:
    """Pillow's GaussianBlur (box approximation); its radius is the sigma. The paper calls radius 7 "k = 15".

    Level: radius, pixels
    Source: HiFi_IFDL utils/load_edata.py
    """
    return ForensicImage(np.array(Image.fromarray(image.rgb).filter(ImageFilter.GaussianBlur(radius))))


@step("hifi_resize", values="real", low=0.05, high=1, identity=1, shown=(0.75, 0.5, 0.25, 0.1))
def hifi_resize(image: ForensicImage, factor: float, rng: np.random.Generator) -> ForensicImage:
    """Pillow's BILINEAR (antialiased) to int(factor * side), not scaled back; scored at the original size.

    Level: factor, of height and width
    Source: HiFi_IFDL utils/load_edata.py
    """
    height, width = (int(factor * side) for side in image.shape)
    if min(height, width) < 1:
        raise PerturbationError(f"hifi_resize:{factor} leaves nothing of {image.shape[1]} x {image.shape[0]} pixels")
    return ForensicImage(np.array(Image.fromarray(image.rgb).resize((width, height), Image.Resampling.BILINEAR)))


@step("hifi_noise", values="real", low=0, high=255, deterministic=False, shown=(0.5, 1, 3, 7, 15))
def hifi_noise(image: ForensicImage, level: float, rng: np.random.Generator) -> ForensicImage:
    """White Gaussian noise of variance level / 255 on the 0-1 scale, clipped and truncated; called "sigma 15" there.

    Level: level, 255 times the variance on the 0-1 scale (15 is a standard deviation of 61.8 grey levels)
    Source: HiFi_IFDL utils/load_edata.py (scikit-image random_noise)
    """
    return ForensicImage(noisy(image.rgb, rng.standard_normal(image.rgb.shape) * np.sqrt(level / 255)).astype(np.uint8))


def noisy(rgb: np.ndarray, draw: np.ndarray) -> np.ndarray:
    """Float64 grey levels, not rounded, of pixels with noise of the 0-1 scale."""
    return np.clip(rgb / 255.0 + draw, 0, 1) * 255.0
