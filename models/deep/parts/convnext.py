"""ConvNeXt (Liu et al., CVPR 2022); tensor names are timm's."""

from __future__ import annotations

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
    """Blocks, behind a halving of the map except in the first stage."""

    def __init__(self, level: int):
        super().__init__()
        width = WIDTHS[level]
        if level:
            before = WIDTHS[level - 1]
            self.downsample = nn.Sequential(MapLayerNorm(before), nn.Conv2d(before, width, 2, 2))
        else:
            self.downsample = nn.Identity()
        self.blocks = nn.Sequential(*(Block(width) for _ in range(DEPTHS[level])))

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(self.downsample(x))


class Classifier(nn.Module):
    """The layers that released checkpoints hold after the last stage; no localizer uses them."""

    def __init__(self):
        super().__init__()
        self.norm = MapLayerNorm(WIDTHS[-1])
        self.fc = nn.Linear(WIDTHS[-1], CLASSES)


class ConvNeXt(nn.Module):
    """The maps of the first `stages` stages of ConvNeXt-T.

    channels: of the input. The first convolution has no bias.
    """

    def __init__(self, channels: int, stages: int = 4):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(channels, WIDTHS[0], 4, 4, bias=False), MapLayerNorm(WIDTHS[0]))
        self.stages = nn.Sequential(*(Stage(level) for level in range(stages)))
        if stages == len(WIDTHS):
            self.head = Classifier()

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.stem(x)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps
