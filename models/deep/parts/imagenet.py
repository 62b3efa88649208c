"""The colour statistics of ImageNet, which many networks subtract from their input."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def normalized(rgb: Tensor) -> Tensor:
    """(B, 3, H, W) in 0..1 without ImageNet's mean, in units of its standard deviation."""
    return (rgb - rgb.new_tensor(MEAN)[:, None, None]) / rgb.new_tensor(STD)[:, None, None]


def normalized_square(rgb: np.ndarray, size: int) -> Tensor:
    """Float32 (1, 3, size, size) of uint8 (H, W, 3): resized (bilinear, 8 bit, aspect ratio not kept), `normalized`."""
    square = cv2.resize(rgb, (size, size), interpolation=cv2.INTER_LINEAR)
    return normalized(torch.from_numpy(square).permute(2, 0, 1)[None] / 255)
