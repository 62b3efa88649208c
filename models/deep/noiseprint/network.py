"""The network that takes the scene out of a photo (Cozzolino and Verdoliva, TIFS 2020)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.deep.parts.tiles import patchwise

DEPTH = 17
WIDTH = 64
NORM_EPS = 1e-5
TILE = 1024
WHOLE_PIXELS = 1_050_000  # above this a photo is seen in tiles
OVERLAP = 34  # twice the receptive field's radius, so that tiles equal the whole


class Normalization(nn.Module):
    """Batch normalization with stored statistics and without an offset."""

    def __init__(self, channels: int):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels))
        self.moving_mean = nn.Parameter(torch.zeros(channels))
        self.moving_variance = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.batch_norm(x, self.moving_mean, self.moving_variance, self.gamma, None, eps=NORM_EPS)


class Offset(nn.Module):
    """A constant for each channel."""

    def __init__(self, channels: int):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bias[:, None, None]


class Noiseprint(nn.Module):
    """17 convolutions of 3x3, with the tensor names of the released PyTorch port of the authors' weights."""

    def __init__(self, width: int = WIDTH):
        super().__init__()
        layers = [nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.ReLU())]
        for _ in range(DEPTH - 2):
            convolution = nn.Conv2d(width, width, 3, padding=1, bias=False)
            layers.append(nn.Sequential(convolution, Normalization(width), Offset(width), nn.ReLU()))
        layers.append(nn.Sequential(nn.Conv2d(width, 1, 3, padding=1)))
        self.conv_layers = nn.ModuleList(layers)

    @classmethod
    def tiny(cls) -> Noiseprint:
        return cls(width=4)

    def forward(self, luminance: Tensor) -> Tensor:
        """(B, 1, H, W) of the luminance 0..255 divided by 256, to its noise pattern of the same shape."""
        for layer in self.conv_layers:
            luminance = layer(luminance)
        return luminance


def extract(network: Noiseprint, luminance: Tensor) -> Tensor:
    """Noise pattern (1, 1, H, W) of a luminance (1, 1, H, W) in 0..1, of a large one in tiles as the authors do."""
    height, width = luminance.shape[2:]
    side = max(height, width) if height * width <= WHOLE_PIXELS else TILE
    return patchwise(network, luminance, side, OVERLAP)
