"""The perturbations of SAFIRE that are its own."""

from __future__ import annotations

import cv2
import numpy as np

from bench.perturb.families.imdlbenco import truncated
from bench.perturb.step import step
from models.image import ForensicImage


@step("safire_noise", values="real", low=0, high=128, identity=0, deterministic=False, shown=(3, 7, 11, 15, 19, 23))
def safire_noise(image: ForensicImage, noise_std: float, rng: np.random.Generator) -> ForensicImage:
    """White Gaussian noise of this deviation in each channel, clipped and truncated: the mean falls by .5.

    Level: standard deviation, grey levels
    Source: SAFIRE robust_image_aug.py
    """
    draw = rng.standard_normal(image.rgb.shape, np.float32)
    draw *= np.float32(noise_std)
    return ForensicImage(truncated(image.rgb, draw))


@step("safire_gamma", values="real", low=0.1, high=10, shown=(0.7, 0.85, 1, 1.15, 1.3))
def safire_gamma(image: ForensicImage, gamma: float, rng: np.random.Generator) -> ForensicImage:
    """255 (in / 255)^(1 / gamma), truncated: a level under 1 darkens; the original keeps fractions until it resizes.

    Level: gamma, the reciprocal of the exponent
    Source: SAFIRE robust_image_aug.py
    """
    return ForensicImage(cv2.LUT(image.rgb, gamma_curve(gamma).astype(np.uint8)))


def gamma_curve(gamma: float) -> np.ndarray:
    """Float64 (256,): what becomes of each grey level."""
    # Python's power, not NumPy's: that one differs in the last bit between processors, and here truncation follows
    return np.array([(grey / 255.0) ** (1.0 / gamma) * 255.0 for grey in range(256)])
