"""Noise residuals of the steganalysis rich model (Fridrich and Kodovsky, TIFS 2012).

The three filters that forgery localizers use (Zhou et al., CVPR 2018).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Second differences across both axes, a 5x5 square filter, and a second difference along a row.
KERNELS = torch.tensor(
    (
        ((0, 0, 0, 0, 0), (0, -1, 2, -1, 0), (0, 2, -4, 2, 0), (0, -1, 2, -1, 0), (0, 0, 0, 0, 0)),
        ((-1, 2, -2, 2, -1), (2, -6, 8, -6, 2), (-2, 8, -12, 8, -2), (2, -6, 8, -6, 2), (-1, 2, -2, 2, -1)),
        ((0, 0, 0, 0, 0), (0, 0, 0, 0, 0), (0, 1, -2, 1, 0), (0, 0, 0, 0, 0), (0, 0, 0, 0, 0)),
    )
) / torch.tensor((4.0, 12.0, 2.0)).reshape(3, 1, 1)


def over_channels() -> Tensor:
    """The kernels (3, 3, 5, 5) of a convolution that applies each filter to the sum of three channels."""
    return KERNELS[:, None].repeat(1, 3, 1, 1)


def by_channel() -> Tensor:
    """The kernels (9, 3, 5, 5) of a convolution that applies each filter to each of three channels, filter first."""
    return (KERNELS[:, None, None] * torch.eye(3)[:, :, None, None]).flatten(0, 1)


class TruncatedSRM(nn.Module):
    """Residuals (B, 3, H, W) of an image (B, 3, H, W), cut at -2 and 2. Buffer `filters`."""

    def __init__(self):
        super().__init__()
        self.register_buffer("filters", over_channels())

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.filters, padding=2).clamp(-2, 2)
