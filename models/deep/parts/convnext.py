"""ConvNeXt (Liu et al., CVPR 2022); tensor names are timm's."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.deep.parts.layer_norm import MapLayerNorm
from models.deep.parts.vit import MLP

# Of the four stages, at strides 4, 8, 16 and 32; size "tiny".
WIDTHS = (96, 192, 384, 768)
DEPTHS = (3, 3, 9, 3)
CLASSES = 1000


class Block(nn.Module):
    """Depth-wise 7 x 7 convolution, layer normalization and two linear layers, scaled by channel, around a shortcut."""

    def __init__(self, width: int):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))
        self.conv_dw = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.mlp = MLP(width, 4 * width, ("fc1", "fc2"))

    def forward(self, x: Tensor) -> Tensor:
        mixed = self.gamma * self.mlp(self.norm(self.conv_dw(x).permute(0, 2, 3, 1)))
        return x + mixed.permute(0, 3, 1, 2)


class Stage(nn.Module):
    """Blocks, behind a halving of the map except in the first stage. before: channels of the map, 0 for the first."""

    def __init__(self, before: int, width: int, depth: int):
        super().__init__()
        if before:
            self.downsample = nn.Sequential(MapLayerNorm(before), nn.Conv2d(before, width, 2, 2))
        else:
            self.downsample = nn.Identity()
        self.blocks = nn.Sequential(*(Block(width) for _ in range(depth)))

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(self.downsample(x))


class Classifier(nn.Module):
    """The layers that released checkpoints hold after the last stage; no localizer uses them."""

    def __init__(self, width: int, classes: int):
        super().__init__()
        self.norm = MapLayerNorm(width)
        self.fc = nn.Linear(width, classes)


class ConvNeXt(nn.Module):
    """The maps of the first `stages` stages of ConvNeXt-T.

    channels: of the input. widths, depths: channels and blocks of the four stages. classes: of the classifier that
    comes with all four. The first convolution has no bias.
    """

    def __init__(
        self,
        channels: int,
        stages: int = 4,
        widths: Sequence[int] = WIDTHS,
        depths: Sequence[int] = DEPTHS,
        classes: int = CLASSES,
    ):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(channels, widths[0], 4, 4, bias=False), MapLayerNorm(widths[0]))
        sizes = list(zip((0, *widths), widths, depths, strict=False))
        self.stages = nn.Sequential(*(Stage(*size) for size in sizes[:stages]))
        if stages == len(widths):
            self.head = Classifier(widths[-1], classes)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.stem(x)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps
