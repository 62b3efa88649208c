"""Noise that is not white and Gaussian."""

from __future__ import annotations

import numpy as np

from bench.perturb.step import step
from models.image import ForensicImage


@step(
    "salt_pepper", values="real", low=0, high=1, identity=0, deterministic=False, shown=(0.001, 0.003, 0.01, 0.03, 0.1)
)
def salt_pepper(image: ForensicImage, share: float, rng: np.random.Generator) -> ForensicImage:
    """This share of the pixels set to black or white, all channels together, with equal chance.

    Level: share, of the pixels
    Source: impulse noise
    """
    draw = rng.random(image.shape, np.float32)
    noisy = image.rgb.copy()
    noisy[draw < share / 2] = 0
    noisy[draw >= 1 - share / 2] = 255
    return ForensicImage(noisy)


@step("poisson_gaussian", values="real", low=0, high=50, identity=0, deterministic=False, shown=(0.05, 0.1, 0.5, 1, 2))
def poisson_gaussian(image: ForensicImage, gain: float, rng: np.random.Generator) -> ForensicImage:
    """Shot noise and read noise: g (Poisson(in / g) + N(0, 1)) in each channel, rounded and clipped.

    The variance is g in + g^2: the affine law of sensors, with a read noise of one electron.

    Level: gain g, grey levels per electron
    Source: Foi et al., IEEE TIP 17(10), 2008
    """
    if gain < 1e-6:  # the noise, of .016 grey levels at most, reaches no other whole level
        return ForensicImage(image.rgb.copy())
    electrons = rng.poisson(np.arange(256)[image.rgb] / gain) + rng.standard_normal(image.rgb.shape, np.float32)
    return ForensicImage(np.clip(np.rint(gain * electrons), 0, 255).astype(np.uint8))


@step("speckle", values="real", low=0, high=2, identity=0, deterministic=False, shown=(0.02, 0.05, 0.1, 0.2, 0.4))
def speckle(image: ForensicImage, noise_std: float, rng: np.random.Generator) -> ForensicImage:
    """Multiplicative noise: in (1 + N(0, s)) in each channel, rounded and clipped.

    Level: standard deviation s, relative to the sample
    Source: scikit-image random_noise, mode "speckle"
    """
    noisy = rng.standard_normal(image.rgb.shape, np.float32)
    noisy *= np.float32(noise_std)
    noisy += 1
    noisy *= image.rgb
    return ForensicImage(np.clip(np.rint(noisy, out=noisy), 0, 255, out=noisy).astype(np.uint8))
