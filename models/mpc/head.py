"""MPC's heads: 1 x 1 convolutions from the fused features to one logit per position (stage 2 of the recipe)."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from models.convolution import affine_of, linear

FUSED_CHANNELS = 1024
POSITIONS_AT_ONCE = 1024
HEADS = {"catnet": (512, 256, 128), "casia2": (512, 256, 128, 64)}


class Decoder(nn.Module):
    """The classifier of the released checkpoints.

    head: "catnet" (the authors' MPC_CATNet weights) or "casia2" (MPC_CASIAv2, one layer more).
    fused: channels of the features.
    """

    def __init__(self, head: str, fused: int = FUSED_CHANNELS):
        super().__init__()
        if head not in HEADS:
            raise ValueError(f"unknown MPC head {head!r}; known: {', '.join(HEADS)}")
        widths = (fused, *HEADS[head], 1)
        layers: list[nn.Module] = []
        for channels, out in pairwise(widths):
            layers += [nn.BatchNorm2d(channels), nn.ReLU(), nn.Conv2d(channels, out, 1)]
        self.classifier = nn.Sequential(*layers)

    def forward(self, fused: Tensor) -> Tensor:
        """fused: (B, 1024, h, w). Returns logits (B, 1, h, w), positive = forged."""
        if self.training or torch.is_grad_enabled():
            return self.classifier(fused)
        return self.classify([fused])

    def classify(self, scales: list[Tensor]) -> Tensor:
        """Inference from maps (B, ., h, w) of together 1024 channels that were not concatenated yet.

        Every layer works on single positions, so that all of them, and the concatenation, are applied to one
        slice of positions while it is in the processor's cache. Normalizations merge into convolutions.
        """
        norms, convs = self.classifier[0::3], self.classifier[2::3]
        scale, shift = affine_of(norms[0])
        products = []
        for conv, norm in zip(convs, [*norms[1:], None], strict=True):
            weight, offset = conv.weight[:, :, 0, 0], conv.bias
            if norm is not None:
                gain, lift = affine_of(norm)
                weight, offset = weight * gain[:, None], offset * gain + lift
            products.append((weight, offset))
        batch, _, height, width = scales[0].shape
        positions = [x.permute(0, 2, 3, 1).flatten(0, 2).split(POSITIONS_AT_ONCE) for x in scales]
        logits = []
        for parts in zip(*positions, strict=True):
            x = torch.addcmul(shift, torch.cat(parts, dim=1), scale)
            for weight, offset in products:
                x = linear(x.relu_(), weight, offset)
            logits.append(x)
        return torch.cat(logits).view(batch, 1, height, width)
