"""Gaussian blur."""

from __future__ import annotations

import cv2
import numpy as np

from bench.perturb.step import step
from models.image import ForensicImage


@step("blur", values="odd", low=1, high=99, identity=1, shown=(3, 5, 9, 15, 29))
def blur(image: ForensicImage, kernel_size: int, rng: np.random.Generator) -> ForensicImage:
    """Gaussian blur with a k x k kernel of sigma = 0.3 * ((k - 1) / 2 - 1) + 0.8, mirrored border.

    Level: kernel size k, pixels
    Source: OpenCV's rule for sigma
    """
    # sigma is OpenCV's own rule, but passed on: for sigma=0 and k <= 7 OpenCV takes fixed kernels that do not
    # follow its rule. uint8 in, uint8 out and the accurate hint keep it in fixed point, whose bits do not
    # depend on the CPU.
    sigma = 0.3 * ((kernel_size - 1) / 2 - 1) + 0.8
    size = (kernel_size, kernel_size)
    return ForensicImage(cv2.GaussianBlur(image.rgb, size, sigma, hint=cv2.ALGO_HINT_ACCURATE))
