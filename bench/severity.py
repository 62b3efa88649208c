"""How much a perturbation changed an image: PSNR, SSIM, encoded size, scorable share; measured, not assumed."""

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
    bytes: size of the encoded image where the perturbation left it in a lossy codec's file, else None.
    bits_per_pixel: the same by pixels of the perturbed image, else None.
    scorable: share of the perturbed image's pixels that can be scored, 1 unless a geometric perturbation made some up.
    """

    psnr: float
    ssim: float
    bytes: int | None
    bits_per_pixel: float | None = None
    scorable: float = 1.0


def severity(original: ForensicImage, perturbed: ForensicImage, scorable: np.ndarray | None = None) -> Severity:
    """Compare the two; a perturbed image of another size is first brought to the original's (bilinear).

    original: of a geometric perturbation, the original moved likewise (`Perturbed.reference`).
    scorable: bool of the perturbed image's size, the pixels that are compared; None: all. PSNR and SSIM are NaN where
        it has none.
    """
    size = len(perturbed.jpeg) if perturbed.jpeg is not None else getattr(perturbed, "stored", None)
    height, width = perturbed.shape
    bits = None if size is None else 8 * size / (height * width)
    share = 1.0 if scorable is None else float(scorable.mean())
    if perturbed.shape != original.shape:
        target = original.shape[::-1]
        perturbed = ForensicImage(cv2.resize(perturbed.rgb, target, interpolation=cv2.INTER_LINEAR))
        if scorable is not None:
            scorable = cv2.resize(scorable.astype(np.uint8), target, interpolation=cv2.INTER_NEAREST) > 0
    likeness = ssim(original.luminance, perturbed.luminance, scorable)
    return Severity(psnr(original.rgb, perturbed.rgb, scorable), likeness, size, bits, share)


def psnr(original: np.ndarray, perturbed: np.ndarray, scorable: np.ndarray | None = None) -> float:
    """Peak signal-to-noise ratio in dB of two uint8 arrays of one shape, peak 255; infinite when equal.

    scorable: bool, their first two dimensions; the pixels that count (None: all). NaN where it has none.
    """
    if scorable is not None:
        original, perturbed = original[scorable], perturbed[scorable]
        if not original.size:
            return math.nan
    squared_error = cv2.norm(original, perturbed, cv2.NORM_L2SQR)
    return math.inf if squared_error == 0 else 10 * math.log10(255**2 * original.size / squared_error)


def ssim(original: np.ndarray, perturbed: np.ndarray, scorable: np.ndarray | None = None) -> float:
    """Mean SSIM of two float32 (H, W) luminances, 0..255, over the pixels whose window lies inside.

    Equal to scikit-image's `structural_similarity(gaussian_weights=True, use_sample_covariance=False)`.
    scorable: bool (H, W), the pixels that may lie in a window (None: all). NaN where no window fits.
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
    similarity = structure * luminance
    if scorable is not None:
        window = np.ones((WINDOW, WINDOW), np.uint8)
        similarity = similarity[cv2.erode(scorable.astype(np.uint8), window)[inner] > 0]
        if not similarity.size:
            return math.nan
    return min(1.0, float(np.mean(similarity, dtype=np.float64)))
