"""The colour statistics of ImageNet, which many networks subtract from their input."""

from __future__ import annotations

from torch import Tensor

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def normalized(rgb: Tensor) -> Tensor:
    """(B, 3, H, W) in 0..1 without ImageNet's mean, in units of its standard deviation."""
    return (rgb - rgb.new_tensor(MEAN)[:, None, None]) / rgb.new_tensor(STD)[:, None, None]
