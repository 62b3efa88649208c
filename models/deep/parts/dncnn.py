"""DnCNN (Zhang et al., TIP 2017) as Noiseprint++ uses it (Guillaro et al., CVPR 2023)."""

from __future__ import annotations

from torch import Tensor, nn

from models.deep.parts.tiles import patchwise

DEPTH = 17
WIDTH = 64
PATCH_SIDE = 1024


def noiseprint_plus(width: int = WIDTH) -> nn.Sequential:
    """RGB (B, 3, H, W) in 0..1 to the camera's noise pattern (B, 1, H, W): 17 convolutions, no residual."""
    layers: list[nn.Module] = [nn.Conv2d(3, width, 3, padding=1), nn.ReLU()]
    for _ in range(DEPTH - 2):
        layers += [nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(width, 1, 3, padding=1))


def in_patches(network: nn.Module, x: Tensor) -> Tensor:
    """`network(x)` of 17 convolutions of 3x3, computed in patches of 1024 pixels where the image is larger."""
    return patchwise(network, x, PATCH_SIDE, DEPTH)
