"""Constrained convolution: a learned prediction error (Bayar and Stamm, IH&MMSec 2016, equation 1).

The weights around a kernel's centre sum to 1 and the centre is -1, so that flat image content is suppressed.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def constrained(weight: Tensor) -> Tensor:
    """Kernels (out, in, k, k) with the constraint applied to each of the out x in planes; k is odd.

    What stands in the centre has no effect. Constrained kernels stay as they are, up to rounding.
    """
    centre = torch.zeros_like(weight)
    centre[..., weight.shape[-2] // 2, weight.shape[-1] // 2] = 1
    around = weight * (1 - centre)
    return around / around.sum((-2, -1), keepdim=True) - centre


class BayarConv2d(nn.Module):
    """Constrained convolution that keeps the size. Parameter `kernel`: (in, out, k * k - 1), without the centres.

    The memory of (in, out, k * k) is read as (out, in, k, k), as in the released code; this is no transposition where
    both numbers of channels exceed 1.
    """

    def __init__(self, channels: int, out: int, size: int = 5):
        super().__init__()
        self.size = size
        self.kernel = nn.Parameter(torch.rand(channels, out, size**2 - 1))

    def forward(self, x: Tensor) -> Tensor:
        channels, out, around = self.kernel.shape
        kernel = self.kernel / self.kernel.sum(2, keepdim=True)
        before, after = kernel.split(around // 2, 2)
        kernel = torch.cat([before, kernel.new_full((channels, out, 1), -1.0), after], 2)
        return F.conv2d(x, kernel.reshape(out, channels, self.size, self.size), padding=self.size // 2)
