"""MPC's heads: 1 x 1 convolutions from the fused features to one logit a position (stage 2 of the recipe)."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

FUSED_CHANNELS = 1024
HEADS = {"catnet": (512, 256, 128), "casia2": (512, 256, 128, 64)}


class Decoder(nn.Module):
    """The classifier of the released checkpoints.

    head: "catnet" (the authors' MPC_CATNet weights) or "casia2" (MPC_CASIAv2, one layer more).
    """

    def __init__(self, head: str):
        super().__init__()
        if head not in HEADS:
            raise ValueError(f"unknown MPC head {head!r}; known: {', '.join(HEADS)}")
        widths = (FUSED_CHANNELS, *HEADS[head], 1)
        layers: list[nn.Module] = []
        for channels, out in pairwise(widths):
            layers += [nn.BatchNorm2d(channels), nn.ReLU(), nn.Conv2d(channels, out, 1)]
        self.classifier = nn.Sequential(*layers)

    def forward(self, fused: Tensor) -> Tensor:
        """fused: (B, 1024, h, w). Returns logits (B, 1, h, w), positive = forged."""
        return self.classifier(fused)
