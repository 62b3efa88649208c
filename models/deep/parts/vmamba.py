"""VMamba (Liu et al., NeurIPS 2024): a vision backbone whose layers scan a map along four ways.

Inside, maps have their channels last: (B, H, W, C).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WAYS = 4  # along rows, along columns, and both backwards
STEP_RANK_DIVISOR = 16
MLP_RATIO = 4
CHUNK = 128


def linear_recurrence(decay: Tensor, x: Tensor) -> Tensor:
    """h[t] = decay[t] * h[t - 1] + x[t] with h[-1] = 0, along the first dimension of both; decay in 0..1.

    Chunks of the sequence run side by side from 0, then each gets what its predecessor hands on: about
    2 sqrt(length) steps instead of length ones.
    """
    length = x.shape[0]
    chunks = math.ceil(length / CHUNK)
    spare = [0, 0] * (x.ndim - 1) + [0, chunks * CHUNK - length]
    decay = F.pad(decay, spare).unflatten(0, (chunks, CHUNK))
    h = F.pad(x, spare).unflatten(0, (chunks, CHUNK))
    decayed = decay.clone()
    for t in range(1, CHUNK):
        h[:, t] += decay[:, t] * h[:, t - 1]
        decayed[:, t] *= decayed[:, t - 1]
    for chunk in range(1, chunks):
        h[chunk] += decayed[chunk] * h[chunk - 1, -1]
    return h.flatten(0, 1)[:length]


class SelectiveScan(nn.Module):
    """State-space layer with one state a channel whose step size, input and output weights depend on the input."""

    def __init__(self, width: int):
        super().__init__()
        rank = math.ceil(width / STEP_RANK_DIVISOR)
        self.x_proj_weight = nn.Parameter(torch.randn(WAYS, rank + 2, width) / width**0.5)
        self.A_logs = nn.Parameter(torch.zeros(WAYS * width, 1))
        self.Ds = nn.Parameter(torch.ones(WAYS * width))
        self.dt_projs_weight = nn.Parameter(torch.randn(WAYS, width, rank) / rank**0.5)
        self.dt_projs_bias = nn.Parameter(torch.zeros(WAYS, width))
        self.out_norm = nn.LayerNorm(width)
        self.in_proj = nn.Linear(width, width, bias=False)
        self.conv2d = nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False)
        self.out_proj = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = F.silu(self.conv2d(self.in_proj(x).permute(0, 3, 1, 2))).permute(2, 3, 0, 1)  # (H, W, B, C)
        scanned = self._merged(self._scan(self._sequences(x)), *x.shape[:2])
        return self.out_proj(self.out_norm(scanned.permute(2, 0, 1, 3)))

    def _sequences(self, x: Tensor) -> Tensor:
        """(H, W, B, C) along the four ways, (L, 4, B, C)."""
        rows, columns = x.flatten(0, 1), x.transpose(0, 1).flatten(0, 1)
        return torch.stack([rows, columns, rows.flip(0), columns.flip(0)], 1)

    def _merged(self, sequences: Tensor, height: int, width: int) -> Tensor:
        """The sum (H, W, B, C) of what the four ways (L, 4, B, C) found at each position."""
        rows, columns, rows_back, columns_back = sequences.unbind(1)
        along_rows = (rows + rows_back.flip(0)).unflatten(0, (height, width))
        return along_rows + (columns + columns_back.flip(0)).unflatten(0, (width, height)).transpose(0, 1)

    def _scan(self, x: Tensor) -> Tensor:
        rank = self.dt_projs_weight.shape[2]
        projected = torch.einsum("lkbd,kcd->lkbc", x, self.x_proj_weight)
        step_input, entry, exit_ = projected.split([rank, 1, 1], 3)
        step = torch.einsum("lkbr,kdr->lkbd", step_input, self.dt_projs_weight) + self.dt_projs_bias[:, None]
        step = F.softplus(step)
        rate = -self.A_logs.exp().reshape(WAYS, 1, -1)
        state = linear_recurrence((step * rate).exp(), step * entry * x)
        return state * exit_ + x * self.Ds.reshape(WAYS, 1, -1)


class MLP(nn.Module):
    """Two linear layers with a GELU between, of each position by itself."""

    def __init__(self, width: int):
        super().__init__()
        self.fc1 = nn.Linear(width, MLP_RATIO * width)
        self.fc2 = nn.Linear(MLP_RATIO * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """One layer: the scan and an MLP, each normalized before and added to its input."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.op = SelectiveScan(width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = MLP(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.op(self.norm(x))
        return x + self.mlp(self.norm2(x))


class Permute(nn.Module):
    """Reorders dimensions."""

    def __init__(self, *order: int):
        super().__init__()
        self.order = order

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(self.order)


def halve(channels: int, out: int, *, channels_last: bool = True) -> list[nn.Module]:
    """Half the height and width by a 3x3 convolution and a normalization; (B, H, W, C) out."""
    first = Permute(0, 3, 1, 2) if channels_last else nn.Identity()
    return [first, nn.Conv2d(channels, out, 3, 2, 1), Permute(0, 2, 3, 1), nn.LayerNorm(out)]


class Stage(nn.Module):
    """Layers of one width, and what leads to the next."""

    def __init__(self, width: int, depth: int, following: int | None):
        super().__init__()
        self.blocks = nn.Sequential(*(Block(width) for _ in range(depth)))
        self.downsample = nn.Identity() if following is None else nn.Sequential(*halve(width, following))


class VMamba(nn.Module):
    """(B, 3, H, W) to four maps (B, widths[i], ...) at strides 4, 8, 16 and 32."""

    def __init__(self, widths: tuple[int, ...], depths: tuple[int, ...]):
        super().__init__()
        half = widths[0] // 2
        stem = [*halve(3, half, channels_last=False)[1:], Permute(0, 3, 1, 2), nn.GELU()]
        self.patch_embed = nn.Sequential(*stem, *halve(half, widths[0], channels_last=False)[1:])
        following = (*widths[1:], None)
        self.layers = nn.ModuleList(Stage(*sizes) for sizes in zip(widths, depths, following, strict=True))
        for stage, width in enumerate(widths):
            setattr(self, f"outnorm{stage}", nn.LayerNorm(width))

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.patch_embed(x)
        features = []
        for stage, layer in enumerate(self.layers):
            x = layer.blocks(x)
            features.append(getattr(self, f"outnorm{stage}")(x).permute(0, 3, 1, 2))
            x = layer.downsample(x)
        return features
