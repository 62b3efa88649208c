"""White Gaussian noise."""

from __future__ import annotations

import numpy as np

from bench.perturb.step import step
from models.image import ForensicImage


@step("noise", values="real", low=0, high=128, identity=0, deterministic=False, shown=(1, 2, 5, 10, 20))
def noise(image: ForensicImage, noise_std: float, rng: np.random.Generator) -> ForensicImage:
    """White Gaussian noise, independent in each channel; rounded half to even and clipped.

    Level: standard deviation, grey levels on the 0-255 scale
    Source: ours; papers mean other things by their "noise 15" (see docs/perturbations.md)
    """
    noisy = rng.standard_normal(image.rgb.shape, np.float32)
    noisy *= np.float32(noise_std)
    noisy += image.rgb
    return ForensicImage(np.clip(np.rint(noisy, out=noisy), 0, 255, out=noisy).astype(np.uint8))
