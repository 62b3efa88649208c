"""Local filters."""

from __future__ import annotations

import cv2
import numpy as np

from bench.perturb.step import step
from models.image import ForensicImage


@step("box_blur", values="odd", low=1, high=99, identity=1, shown=(3, 5, 9, 15, 29))
def box_blur(image: ForensicImage, kernel_size: int, rng: np.random.Generator) -> ForensicImage:
    """Mean of k x k pixels, mirrored border.

    Level: kernel size k, pixels
    Source: cv2.blur
    """
    return ForensicImage(cv2.blur(image.rgb, (kernel_size, kernel_size)))


@step("median", values="odd", low=1, high=99, identity=1, shown=(3, 5, 7, 11, 15))
def median(image: ForensicImage, kernel_size: int, rng: np.random.Generator) -> ForensicImage:
    """Median of k x k pixels in each channel, repeated border.

    Level: kernel size k, pixels
    Source: cv2.medianBlur
    """
    return ForensicImage(cv2.medianBlur(image.rgb, kernel_size))


@step("motion_blur", values="odd", low=1, high=99, identity=1, shown=(5, 9, 15, 21, 31))
def motion_blur(image: ForensicImage, length: int, rng: np.random.Generator) -> ForensicImage:
    """Mean of k pixels of a row: the camera moves sideways at constant speed. Mirrored border.

    Level: length k, pixels
    Source: ours
    """
    return ForensicImage(cv2.blur(image.rgb, (length, 1)))


@step("defocus", low=0, high=32, identity=0, shown=(1, 2, 3, 5, 8))
def defocus(image: ForensicImage, radius: int, rng: np.random.Generator) -> ForensicImage:
    """Mean over a disk, x^2 + y^2 <= r^2: a lens out of focus. Mirrored border.

    Level: radius r, pixels
    Source: ours
    """
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disk = (x * x + y * y <= radius * radius).astype(np.float32)
    return ForensicImage(cv2.filter2D(image.rgb, -1, disk / disk.sum()))


@step("bilateral", values="real", low=0, high=200, identity=0, shown=(10, 20, 40, 80, 150))
def bilateral(image: ForensicImage, sigma_color: float, rng: np.random.Generator) -> ForensicImage:
    """Bilateral filter of 9 x 9 pixels, spatial sigma 3.

    Level: sigma of the colour distance, grey levels
    Source: Tomasi & Manduchi, ICCV 1998; cv2.bilateralFilter
    """
    if sigma_color == 0:  # which OpenCV would take for 1
        return ForensicImage(image.rgb.copy())
    return ForensicImage(cv2.bilateralFilter(image.rgb, 9, sigma_color, 3))


@step("unsharp", values="real", low=0, high=10, identity=0, shown=(0.5, 1, 2, 4, 8))
def unsharp(image: ForensicImage, amount: float, rng: np.random.Generator) -> ForensicImage:
    """Unsharp masking: in + a (in - blurred) with a Gaussian of sigma 1, rounded and clipped.

    Level: amount a, of the difference
    Source: ours, as photo editors do it
    """
    blurred = cv2.GaussianBlur(image.rgb, (7, 7), 1.0)
    return ForensicImage(cv2.addWeighted(image.rgb, 1 + amount, blurred, -amount, 0))


@step("pixelate", low=1, high=256, identity=1, shown=(2, 3, 4, 8, 16))
def pixelate(image: ForensicImage, block: int, rng: np.random.Generator) -> ForensicImage:
    """Each n x n block replaced by its mean; blocks at the right and lower edge repeat the last pixels.

    Level: block side n, pixels
    Source: ours
    """
    height, width = image.shape
    rows, columns = -(-height // block), -(-width // block)
    whole = cv2.copyMakeBorder(image.rgb, 0, rows * block - height, 0, columns * block - width, cv2.BORDER_REPLICATE)
    means = cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA)
    large = cv2.resize(means, (columns * block, rows * block), interpolation=cv2.INTER_NEAREST)
    return ForensicImage(np.ascontiguousarray(large[:height, :width]))
