"""The MPC network: HRFormer encoder, fusion of its four scales, head (Lou et al., TIFS 2025, section III)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.mpc.backbone import PROJECTED_CHANNELS, HRFormer, Variant, resize
from models.mpc.head import Decoder

INPUT_SIZE = 512


class MPC(nn.Module):
    """Forgery localizer with the tensor names and shapes of the authors' stage-2 checkpoints.

    backbone: "base" (theirs), "small" (ours) or "tiny" (for experiments on a CPU).
    head: "catnet" or "casia2".
    drop_path: stochastic depth of the last block in training. It is the only randomness inside, so what makes
        two passes over one image differ in contrastive training.
    input_size: of the squares that the localizer resizes photos to.
    projected: channels of each of the four scales when they are fused.

    Height and width of an input may be anything from 1 up; multiples of 32 need no resampling inside.
    """

    def __init__(
        self,
        backbone: str | Variant = "base",
        head: str = "catnet",
        drop_path: float = 0.2,
        input_size: int = INPUT_SIZE,
        projected: int = PROJECTED_CHANNELS,
    ):
        super().__init__()
        self.input_size = input_size
        self.encoder = HRFormer(backbone, drop_path, projected)
        self.decoder = Decoder(head, 4 * projected)

    @classmethod
    def tiny(cls, head: str = "catnet") -> MPC:
        """One that tests can run: few channels and modules, small squares."""
        variant = Variant(channels=(4, 8, 12, 16), heads=(1, 2, 2, 2), modules=(1, 1, 1))
        return cls(variant, head, input_size=64, projected=8)

    def fuse(self, features: list[Tensor]) -> Tensor:
        """The encoder's four maps to one, (B, 4 * projected, H/4, W/4): bilinear, corners aligned."""
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
