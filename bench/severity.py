"""How much a perturbation changed an image: PSNR, SSIM and encoded size, measured, not assumed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from models.image import ForensicImage

WINDOW = 11  # pixels, with a Gaussian of sigma 1.5 (Wang et al., IEEE TIP 13(4), 2004, section III-B)
SIGMA = 1.5
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


@dataclass(frozen=True)
class Severity:
    """Distance of a perturbed image from its original.

    psnr: dB over all RGB samples, infinite for identical pixels.
    ssim: mean structural similarity of the luminance, at most 1; NaN where a side is under 11 pixels.
    bytes: size of the encoded image where it is a JPEG, else None.
    """

    psnr: float
    ssim: float
    bytes: int | None


def severity(original: ForensicImage, perturbed: ForensicImage) -> Severity:
    """Compare the two; a perturbed image of another size is first brought to the original's (bilinear)."""
    size = None if perturbed.jpeg is None else len(perturbed.jpeg)
    if perturbed.shape != original.shape:
        height, width = original.shape
        resized = cv2.resize(perturbed.rgb, (width, height), interpolation=cv2.INTER_LINEAR)
        perturbed = ForensicImage(resized)
    return Severity(psnr(original.rgb, perturbed.rgb), ssim(original.luminance, perturbed.luminance), size)


def psnr(original: np.ndarray, perturbed: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of two uint8 arrays of one shape, peak 255; infinite when equal."""
    squared_error = cv2.norm(original, perturbed, cv2.NORM_L2SQR)
    return math.inf if squared_error == 0 else 10 * math.log10(255**2 * original.size / squared_error)


def ssim(original: np.ndarray, perturbed: np.ndarray) -> float:
    """Mean SSIM of two float32 (H, W) luminances, 0..255, over the pixels whose window lies inside.

    Equal to scikit-image's `structural_similarity(gaussian_weights=True, use_sample_covariance=False)`.
    """
    if min(original.shape) < WINDOW:
        return math.nan
    inner = (slice(WINDOW // 2, -(WINDOW // 2)),) * 2
    # Only the sum of the variances enters the formula, so four filtered images do for five. Around mid-grey,
    # float32 keeps the difference of squares exact enough.
    x, y = original - np.float32(128), perturbed - np.float32(128)
    mean_x, mean_y, mean_squares, mean_product = (
        cv2.GaussianBlur(plane, (WINDOW, WINDOW), SIGMA)[inner] for plane in (x, y, x * x + y * y, x * y)
    )
    variances = mean_squares - mean_x * mean_x - mean_y * mean_y
    covariance = mean_product - mean_x * mean_y
    mean_x, mean_y = mean_x + np.float32(128), mean_y + np.float32(128)
    structure = (2 * covariance + np.float32(C2)) / (variances + np.float32(C2))
    luminance = (2 * mean_x * mean_y + np.float32(C1)) / (mean_x * mean_x + mean_y * mean_y + np.float32(C1))
    return min(1.0, float(np.mean(structure * luminance, dtype=np.float64)))
