"""Layer normalization of feature maps."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class MapLayerNorm(nn.LayerNorm):
    """Layer normalization over the channels of every position of (B, C, H, W)."""

    def __init__(self, channels: int, eps: float = 1e-6):
        super().__init__(channels, eps)

    def forward(self, x: Tensor) -> Tensor:
        x = F.layer_norm(x.permute(0, 2, 3, 1), self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)
