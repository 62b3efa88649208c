"""MPC's noise, whose "intensity" its paper does not define and for which no code is released: both readings."""

from __future__ import annotations

import numpy as np

from bench.perturb.families.noise import noise
from bench.perturb.step import step
from models.image import ForensicImage


@step(
    "mpc_noise_variance",
    values="real",
    low=0,
    high=0.25,
    identity=0,
    deterministic=False,
    shown=(0.002, 0.004, 0.006, 0.008, 0.01),
)
def mpc_noise_variance(image: ForensicImage, intensity: float, rng: np.random.Generator) -> ForensicImage:
    """`noise` of this variance on the 0-1 scale: .002 to .01 are standard deviations of 11.4 to 25.5 grey levels.

    Level: intensity read as a variance, 0-1 scale squared
    Source: MPC (arXiv:2406.13565) figure 2; the reading that fits the losses its curves show
    """
    return noise(image, 255 * np.sqrt(intensity), rng)


@step(
    "mpc_noise_std",
    values="real",
    low=0,
    high=0.5,
    identity=0,
    deterministic=False,
    shown=(0.002, 0.004, 0.006, 0.008, 0.01),
)
def mpc_noise_std(image: ForensicImage, intensity: float, rng: np.random.Generator) -> ForensicImage:
    """`noise` of this standard deviation on the 0-1 scale: .002 to .01 are .5 to 2.6 grey levels.

    Level: intensity read as a standard deviation, 0-1 scale
    Source: MPC (arXiv:2406.13565) figure 2; the other reading
    """
    return noise(image, 255 * intensity, rng)
