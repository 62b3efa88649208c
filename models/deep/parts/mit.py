"""Mix Transformer and the all-MLP head of SegFormer (Xie et al., NeurIPS 2021).

Transformer layers take and return tokens (B, H * W, C); stages take and return maps (B, C, H, W). What makes more of
every token than goes in and comes out (queries, hidden layers, the head) is computed in strips of rows: the same up to
rounding, in half the memory or less.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.deep.parts.resample import centre_aligned, resampled
from models.deep.parts.tiles import Piece, pieces

REDUCTIONS = (8, 4, 2, 1)  # of the map that a stage's keys and values are taken from
SMALLEST = 32  # pixels; below it the first stage's attention has no key
STRIP = 2**15  # tokens that are seen at once, of an image of half a megapixel those at stride 4


def to_map(tokens: Tensor, height: int, width: int) -> Tensor:
    """(B, H * W, C) to (B, C, H, W)."""
    return tokens.transpose(1, 2).unflatten(2, (height, width))


def to_tokens(x: Tensor) -> Tensor:
    """(B, C, H, W) to (B, H * W, C)."""
    return x.flatten(2).transpose(1, 2)


def strips(height: int, width: int, halo: int = 0) -> list[Piece]:
    """The rows of a map in strips of about STRIP positions, each seen with `halo` rows more on either side."""
    return pieces(height, max(1, STRIP // width), halo)


def in_strips(function: Callable[[Tensor, int], Tensor], tokens: Tensor, height: int, width: int, halo: int = 0):
    """`function` of the tokens (B, N, C) of some rows and their number, stitched together; it keeps N.

    The same as of all tokens if nothing depends on tokens more than `halo` rows away.
    """
    rows, result = tokens.unflatten(1, (height, width)), None
    for strip in strips(height, width, halo):
        seen = function(rows[:, strip.seen].flatten(1, 2), strip.stop - strip.start).unflatten(1, (-1, width))
        if result is None:
            result = seen.new_empty(seen.shape[0], height, width, seen.shape[3])
        result[:, strip.kept] = seen[:, strip.middle]
    return result.flatten(1, 2)


def reorder(module: nn.Module, names: Iterable[str]) -> None:
    """Move submodules to the end, in this order: released networks differ in the order of their tensors alone."""
    for name in names:
        child = getattr(module, name)
        delattr(module, name)
        setattr(module, name, child)


class PatchEmbed(nn.Module):
    """Overlapping patches, each to one token."""

    def __init__(self, channels: int, width: int, size: int, stride: int):
        super().__init__()
        self.proj = nn.Conv2d(channels, width, size, stride, size // 2)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> tuple[Tensor, int, int]:
        """Tokens, and height and width of the map that they make."""
        x = self.proj(x)
        return self.norm(to_tokens(x)), *x.shape[2:]


class Attention(nn.Module):
    """Self-attention whose keys and values come from the map reduced in height and width by `reduction`."""

    def __init__(self, width: int, heads: int, reduction: int):
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)
        self.proj = nn.Linear(width, width)
        if reduction > 1:
            self.sr = nn.Conv2d(width, width, reduction, reduction)
            self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        context = self.norm(to_tokens(self.sr(to_map(x, height, width)))) if hasattr(self, "sr") else x
        key, value = (self._by_head(part) for part in self.kv(context).chunk(2, 2))

        def attend(tokens: Tensor, _) -> Tensor:
            mixed = F.scaled_dot_product_attention(self._by_head(self.q(tokens)), key, value)
            return self.proj(mixed.transpose(1, 2).flatten(2))

        return in_strips(attend, x, height, width)

    def _by_head(self, tokens: Tensor) -> Tensor:
        return tokens.unflatten(2, (self.heads, -1)).transpose(1, 2)


class DepthwiseConv(nn.Module):
    """3x3 convolution of every channel alone, on tokens."""

    def __init__(self, width: int):
        super().__init__()
        self.dwconv = nn.Conv2d(width, width, 3, padding=1, groups=width)

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        return to_tokens(self.dwconv(to_map(x, height, width)))


class MixMLP(nn.Module):
    """Two linear layers with a depthwise convolution between them, which gives positions a meaning."""

    def __init__(self, width: int, gelu: str):
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.dwconv = DepthwiseConv(4 * width)
        self.act = nn.GELU(gelu)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        def transformed(tokens: Tensor, rows: int) -> Tensor:
            return self.fc2(self.act(self.dwconv(self.fc1(tokens), rows, width)))

        return in_strips(transformed, x, height, width, halo=1)


class Block(nn.Module):
    """One transformer layer. gelu: "none" for the exact function, "tanh" for its approximation."""

    def __init__(self, width: int, heads: int, reduction: int, gelu: str = "none"):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads, reduction)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = MixMLP(width, gelu)

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        x = x + self.attn(self.norm1(x), height, width)
        return x + self.mlp(self.norm2(x), height, width)


@dataclass(frozen=True)
class Variant:
    """Channels, transformer layers and attention heads of the four stages, at strides 4, 8, 16 and 32."""

    widths: tuple[int, int, int, int]
    depths: tuple[int, int, int, int]
    heads: tuple[int, int, int, int]

    def patch_embed(self, stage: int, channels: int = 3) -> PatchEmbed:
        """The embedding before stage 0..3. channels: of the image, which only stage 0 sees."""
        if stage == 0:
            return PatchEmbed(channels, self.widths[0], 7, 4)
        return PatchEmbed(self.widths[stage - 1], self.widths[stage], 3, 2)

    def blocks(self, stage: int, gelu: str = "none") -> nn.ModuleList:
        """The transformer layers of stage 0..3."""
        sizes = self.widths[stage], self.heads[stage], REDUCTIONS[stage]
        return nn.ModuleList(Block(*sizes, gelu) for _ in range(self.depths[stage]))

    def output_norm(self, stage: int) -> nn.LayerNorm:
        """The normalization of what stage 0..3 puts out."""
        return nn.LayerNorm(self.widths[stage], eps=1e-6)


B2 = Variant(widths=(64, 128, 320, 512), depths=(3, 4, 6, 3), heads=(1, 2, 5, 8))
B3 = Variant(widths=(64, 128, 320, 512), depths=(3, 4, 18, 3), heads=(1, 2, 5, 8))
TINY = Variant(widths=(4, 8, 10, 16), depths=(1, 1, 1, 1), heads=(1, 2, 5, 8))  # for tests


def transform(tokens: Tensor, height: int, width: int, layers: Iterable[Block], norm: nn.LayerNorm) -> Tensor:
    """Tokens through the layers of a stage and its normalization, to a map."""
    for layer in layers:
        tokens = layer(tokens, height, width)
    return to_map(norm(tokens), height, width)


class ConvNorm(nn.Sequential):
    """1x1 convolution, batch normalization, ReLU."""

    def __init__(self, channels: int, out: int, eps: float = 1e-5):
        super().__init__()
        self.conv = nn.Conv2d(channels, out, 1, bias=False)
        self.bn = nn.BatchNorm2d(out, eps=eps)
        self.act = nn.ReLU(inplace=True)


class Projection(nn.Module):
    """A linear layer over the channels of a map."""

    def __init__(self, channels: int, out: int):
        super().__init__()
        self.proj = nn.Linear(channels, out)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.proj.weight[:, :, None, None], self.proj.bias)


class SegFormerHead(nn.Module):
    """Four maps (B, widths[i], ...) to logits (B, classes, H/4, W/4).

    Each is projected to `embedding` channels and enlarged to the first one's size (bilinear). `fuse`, a 1x1
    convolution, a normalization and ReLU, takes all four, the coarsest first, to `embedding` channels.
    """

    def __init__(self, widths: tuple[int, ...], embedding: int, classes: int, fuse: nn.Sequential):
        super().__init__()
        for level in (4, 3, 2, 1):
            setattr(self, f"linear_c{level}", Projection(widths[level - 1], embedding))
        self.linear_fuse = fuse
        self.linear_pred = nn.Conv2d(embedding, classes, 1)

    def forward(self, features: list[Tensor]) -> Tensor:
        convolution, *rest = self.linear_fuse
        *coarse, finest = zip((4, 3, 2, 1), convolution.weight.chunk(4, 1), strict=True)
        # A 1x1 convolution and bilinear enlargement may change places, so each level is convolved at its own size:
        # a third of the time, and no map of four times `embedding` channels.
        level, weight = finest
        levels = [self._convolve(features[number - 1], number, kernel) for number, kernel in coarse]
        height, width = features[level - 1].shape[2:]
        logits = []
        for strip in strips(height, width):
            fused = self._convolve(features[level - 1][:, :, strip.kept], level, weight, convolution.bias)
            for x in levels:
                whole = tuple(pieces(length, length, 0)[0] for length in x.shape[2:])
                fused += resampled(x, whole, (strip, *pieces(width, width, 0)), centre_aligned)
            logits.append(self.linear_pred(nn.Sequential(*rest)(fused)))
        return torch.cat(logits, 2)

    def _convolve(self, x: Tensor, level: int, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return F.conv2d(getattr(self, f"linear_c{level}")(x), weight, bias)


def enlarge(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear resampling with half-pixel centres (align_corners false)."""
    return F.interpolate(x, size, mode="bilinear", align_corners=False)
