"""Edges of feature maps by Sobel filters whose result is normalized (MVSS-Net, ICCV 2021, section 3.1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

SOBEL = ((1.0, 0.0, -1.0), (2.0, 0.0, -2.0), (1.0, 0.0, -1.0))


class SobelNorm(nn.Sequential):
    """One Sobel filter summed over all channels, then batch normalization: (B, C, H, W) to (B, 1, H, W).

    The filter is a parameter because released checkpoints hold it. direction: "x" (answers to vertical edges) or "y".
    """

    def __init__(self, channels: int, direction: str):
        conv = nn.Conv2d(channels, 1, 3, padding=1, bias=False)
        kernel = torch.tensor(SOBEL)
        conv.weight = nn.Parameter((kernel if direction == "x" else kernel.T).repeat(1, channels, 1, 1), False)
        super().__init__(conv, nn.BatchNorm2d(1))


def edge_gate(x: Tensor, sobel_x: nn.Module, sobel_y: nn.Module) -> Tensor:
    """The features, each position weighted by the sigmoid of its edge strength."""
    return torch.sigmoid(torch.sqrt(sobel_x(x) ** 2 + sobel_y(x) ** 2)) * x
