"""ResNet of bottlenecks (He et al., CVPR 2016), also grouped, dilated and with squeeze-and-excitation.

Tensor names are torchvision's.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from models.convolution import ConvNorm, convolve


class SqueezeExcitation(nn.Module):
    """Each channel weighted by what two layers make of all channels' means (Hu et al., CVPR 2018)."""

    def __init__(self, channels: int, reduction: int):
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // reduction, 1)
        self.fc2 = nn.Conv2d(channels // reduction, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.fc2(F.relu(self.fc1(x.mean((2, 3), keepdim=True)))).sigmoid()


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 (with the stride) and 1 x 1 convolution around a shortcut.

    widths: channels after each of the three. shortcut_kernel: size of the shortcut's convolution, which exists
    where the stride or the number of channels changes. reduction: of the squeeze-and-excitation, None for none.
    """

    def __init__(
        self,
        channels: int,
        widths: tuple[int, int, int],
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        shortcut_kernel: int = 1,
        reduction: int | None = None,
    ):
        super().__init__()
        first, middle, out = widths
        self.conv1 = nn.Conv2d(channels, first, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(first)
        self.conv2 = nn.Conv2d(first, middle, 3, stride, dilation, dilation, groups, bias=False)
        self.bn2 = nn.BatchNorm2d(middle)
        self.conv3 = nn.Conv2d(middle, out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out)
        self.se_module = nn.Identity() if reduction is None else SqueezeExcitation(out, reduction)
        self.downsample = nn.Identity()
        if stride != 1 or channels != out:
            self.downsample = ConvNorm(channels, out, shortcut_kernel, stride, rectified=False)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = self.downsample(x)
        x = convolve(x, self.conv1, self.bn1, "relu")
        x = convolve(x, self.conv2, self.bn2, "relu")
        x = self.se_module(convolve(x, self.conv3, self.bn3))
        return F.relu(x + shortcut)


class ResNet50(nn.Module):
    """Features after each of the four layers, at strides 4, 8, 16 and 16, of 4, 8, 16 and 32 times `width` channels.

    dilations: of the three blocks of the last layer, which has them in place of a stride. The classifier `fc` is
    part of released checkpoints, not of the forward pass.
    """

    def __init__(self, dilations: Sequence[int] = (1, 2, 4), width: int = 64):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = _layer(width, width, 1, (1,) * 3)
        self.layer2 = _layer(4 * width, 2 * width, 2, (1,) * 4)
        self.layer3 = _layer(8 * width, 4 * width, 2, (1,) * 6)
        self.layer4 = _layer(16 * width, 8 * width, 1, dilations)
        self.fc = nn.Linear(32 * width, 1000)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = F.max_pool2d(convolve(x, self.conv1, self.bn1, "relu"), 3, 2, 1)
        features = []
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
            features.append(x)
        return features


def _layer(channels: int, inner: int, stride: int, dilations: Sequence[int]) -> nn.Sequential:
    """One bottleneck a dilation; the first has the stride."""
    blocks = []
    for dilation in dilations:
        blocks.append(Bottleneck(channels, (inner, inner, 4 * inner), stride=stride, dilation=dilation))
        channels, stride = 4 * inner, 1
    return nn.Sequential(*blocks)
