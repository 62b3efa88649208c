"""The DCT domain of a JPEG as a network's input: a volume of binary planes (Kwon et al., IJCV 2022, section 3.2)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from models.image import ForensicImage, JpegCoefficients, encode_jpeg


def with_jpeg(image: ForensicImage) -> ForensicImage:
    """The image itself if it has JPEG bytes, else what is left of it after saving it at quality 100, 4:4:4."""
    return image if image.jpeg is not None else ForensicImage.from_jpeg(encode_jpeg(image.rgb, 100, "4:4:4"))


def luma_coefficients(stored: JpegCoefficients, height: int, width: int) -> np.ndarray:
    """Quantised coefficients of the first component: int32, as many whole blocks as cover height x width.

    A file may hold more blocks (whole MCUs); they are cut off. Where it holds fewer, the rest is zero.
    """
    size = (-(-height // 8) * 8, -(-width // 8) * 8)
    covered = np.zeros(size, np.int32)
    luma = stored.coefficients[0][: size[0], : size[1]]
    covered[: luma.shape[0], : luma.shape[1]] = luma
    return covered


def dct_volume(coefficients: np.ndarray, largest: int = 20) -> Tensor:
    """Float32 (largest + 1, H, W) of whole numbers (H, W): plane k is 1 where |c| = k, the last if |c| >= largest."""
    magnitude = torch.from_numpy(np.minimum(np.abs(coefficients), largest).astype(np.int64))
    volume = torch.zeros(largest + 1, *magnitude.shape)
    return volume.scatter_(0, magnitude[None], 1.0)
