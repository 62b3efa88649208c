"""HRFormer, the high-resolution transformer that is MPC's encoder (Yuan et al., NeurIPS 2021, section 3).

Four branches at strides 4, 8, 16 and 32 run side by side. A block is self-attention inside windows of 7 x 7
positions followed by a feed-forward part with a depth-wise convolution; after each module of two blocks the
branches exchange features. MPC adds a 1 x 1 projection of each branch to 256 channels.

Tensor names and shapes are those of the released checkpoints. Feature maps are (B, C, H, W) in channels-last
memory throughout, so that attention, which wants channels last, needs no transposition.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.convolution import convolve, linear

WINDOW = 7
STEM_CHANNELS = 64
PROJECTED_CHANNELS = 256


@dataclass(frozen=True)
class Variant:
    """Channels and attention heads of the four branches, modules of stages 2, 3 and 4, and blocks of a module."""

    channels: tuple[int, int, int, int]
    heads: tuple[int, int, int, int]
    modules: tuple[int, int, int]
    blocks: int = 2


VARIANTS = {
    "tiny": Variant(channels=(18, 36, 72, 144), heads=(1, 2, 4, 8), modules=(1, 3, 2)),
    "small": Variant(channels=(32, 64, 128, 256), heads=(1, 2, 4, 8), modules=(1, 4, 2)),
    "base": Variant(channels=(78, 156, 312, 624), heads=(2, 4, 8, 16), modules=(1, 4, 2)),
}


class DropPath(nn.Module):
    """Stochastic depth: in training a sample's residual branch is zero with `probability`, else scaled up."""

    def __init__(self, probability: float):
        super().__init__()
        self.probability = probability

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.probability == 0:
            return x
        kept = 1 - self.probability
        return x * x.new_empty((len(x),) + (1,) * (x.ndim - 1)).bernoulli_(kept).div_(kept)

    def extra_repr(self) -> str:
        return f"probability={self.probability:.3f}"


class WindowAttention(nn.Module):
    """Multi-head self-attention inside one window, with a learned bias for each relative position."""

    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.heads = heads
        self.relative_position_bias_table = nn.Parameter(torch.empty((2 * WINDOW - 1) ** 2, heads))
        self.register_buffer("relative_position_index", _relative_position_index())
        self.k_proj = nn.Linear(channels, channels)
        self.v_proj = nn.Linear(channels, channels)
        self.q_proj = nn.Linear(channels, channels)
        self.out_proj = nn.Linear(channels, channels)
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)

    def forward(self, windows: Tensor) -> Tensor:
        """windows: (number of windows, 49, C), positions in row order; the same shape is returned."""
        number, positions, channels = windows.shape
        projections = (self.q_proj, self.k_proj, self.v_proj)
        weight = torch.cat([p.weight for p in projections])
        offset = torch.cat([p.bias for p in projections])
        qkv = linear(windows, weight, offset)
        qkv = qkv.view(number, positions, 3, self.heads, channels // self.heads).permute(2, 0, 3, 1, 4)
        bias = self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)
        if qkv.dtype == torch.bfloat16 and qkv.device.type == "cpu":
            out = _bfloat16_attention(*qkv.unbind(0), bias)
        else:
            out = F.scaled_dot_product_attention(*qkv.unbind(0), attn_mask=bias.to(qkv.dtype).unsqueeze(0))
        out = out.transpose(1, 2).reshape(number, positions, channels)
        return linear(out, self.out_proj.weight, self.out_proj.bias)


