"""PSCC-Net: HRNet features, masks from coarse to fine each guided by the coarser one, and a detection head."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models import WeightFile, register
from models.convolution import ConvNorm, at_least_float32
from models.deep.composite import CompositeLocalizer
from models.deep.parts.hrnet import ENLARGE, HRNet, head_features, in_strips
from models.deep.parts.nonlocal_attention import NonLocal
from models.deep.parts.resnet import Bottleneck
from models.deep.parts.tiles import Place, Tiling
from models.image import ForensicImage, ScoreMap
from models.memory import GB, Cost, MemoryPolicy
from models.network import to_array, to_tensor

WIDTHS = (18, 36, 72, 144)
FOLDS = (4, 2, 2, 1)
HEAD_SIZE = 256  # the heads' finest feature map, whatever the size of the image
resize = ENLARGE["corners"]


class FullSizeHRNet(HRNet):
    """HRNet-W18 small at full resolution; its first stage sees a large image strip by strip."""

    def __init__(self, widths: Sequence[int]):
        super().__init__(widths, modules=(1, 1, 1), blocks=2, stem_stride=1, enlarge="corners")

    def first_stage(self, x: Tensor, place: Place | None = None) -> list[Tensor]:
        return in_strips(super().first_stage, x)


class PSCCNet(nn.Module):
    """The three published networks as one. Children in the order of the authors' files.

    head_size: side of the finest of the features that the heads see.
    """

    def __init__(self, widths: Sequence[int] = WIDTHS, head_size: int = HEAD_SIZE):
        super().__init__()
        self.head_size = head_size
        self.features = FullSizeHRNet(widths)
        self.localization = LocalizationHead(widths)
        self.detection = DetectionHead(widths)

    @classmethod
    def tiny(cls) -> PSCCNet:
        return cls((3, 4, 5, 6), head_size=64)

    def forward(self, x: Tensor, tiling: Tiling | None = None) -> tuple[list[Tensor], Tensor]:
        """x: (B, 3, H, W) in 0..1. Probabilities (B, 1, s, s), s = 256, 128, 64, 32, and logits (B, 2).

        The logits are of authentic and forged. tiling: how the features of a large image are computed, None for as a
        whole; it changes nothing but roundings.
        """
        pyramid = head_features(self.features, x, self.head_size, tiling)
        return self.localization(pyramid), self.detection(pyramid)


class LocalizationHead(nn.Module):
    """A mask at each scale; the features of the next finer one are multiplied with it."""

    def __init__(self, widths: Sequence[int]):
        super().__init__()
        for level in (4, 3, 2, 1):
            setattr(self, f"getmask{level}", MaskAttention(widths[level - 1], FOLDS[level - 1]))

    def forward(self, pyramid: list[Tensor]) -> list[Tensor]:
        """Probabilities (B, 1, s, s), finest first."""
        coarsest = pyramid[-1]
        mask = self.getmask4(coarsest)
        masks = [mask]
        for x, attention in zip(pyramid[2::-1], (self.getmask3, self.getmask2, self.getmask1), strict=True):
            mask = attention(x * resize(mask, x.shape[2:]))
            masks.insert(0, mask)
        return masks


class MaskAttention(NonLocal):
    """Attention between positions and between channels, and a mask from both (B, 1, H, W), 0..1."""

    def __init__(self, channels: int, fold: int):
        super().__init__(channels, fold)
        self.W_c = nn.Conv2d(channels, channels, 1)
        self.gamma_c = nn.Parameter(torch.ones(1))
        self.getmask = nn.Sequential(nn.Conv2d(channels, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 1, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        g, theta, phi = self.projections(x)
        by_position = self.between_positions(x, g, theta, phi)
        # The released code reads this (positions, channels) product as (channels, positions), unlike the other one.
        by_channel = (g @ (theta.mT @ phi).softmax(-1)).reshape(x.shape)
        x = x + self.gamma_s * self.W_s(by_position) + self.gamma_c * self.W_c(by_channel)
        return at_least_float32(self.getmask(x)).sigmoid()


class DetectionHead(nn.Module):
    """The scales are widened and added up from fine to coarse, then averaged over all positions: logits (B, 2)."""

    def __init__(self, widths: Sequence[int]):
        super().__init__()
        self.incre_modules = nn.ModuleList(nn.Sequential(Bottleneck(w, (w, w, 2 * w))) for w in widths)
        self.downsamp_modules = nn.ModuleList(
            ConvNorm(2 * fine, 2 * coarse, 3, 2, bias=True) for fine, coarse in itertools.pairwise(widths)
        )
        self.final_layer = ConvNorm(2 * widths[-1], 128, 1, bias=True)
        self.classifier = nn.Sequential(nn.Linear(128, 16), nn.ReLU(), nn.Linear(16, 2))

    def forward(self, pyramid: list[Tensor]) -> Tensor:
        first, *others = (widen(x) for widen, x in zip(self.incre_modules, pyramid, strict=True))
        total = first
        for down, x in zip(self.downsamp_modules, others, strict=True):
            total = x + down(total)
        return self.classifier(self.final_layer(total).mean((2, 3)))


_PAGE = "https://github.com/proteus1991/PSCC-Net/tree/main/checkpoint"


@register(
    "pscc-net",
    title="PSCC-Net, the authors' pre-trained model",
    paper="Liu et al., PSCC-Net: Progressive Spatio-Channel Correlation Network for Image Manipulation Detection and "
    "Localization, TCSVT 2022",
    year=2022,
    summary="HRNet features at full resolution; masks from coarse to fine by attention over positions and channels",
    licence="MIT (code and weights)",
    groups=("deep",),
    trained_on=("pscc",),
    weights=(
        WeightFile(
            "pscc_net/HRNet.pth",
            f"{_PAGE}/HRNet_checkpoint",
            "MIT",
            git_sha1="84c29f7bb2bc511c2783c18d6da66adb8df8f217",
        ),
        WeightFile(
            "pscc_net/NLCDetection.pth",
            f"{_PAGE}/NLCDetection_checkpoint",
            "MIT",
            size=2_900_709,
            sha256="11ea3461253cf059b299ad4b6b89008485f94a2d2b2da83ec28c2282a095b00b",
        ),
        WeightFile(
            "pscc_net/DetectionHead.pth",
            f"{_PAGE}/DetectionHead_checkpoint",
            "MIT",
            size=3_739_969,
            sha256="a17581e8a3489a360257a266ca9b2db1b7c9b43337fbcc4aeb8d751f593f66f5",
        ),
    ),
)
class PSCCNetLocalizer(CompositeLocalizer):
    """Probability of forgery at the image's own size; the image score is the detection head's probability.

    The heads see the whole image at 256 x 256; the features before them can be computed in tiles, which give the same
    up to rounding. extras: those of `Decision`.
    """

    make_network = PSCCNet
    memory = MemoryPolicy(Cost(per_pixel=510, fixed=1.0 * GB), Tiling(1280, 96))

    def preprocess(self, image: ForensicImage) -> Tensor:
        return to_tensor(image.rgb)

    def postprocess(self, output: tuple[list[Tensor], Tensor], image: ForensicImage) -> ScoreMap:
        masks, logits = output
        forged = to_array(resize(masks[0], image.shape)[0, 0])
        return ScoreMap(forged, "probability", float(F.softmax(logits, 1)[0, 1]))
