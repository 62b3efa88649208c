"""RRU-Net: a U-Net whose blocks see their input twice, the second time weighted by what they made of it."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models import WeightFile, register
from models.deep.parts.padding import at_least
from models.image import ForensicImage, ScoreMap
from models.memory import GB, Cost, MemoryPolicy
from models.network import NetworkLocalizer, to_array, to_tensor

WIDTHS = (32, 64, 128, 256, 256)
UP_WIDTHS = (128, 64, 32, 32)
GROUPS = 32
STRIDE = 16


class RRUNet(nn.Module):
    """Logits (B, 1, H, W) for (B, 3, H, W) in 0..1, one of H and W at least 3."""

    def __init__(self):
        super().__init__()
        self.down = RingedBlock(3, WIDTHS[0])
        for i, (channels, out) in enumerate(pairwise(WIDTHS), 1):
            setattr(self, f"down{i}", Down(channels, out))
        for i, (channels, out) in enumerate(zip(WIDTHS[-2::-1], UP_WIDTHS, strict=True), 1):
            setattr(self, f"up{i}", Up(channels, out))
        self.out = nn.ModuleDict({"conv": nn.Conv2d(UP_WIDTHS[-1], 1, 1)})

    @classmethod
    def tiny(cls) -> RRUNet:
        """Group normalization in 32 groups forbids fewer channels."""
        return cls()

    def forward(self, x: Tensor) -> Tensor:
        features = [self.down(x)]
        for i in range(1, len(WIDTHS)):
            features.append(getattr(self, f"down{i}")(features[-1]))
        x = features.pop()
        for i in range(1, len(WIDTHS)):
            x = getattr(self, f"up{i}")(x, features.pop())
        return self.out["conv"](x)


class RingedBlock(nn.Module):
    """Two dilated convolutions around a shortcut, passed twice.

    The sigmoid of a 1 x 1 convolution of the first pass' result strengthens the input of the second.

    first: layers that a subclass has before them, by name.
    """

    def __init__(self, channels: int, out: int, **first: nn.Module):
        super().__init__()
        for name, layer in first.items():
            self.add_module(name, layer)
        self.conv = nn.ModuleDict({"conv": _double_convolution(channels, out)})
        self.res_conv = nn.Sequential(nn.Conv2d(channels, out, 1, bias=False), nn.GroupNorm(GROUPS, out))
        self.res_conv_back = nn.Sequential(nn.Conv2d(out, channels, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        feedback = self.res_conv_back(self._residual(x))
        return self._residual((1 + feedback.sigmoid()) * x)

    def _residual(self, x: Tensor) -> Tensor:
        return F.relu(self.conv["conv"](x) + self.res_conv(x))


class Down(RingedBlock):
    """Half the size, rounded up."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.max_pool2d(x, 3, 2, 1))


class Up(RingedBlock):
    """Twice the size, then together with the features of that size from the way down."""

    def __init__(self, channels: int, out: int):
        enlarge = nn.Sequential(nn.ConvTranspose2d(channels, channels, 2, 2), nn.GroupNorm(GROUPS, channels))
        super().__init__(2 * channels, out, up=enlarge)

    def forward(self, x: Tensor, skipped: Tensor) -> Tensor:
        x = self.up(x)
        missing = [wanted - found for wanted, found in zip(skipped.shape[2:], x.shape[2:], strict=True)]
        x = F.pad(x, (missing[1], 0, missing[0], 0))  # less than 0: the first row or column is dropped
        return super().forward(F.relu(torch.cat([skipped, x], 1)))


def _double_convolution(channels: int, out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, out, 3, padding=2, dilation=2),
        nn.GroupNorm(GROUPS, out),
        nn.ReLU(),
        nn.Conv2d(out, out, 3, padding=2, dilation=2),
        nn.GroupNorm(GROUPS, out),
    )


@register(
    "rru-net",
    title="RRU-Net: ringed residual U-Net",
    paper="Bi et al., RRU-Net: The Ringed Residual U-Net for Image Splicing Forgery Detection, CVPR Workshops 2019",
    year=2019,
    summary="Small U-Net with feedback in each block; the released weights are of 2020, trained on the authors' later "
    "synthetic splicings, not those of the paper",
    licence="none stated by the authors (code and weights)",
    groups=("deep",),
    weights=(
        WeightFile(
            "rru_net/best_model.pth",
            "https://github.com/yelusaleng/RRU-Net",
            "none stated by the authors",
            git_sha1="320389765d8709019ba38d1ca50ee4fd4dfd76bd",
        ),
    ),
)
class RRUNetLocalizer(NetworkLocalizer):
    """Probability of splicing at the image's own size. extras: those of `Decision`.

    Group normalization makes every pixel depend on the whole image: there are no tiles that would give the same, or
    nearly (on a photo of 1408 x 1600 pixels, with random weights, maps from tiles of 1280 had a correlation of .59 with
    that of the whole). An image that does not fit into memory is an error. One of less than 16 pixels a side is filled
    up by repeating its last row and column; "padded" then says so.
    """

    make_network = RRUNet
    memory = MemoryPolicy(Cost(per_pixel=1600, fixed=0.1 * GB))

    def preprocess(self, image: ForensicImage) -> Tensor:
        return to_tensor(at_least(image.rgb, STRIDE)).contiguous()

    def postprocess(self, output: Tensor, image: ForensicImage) -> ScoreMap:
        height, width = image.shape
        probability = to_array(output.sigmoid()[0, 0, :height, :width])
        return ScoreMap(probability, "probability", extras={"padded": min(image.shape) < STRIDE})