def _bfloat16_attention(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """Attention (windows, heads, 49, C / heads) with a float32 softmax.

    On a CPU PyTorch's fused kernel takes longer in bfloat16 than in float32, and 1.6 times as long as this.
    """
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    return scores.float().add_(bias).softmax(-1).to(value.dtype) @ value


def _relative_position_index() -> Tensor:
    """Row of the bias table for each pair of window positions: int64 (49, 49)."""
    row, column = (axis.flatten() for axis in torch.meshgrid(*[torch.arange(WINDOW)] * 2, indexing="ij"))
    down = row[:, None] - row[None, :] + WINDOW - 1
    right = column[:, None] - column[None, :] + WINDOW - 1
    return down * (2 * WINDOW - 1) + right


class LocalAttention(nn.Module):
    """`WindowAttention` over the windows of a feature map (B, H, W, C).

    The map is padded with zeros, half on each side, to whole windows. The padding takes part in the
    attention, as in the released code.
    """

    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.attn = WindowAttention(channels, heads)

    def forward(self, x: Tensor) -> Tensor:
        batch, height, width, channels = x.shape
        rows, columns = -(-height // WINDOW), -(-width // WINDOW)
        spare_rows, spare_columns = rows * WINDOW - height, columns * WINDOW - width
        top, left = spare_rows // 2, spare_columns // 2
        if spare_rows or spare_columns:
            x = F.pad(x, (0, 0, left, spare_columns - left, top, spare_rows - top))
        x = x.view(batch, rows, WINDOW, columns, WINDOW, channels).transpose(2, 3)
        x = self.attn(x.reshape(-1, WINDOW * WINDOW, channels))
        x = x.view(batch, rows, columns, WINDOW, WINDOW, channels).transpose(2, 3)
        x = x.reshape(batch, rows * WINDOW, columns * WINDOW, channels)
        return x[:, top : top + height, left : left + width]


class FeedForward(nn.Module):
    """1 x 1, depth-wise 3 x 3 and 1 x 1 convolution, each with batch normalization and GELU; (B, C, H, W)."""

    def __init__(self, channels: int, expansion: int = 4):
        super().__init__()
        hidden = channels * expansion
        self.fc1 = nn.Conv2d(channels, hidden, 1)
        self.norm1 = nn.BatchNorm2d(hidden)
        self.dw3x3 = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.norm2 = nn.BatchNorm2d(hidden)
        self.fc2 = nn.Conv2d(hidden, channels, 1)
        self.norm3 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        x = convolve(x, self.fc1, self.norm1, "gelu")
        x = convolve(x, self.dw3x3, self.norm2, "gelu")
        return convolve(x, self.fc2, self.norm3, "gelu")


class TransformerBlock(nn.Module):
    """Local attention and feed-forward part, each behind a layer normalization and around a shortcut."""

    def __init__(self, channels: int, heads: int, drop_path: float):
        super().__init__()
        self.attn = LocalAttention(channels, heads)
        self.norm1 = nn.LayerNorm(channels, eps=1e-6)
        self.norm2 = nn.LayerNorm(channels, eps=1e-6)
        self.drop_path = DropPath(drop_path)
        self.mlp = FeedForward(channels)

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1)
        x = x + self.drop_path(self.attn(self.norm1(x)))
        mixed = self.mlp(self.norm2(x).permute(0, 3, 1, 2))
        return x.permute(0, 3, 1, 2) + self.drop_path(mixed)


class Bottleneck(nn.Module):
    """The ResNet block of stage 1: 1 x 1, 3 x 3 and 1 x 1 convolution around a shortcut."""

    def __init__(self, channels: int, inner: int, out: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out)
        self.downsample = None
        if channels != out:
            self.downsample = nn.Sequential(nn.Conv2d(channels, out, 1, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else convolve(x, *self.downsample)
        x = convolve(x, self.conv1, self.bn1, "relu")
        x = convolve(x, self.conv2, self.bn2, "relu")
        return F.relu(convolve(x, self.conv3, self.bn3).add_(shortcut), inplace=True)


class ConvolutionChain(nn.Sequential):
    """Convolutions, each followed by its batch normalization, the last one by a ReLU if `rectified`."""

    def __init__(self, *layers: nn.Module, rectified: bool):
        super().__init__(*layers)
        self.rectified = rectified

    def forward(self, x: Tensor) -> Tensor:
        layers = list(self)
        for conv, norm in zip(layers[0::2], layers[1::2], strict=True):
            x = convolve(x, conv, norm, "relu" if self.rectified and norm is layers[-1] else "none")
        return x


class HighResolutionModule(nn.Module):
    """Two transformer blocks per branch, then every branch receives the sum of all, brought to its size."""

    def __init__(self, channels: tuple[int, ...], heads: tuple[int, ...], drop_paths: list[float]):
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(*(TransformerBlock(width, count, drop) for drop in drop_paths))
            for width, count in zip(channels, heads, strict=True)
        )
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(_exchange(channels, source, target) for source in range(len(channels)))
            for target in range(len(channels))
        )

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        features = [branch(x) for branch, x in zip(self.branches, features, strict=True)]
        fused = []
        for target, exchanges in enumerate(self.fuse_layers):
            total = features[target]
            for source, exchange in enumerate(exchanges):
                if source == target:
                    continue
                x = exchange(features[source])
                if source > target:
                    x = F.interpolate(x, scale_factor=2 ** (source - target), mode="nearest")
                    x = resize(x, total.shape[2:])
                total = total + x
            fused.append(F.relu(total, inplace=True))
        return fused


def _exchange(channels: tuple[int, ...], source: int, target: int) -> nn.Module | None:
    """The layers that bring branch `source` to the channels, and down to the stride, of branch `target`."""
    if source == target:
        return None
    if source > target:
        conv = nn.Conv2d(channels[source], channels[target], 1, bias=False)
        return ConvolutionChain(conv, nn.BatchNorm2d(channels[target]), rectified=False)
    steps = []
    for step in range(source, target):
        last = step == target - 1
        out = channels[target] if last else channels[source]
        steps.append(
            ConvolutionChain(
                nn.Conv2d(channels[source], channels[source], 3, 2, 1, groups=channels[source], bias=False),
                nn.BatchNorm2d(channels[source]),
                nn.Conv2d(channels[source], out, 1, bias=False),
                nn.BatchNorm2d(out),
                rectified=not last,
            )
        )
    return nn.Sequential(*steps)


def resize(x: Tensor, size: torch.Size) -> Tensor:
    """Bilinear, corners aligned, as MPC resizes feature maps everywhere."""
    if x.shape[2:] == size:
        return x
    return F.interpolate(x, size, mode="bilinear", align_corners=True)


class Projection(nn.Module):
    """1 x 1 convolution, batch normalization and ReLU from a branch to the channels that are fused."""

    def __init__(self, channels: int, out: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, out, 1, bias=False)
        self.bn = nn.BatchNorm2d(out, eps=1e-3, momentum=0.03)

    def forward(self, x: Tensor) -> Tensor:
        return convolve(x, self.conv, self.bn, "relu")


class HRFormer(nn.Module):
    """HRFormer-Base, -Small or -Tiny with MPC's projections.

    variant: key of VARIANTS, or one of its own.
    drop_path: stochastic depth of the last block; it grows linearly from 0 at the first.
    projected: channels of each map that is returned.
    """

    def __init__(self, variant: str | Variant, drop_path: float = 0.2, projected: int = PROJECTED_CHANNELS):
        super().__init__()
        if isinstance(variant, str):
            if variant not in VARIANTS:
                raise ValueError(f"unknown HRFormer variant {variant!r}; known: {', '.join(VARIANTS)}")
            variant = VARIANTS[variant]
        channels, heads, modules = variant.channels, variant.heads, variant.modules
        depth = variant.blocks * sum(modules)
        drops = [drop_path * block / (depth - 1) for block in range(depth)]
        self.conv1 = nn.Conv2d(3, STEM_CHANNELS, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(STEM_CHANNELS)
        self.conv2 = nn.Conv2d(STEM_CHANNELS, STEM_CHANNELS, 3, stride=2, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(STEM_CHANNELS)
        self.convs = nn.ModuleList(Projection(width, projected) for width in channels)
        wide = 4 * STEM_CHANNELS
        self.layer1 = nn.Sequential(
            Bottleneck(STEM_CHANNELS, STEM_CHANNELS, wide), Bottleneck(wide, STEM_CHANNELS, wide)
        )
        self.transition1 = nn.ModuleList(
            [_transition(wide, channels[0]), nn.Sequential(_transition(wide, channels[1], stride=2))]
        )
        self.stage2 = _stage(channels[:2], heads[:2], modules[0], variant.blocks, drops)
        self.transition2 = nn.ModuleList([None, None, nn.Sequential(_transition(channels[1], channels[2], stride=2))])
        self.stage3 = _stage(channels[:3], heads[:3], modules[1], variant.blocks, drops)
        self.transition3 = nn.ModuleList(
            [None, None, None, nn.Sequential(_transition(channels[2], channels[3], stride=2))]
        )
        self.stage4 = _stage(channels, heads, modules[2], variant.blocks, drops)

    def forward(self, x: Tensor) -> list[Tensor]:
        """x: (B, 3, H, W) in 0..1. Returns four maps (B, 256, ., .) at strides 4, 8, 16, 32 (rounded up)."""
        x = x.contiguous(memory_format=torch.channels_last)
        x = convolve(x, self.conv1, self.bn1, "relu")
        x = convolve(x, self.conv2, self.bn2, "relu")
        x = self.layer1(x)
        features = self.stage2([transition(x) for transition in self.transition1])
        features = self.stage3([*features, self.transition2[-1](features[-1])])
        features = self.stage4([*features, self.transition3[-1](features[-1])])
        return [project(branch) for project, branch in zip(self.convs, features, strict=True)]


def _transition(channels: int, out: int, stride: int = 1) -> ConvolutionChain:
    conv = nn.Conv2d(channels, out, 3, stride=stride, padding=1, bias=False)
    return ConvolutionChain(conv, nn.BatchNorm2d(out), rectified=True)


def _stage(
    channels: tuple[int, ...], heads: tuple[int, ...], modules: int, blocks: int, drops: list[float]
) -> nn.Sequential:
    """`modules` modules of `blocks` blocks; takes the stochastic depth of these from the front of `drops`."""
    depths = [[drops.pop(0) for _ in range(blocks)] for _ in range(modules)]
    return nn.Sequential(*(HighResolutionModule(channels, heads, depth) for depth in depths))
