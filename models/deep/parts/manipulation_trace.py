"""The feature extractor of ManTra-Net (Wu et al., CVPR 2019, section 3), which SPAN takes over.

A first layer of learned, SRM and constrained kernels, then twelve 3 x 3 convolutions at full size; features of unit
length. Images are continued by their mirror image.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

# Channels after each of the twelve convolutions.
WIDTHS = (32, 64, 64, 128, 128, 128, 256, 256, 256, 256, 256, 256)
# Their names in the authors' Keras files.
LAYERS = ("b1c2", "b2c1", "b2c2", "b3c1", "b3c2", "b3c3", "b4c1", "b4c2", "b4c3", "b5c1", "b5c2", "transform")
FIRST_WIDTH = 16  # 4 learned, 9 SRM and 3 constrained kernels
RADIUS = 2 + len(WIDTHS)  # pixels around a position that its features depend on


def trace_features(x: Tensor, first: Tensor, layers: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Features (B, 256, H, W) of unit length for (B, 3, H, W) in -1..1.

    first: kernels (16, 3, 5, 5). layers: kernels (out, in, 3, 3) and bias of each further convolution.
    """
    x = F.conv2d(mirrored(x, 2), first)
    for weight, bias in layers:
        x = F.conv2d(F.pad(F.relu(x), (1, 1, 1, 1), "replicate"), weight, bias)
    return F.normalize(x)


def mirrored(x: Tensor, padding: int) -> Tensor:
    """(B, C, H, W) with `padding` pixels on each side from its mirror image, the border itself repeated."""

    def along(length: int) -> Tensor:
        position = torch.arange(-padding, length + padding, device=x.device) % (2 * length)
        return torch.minimum(position, 2 * length - 1 - position)

    return x[:, :, along(x.shape[2])[:, None], along(x.shape[3])]
