"""The plain vision transformer with window attention (ViTDet: Li et al., ECCV 2022), also SAM's image encoder.

Feature maps are (B, H, W, C). Most blocks attend inside windows, a few over the whole map, whose size is therefore
fixed when the network is made.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BIAS_VALUES_AT_ONCE = 2**24  # 64 MB of float32


class PatchEmbed(nn.Module):
    """One token for each patch: (B, channels, H, W) to (B, H / stride, W / stride, width)."""

    def __init__(self, width: int, size: int, stride: int | None = None, padding: int = 0, channels: int = 3):
        super().__init__()
        self.proj = nn.Conv2d(channels, width, size, stride or size, padding)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x).permute(0, 2, 3, 1)


class Attention(nn.Module):
    """Self-attention over a map of side x side tokens.

    To every product of a query and a key it adds what the query says of their distance in rows and of their distance
    in columns (Li et al., MViTv2, CVPR 2022, section 4.1).
    """

    def __init__(self, width: int, heads: int, side: int):
        super().__init__()
        self.heads = heads
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * side - 1, width // heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * side - 1, width // heads))
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, side, _, width = x.shape
        query, key, value = self.qkv(x).view(batch, side * side, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        place = torch.arange(side, device=x.device)
        distance = place[:, None] - place + side - 1
        by_row, by_column = self.rel_pos_h[distance], self.rel_pos_w[distance]
        # The bias of all queries would take 800 MB for twelve heads over 64 x 64 tokens: some rows at a time.
        rows = max(1, BIAS_VALUES_AT_ONCE // (batch * self.heads * side**3))
        mixed = []
        for part, vertical in zip(query.split(rows * side, 2), by_row.split(rows), strict=True):
            at = part.unflatten(2, (-1, side))
            down = torch.einsum("bnhwc,hkc->bnhwk", at, vertical)
            right = torch.einsum("bnhwc,wkc->bnhwk", at, by_column)
            bias = (down[..., :, None] + right[..., None, :]).flatten(4).flatten(2, 3)
            mixed.append(F.scaled_dot_product_attention(part, key, value, attn_mask=bias))
        return self.proj(torch.cat(mixed, 2).transpose(1, 2).reshape(batch, side, side, width))


class MLP(nn.Module):
    """Two linear layers around an activation. names: of the layers, in which released checkpoints differ."""

    def __init__(self, width: int, hidden: int, names: tuple[str, str], activation=F.gelu):
        super().__init__()
        self.names, self.activation = names, activation
        setattr(self, names[0], nn.Linear(width, hidden))
        setattr(self, names[1], nn.Linear(hidden, width))

    def forward(self, x: Tensor) -> Tensor:
        first, second = (getattr(self, name) for name in self.names)
        return second(self.activation(first(x)))


class Block(nn.Module):
    """One transformer layer over a map of side x side tokens. window: side of its windows, 0 for none."""

    def __init__(self, width: int, heads: int, side: int, window: int, names: tuple[str, str]):
        super().__init__()
        self.window = window
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads, window or side)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = MLP(width, 4 * width, names)

    def forward(self, x: Tensor) -> Tensor:
        mixed = self.norm1(x)
        mixed = in_windows(mixed, self.window, self.attn) if self.window else self.attn(mixed)
        x = x + mixed
        return x + self.mlp(self.norm2(x))


def in_windows(x: Tensor, window: int, transform: nn.Module) -> Tensor:
    """`transform` of every window of (B, H, W, C), which zeros below and to the right fill up to whole windows."""
    batch, height, width, channels = x.shape
    x = F.pad(x, (0, 0, 0, -width % window, 0, -height % window))
    rows, columns = x.shape[1] // window, x.shape[2] // window
    x = x.view(batch, rows, window, columns, window, channels).transpose(2, 3)
    x = transform(x.reshape(-1, window, window, channels))
    x = x.view(batch, rows, columns, window, window, channels).transpose(2, 3)
    return x.reshape(batch, rows * window, columns * window, channels)[:, :height, :width]


def blocks(
    width: int, depth: int, heads: int, side: int, window: int, whole: Collection[int], names: tuple[str, str]
) -> nn.ModuleList:
    """`depth` layers, of which those numbered in `whole` attend over the whole map of side x side tokens."""
    return nn.ModuleList(Block(width, heads, side, 0 if i in whole else window, names) for i in range(depth))
