"""Inconsistent noise level from the finest diagonal wavelet subband.

B. Mahdian and S. Saic, "Using noise inconsistencies for blind image forensics", Image and Vision Computing 27(10),
2009, section 3.

Trace: sensor noise is spread evenly over an untouched photo; a region from another camera, sensitivity or
processing carries noise of another strength.

Works where host and donor differ clearly in noise and neither is saturated. Cannot work after strong compression,
denoising or downscaling, which remove the noise, and mistakes fine texture for noise.
"""

from __future__ import annotations

import cv2
import numpy as np

from models import Localizer, register
from models.classical.blocks import deviation, require_size, to_pixels
from models.image import ForensicImage, ScoreMap

# Daubechies' orthogonal scaling filter with 8 vanishing moments ("db8"), I. Daubechies, Ten Lectures, table 6.1.
SCALING_FILTER = (
    0.05441584224308161, 0.3128715909144659, 0.6756307362980128, 0.5853546836548691,
    -0.015829105256023893, -0.2840155429624281, 0.00047248457399797254, 0.128747426620186,
    -0.01736930100202211, -0.04408825393106472, 0.013981027917015516, 0.008746094047015655,
    -0.00487035299301066, -0.0003917403729959771, 0.0006754494059985568, -0.00011747678400228192,
)  # fmt: skip
OFFSET = 1 - len(SCALING_FILTER) // 2  # centre of the first coefficient's support, in pixels
GAUSSIAN_MEDIAN = 0.6745  # median of |x| for a standard normal x


@register(
    "noi1",
    title="Median wavelet noise level (NOI1)",
    paper="Mahdian and Saic, Using noise inconsistencies for blind image forensics, Image and Vision Computing 2009",
    year=2009,
    summary="Noise standard deviation block by block, from the median of the diagonal wavelet subband.",
    groups=("baselines", "classical"),
)
class MedianWaveletNoise(Localizer):
    """Deviation of the local noise level from that of the photo.

    The noise standard deviation of a block is median(|HH|) / 0.6745 over its coefficients in the diagonal subband
    HH of a one-level db8 transform of the luminance (equation 4).

    block: side of the blocks in the subband, in coefficients; a block covers twice as many pixels.
    signed: True yields the noise standard deviation itself (grey levels, as in the paper: forged = noisier);
        False its distance from the photo's median level in median absolute deviations, which also finds
        regions smoother than the rest.

    Scores: 0 and up; no fixed threshold has a meaning.

    Compared with pyIFD 0.0.3's NOI1 (block values, signed=True) on a 384x400 photo: correlation .99999, largest
    difference .11 grey levels, since its luminance is rounded from other weights.
    """

    def __init__(self, block: int = 8, signed: bool = False):
        if block < 1:
            raise ValueError(f"noi1: block must be at least 1, got {block}")
        self.block = block
        self.signed = signed

    def localize(self, image: ForensicImage) -> ScoreMap:
        """Score map of the image's size. Raises NotApplicable for an image smaller than one block."""
        require_size(image, 2 * self.block, 2 * self.block)
        noise_std = block_noise(np.rint(image.luminance), self.block)
        values = noise_std if self.signed else deviation(noise_std)
        return ScoreMap(to_pixels(values, image.shape, 2 * self.block, origin=(OFFSET, OFFSET)), kind="score")


def block_noise(luminance: np.ndarray, block: int) -> np.ndarray:
    """Noise standard deviation, float32 (blocks high, blocks wide), of float32 luminance in grey levels."""
    subband = diagonal_subband(luminance)
    rows, columns = subband.shape[0] // block, subband.shape[1] // block
    blocks = np.abs(subband[: rows * block, : columns * block]).reshape(rows, block, columns, block)
    blocks = np.ascontiguousarray(blocks.transpose(0, 2, 1, 3)).reshape(rows, columns, block * block)
    return np.median(blocks, axis=2).astype(np.float32) / np.float32(GAUSSIAN_MEDIAN)


def diagonal_subband(luminance: np.ndarray) -> np.ndarray:
    """HH of a one-level db8 transform with half-sample symmetric borders, float32 ((H + 15) // 2, (W + 15) // 2)."""
    taps = len(SCALING_FILTER)
    highpass = np.array(SCALING_FILTER[::-1], np.float32) * np.where(np.arange(taps) % 2, 1, -1).astype(np.float32)
    margin = taps - 2
    padded = np.pad(luminance, ((margin, taps - 1), (margin, taps - 1)), "symmetric")
    filtered = cv2.sepFilter2D(padded, cv2.CV_32F, highpass, highpass, anchor=(0, 0), borderType=cv2.BORDER_CONSTANT)
    rows, columns = (luminance.shape[0] + taps - 1) // 2, (luminance.shape[1] + taps - 1) // 2
    return filtered[: 2 * rows : 2, : 2 * columns : 2]
