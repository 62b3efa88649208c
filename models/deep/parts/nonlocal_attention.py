"""Attention between all positions of a feature map (Wang et al., CVPR 2018), several of them folded into one."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class NonLocal(nn.Module):
    """`x + gamma_s * W_s(attention of x between positions)`; (B, C, H, W), H and W multiples of `fold`.

    The memory of (C, H, W) is read as (C * fold^2, H / fold, W / fold), as in the released code: not the neighbours
    of a position are folded into it but whatever follows it in memory.
    """

    def __init__(self, channels: int, fold: int):
        super().__init__()
        inner = channels * fold**2
        self.fold = fold
        self.g = nn.Conv2d(inner, inner, 1)
        self.theta = nn.Conv2d(inner, inner, 1)
        self.phi = nn.Conv2d(inner, inner, 1)
        self.W_s = nn.Conv2d(channels, channels, 1)
        self.gamma_s = nn.Parameter(torch.ones(1))

    def projections(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """g, theta and phi, each (B, positions, C * fold^2)."""
        batch, channels, height, width = x.shape
        folded = x.reshape(batch, channels * self.fold**2, height // self.fold, width // self.fold)
        return tuple(conv(folded).flatten(2).mT for conv in (self.g, self.theta, self.phi))

    def between_positions(self, x: Tensor, g: Tensor, theta: Tensor, phi: Tensor) -> Tensor:
        """(B, C, H, W): at each position the mean of `g` over all, weighted by likeness of theta and phi."""
        return F.scaled_dot_product_attention(theta, phi, g, scale=1.0).mT.reshape(x.shape)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.gamma_s * self.W_s(self.between_positions(x, *self.projections(x)))
