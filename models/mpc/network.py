"""The MPC network: HRFormer encoder, fusion of its four scales, head (Lou et al., TIFS 2025, section III)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.mpc.backbone import HRFormer, resize
from models.mpc.head import Decoder


class MPC(nn.Module):
    """Forgery localizer with the tensor names and shapes of the authors' stage-2 checkpoints.

    backbone: "base" (theirs), "small" (ours) or "tiny" (for experiments on a CPU).
    head: "catnet" or "casia2".
    drop_path: stochastic depth of the last block in training. It is the only randomness inside, so what makes
        two passes over one image differ in contrastive training.

    Height and width of an input may be anything from 1 up; multiples of 32 need no resampling inside.
    """

    def __init__(self, backbone: str = "base", head: str = "catnet", drop_path: float = 0.2):
        super().__init__()
        self.encoder = HRFormer(backbone, drop_path)
        self.decoder = Decoder(head)

    def fuse(self, features: list[Tensor]) -> Tensor:
        """The encoder's four maps to one, (B, 1024, H/4, W/4): bilinear, corners aligned."""
        return torch.cat(_at_one_size(features), dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """x: RGB (B, 3, H, W) in 0..1, no mean or standard deviation removed.

        Returns logits (B, 1, H/4, W/4, rounded up), positive = forged.
        """
        features = self.encoder(x)
        if self.training or torch.is_grad_enabled():
            return self.decoder(self.fuse(features))
        return self.decoder.classify(_at_one_size(features))


def _at_one_size(features: list[Tensor]) -> list[Tensor]:
    return [resize(x, features[0].shape[2:]) for x in features]
