"""The three noise views of MMFusion (Triaridis and Mezaris, MMM 2024), which ForMa takes over, and their mixing."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from models.deep.parts import dncnn
from models.deep.parts.bayar import BayarConv2d
from models.deep.parts.srm import TruncatedSRM
from models.deep.parts.tiles import patchwise

PATCH_SIDE = 1024
REACH = 6  # pixels, of the six convolutions of a mixer


class ModalitiesExtractor(nn.Module):
    """RGB (B, 3, H, W) in 0..1 to three modalities, each (B, 3, H, W).

    Noiseprint++ (repeated to three channels), constrained convolution, and SRM residuals.

    width: of the network for Noiseprint++.
    """

    def __init__(self, width: int = dncnn.WIDTH):
        super().__init__()
        self.noiseprint = dncnn.noiseprint_plus(width)
        self.bayar = BayarConv2d(3, 3)
        self.srm = TruncatedSRM()

    def forward(self, rgb: Tensor) -> list[Tensor]:
        return [dncnn.in_patches(self.noiseprint, rgb).expand(-1, 3, -1, -1), self.bayar(rgb), self.srm(rgb)]


class EarlyConv(nn.Module):
    """Three convolutions of growing width, then back to three channels."""

    def __init__(self, channels: int = 3):
        super().__init__()
        widths = (channels, 24, 48, 96)
        self.convs = nn.Sequential(
            *(
                nn.Sequential(nn.Conv2d(narrow, wide, 3, padding=1), nn.BatchNorm2d(wide), nn.ReLU())
                for narrow, wide in pairwise(widths)
            )
        )
        self.final = nn.Conv2d(widths[-1], 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.final(self.convs(x))


class ModalMixer(nn.Module):
    """Three views (B, 3, H, W) to one of the same shape, computed in patches of 1024 pixels where they are larger."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(EarlyConv() for _ in range(3))
        self.mixer = EarlyConv(9)

    def forward(self, views: list[Tensor]) -> Tensor:
        return patchwise(self._mix, torch.cat(views, 1), PATCH_SIDE, REACH)

    def _mix(self, views: Tensor) -> Tensor:
        parts = zip(self.blocks, views.chunk(3, 1), strict=True)
        return self.mixer(torch.cat([block(x) for block, x in parts], 1))
