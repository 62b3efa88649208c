"""The colour statistics of ImageNet, which many networks subtract from their input."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from models.network import square_tensor

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def normalized(rgb: Tensor) -> Tensor:
    """(B, 3, H, W) in 0..1 without ImageNet's mean, in units of its standard deviation."""
    return (rgb - rgb.new_tensor(MEAN)[:, None, None]) / rgb.new_tensor(STD)[:, None, None]


def normalized_square(rgb: np.ndarray, size: int) -> Tensor:
    """`square_tensor` of uint8 (H, W, 3), `normalized`."""
    return normalized(square_tensor(rgb, size))
