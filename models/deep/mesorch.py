"""Mesorch: ConvNeXt on the photo and its high frequencies, SegFormer's encoder on it and its low ones.

Every map of both is brought to a quarter of the photo's size and says where it sees a forgery; a small network weighs
what they say at every position. Mesorch-P is its pruned form without that network and three of the maps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models import WeightFile, register
from models.deep.parts import convnext, mit
from models.deep.parts.convnext import ConvNeXt
from models.deep.parts.imagenet import normalized_square
from models.deep.parts.layer_norm import MapLayerNorm
from models.image import ForensicImage, ScoreMap
from models.network import NetworkLocalizer, to_array

INPUT_SIZE = 512
GATE_WIDTH = 192
FIRST = 0.05  # of the rows and columns of coefficients, those that are not "high"
LAST = 0.95  # of the rows and columns of coefficients, those that are not "low"
# Maps by encoder (convolutions, self-attention) and stage.
ALL_MAPS = tuple((encoder, stage) for encoder in "cs" for stage in range(4))
MAPS_AFTER_PRUNING = (("c", 0), ("c", 2), ("s", 1), ("s", 2), ("s", 3))
# Of the networks for tests.
TINY = {
    "widths": (4, 6, 8, 10),
    "depths": (1, 1, 1, 1),
    "classes": 3,
    "variant": mit.Variant(widths=(4, 8, 10, 12), depths=(1, 1, 2, 1), heads=(1, 2, 2, 2)),
    "input_size": 64,
}


class Mesorch(nn.Module):
    """Logits (B, 1, H / 4, W / 4), positive = forged, of (B, 3, H, W) without ImageNet's statistics.

    H and W are multiples of 32.

    maps: those that are used, by encoder and stage. gate_width: channels of the network that weighs them, 0 for none.
    widths, depths, classes: of ConvNeXt. variant: of SegFormer's encoder. input_size: of the squares that the localizer
    resizes photos to.
    """

    def __init__(
        self,
        maps: tuple[tuple[str, int], ...] = ALL_MAPS,
        gate_width: int = GATE_WIDTH,
        widths: Sequence[int] = convnext.WIDTHS,
        depths: Sequence[int] = convnext.DEPTHS,
        classes: int = convnext.CLASSES,
        variant: mit.Variant = mit.B3,
        input_size: int = INPUT_SIZE,
    ):
        super().__init__()
        self.maps = maps
        self.input_size = input_size
        by_encoder = {"c": tuple(widths), "s": variant.widths}
        stages = 1 + max(stage for encoder, stage in maps if encoder == "c")
        self.convnext = ConvNeXt(6, stages, widths, depths, classes)
        self.segformer = SegFormerEncoder(6, variant)
        self.upsample = Enlargement(maps, by_encoder)
        self.inverse = nn.ModuleList(nn.Conv2d(by_encoder[encoder][0], 1, 1) for encoder, _ in maps)
        if gate_width:
            self.gate = Gate(9, len(maps), gate_width)

    @classmethod
    def tiny(cls) -> Mesorch:
        return cls(gate_width=6, **TINY)

    def forward(self, x: Tensor) -> Tensor:
        high, low = high_frequencies(x), low_frequencies(x)
        found = {"c": self.convnext(torch.cat([x, high], 1)), "s": self.segformer(torch.cat([x, low], 1))}
        enlarged = self.upsample(found)
        opinions = torch.cat([conv(x) for conv, x in zip(self.inverse, enlarged, strict=True)], 1)
        if hasattr(self, "gate"):
            opinions = opinions * self.gate(torch.cat([x, high, low], 1))
        return opinions.sum(1, keepdim=True)


class MesorchP(Mesorch):
    """The pruned network. sizes: as of `Mesorch`."""

    def __init__(self, **sizes):
        super().__init__(MAPS_AFTER_PRUNING, gate_width=0, **sizes)

    @classmethod
    def tiny(cls) -> MesorchP:
        return cls(**TINY)


class SegFormerEncoder(nn.Module):
    """The maps of the four stages of the Mix Transformer. Its first convolution has no bias."""

    def __init__(self, channels: int, variant: mit.Variant):
        super().__init__()
        for stage in range(4):
            setattr(self, f"patch_embed{stage + 1}", variant.patch_embed(stage, channels))
        self.patch_embed1.proj = nn.Conv2d(channels, variant.widths[0], 7, 4, 3, bias=False)
        for stage in range(4):
            setattr(self, f"block{stage + 1}", variant.blocks(stage))
            setattr(self, f"norm{stage + 1}", variant.output_norm(stage))

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = []
        for stage in ("1", "2", "3", "4"):
            embed, layers, norm = (getattr(self, name + stage) for name in ("patch_embed", "block", "norm"))
            x = mit.transform(*embed(x), layers, norm)
            maps.append(x)
        return maps


class Enlargement(nn.Module):
    """Each map to the size, and number of channels, of its encoder's first: one transposed convolution per stage."""

    def __init__(self, maps: tuple[tuple[str, int], ...], widths: Mapping[str, tuple[int, ...]]):
        super().__init__()
        self.maps = maps
        for encoder, stage in sorted(maps, key=lambda of: (of[1], of[0])):
            if stage:
                setattr(self, f"upsample{encoder}{stage + 1}", _enlarging(widths[encoder][: stage + 1]))

    def forward(self, found: dict[str, list[Tensor]]) -> list[Tensor]:
        enlarged = []
        for encoder, stage in self.maps:
            x = found[encoder][stage]
            enlarged.append(getattr(self, f"upsample{encoder}{stage + 1}")(x) if stage else x)
        return enlarged


def _enlarging(widths: tuple[int, ...]) -> nn.Module:
    """From the last of the widths to the first."""
    steps = [nn.ConvTranspose2d(widths[i], widths[i - 1], 4, 2, 1) for i in range(len(widths) - 1, 0, -1)]
    return steps[0] if len(steps) == 1 else nn.Sequential(*steps)


class Gate(nn.Module):
    """The weight of each map at every position, (B, maps, H / 4, W / 4), adding up to 1."""

    def __init__(self, channels: int, maps: int, width: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 7, 2, 3)
        self.invert = nn.Sequential(
            MapLayerNorm(width),
            nn.Conv2d(width, width, 3, padding=1),
            nn.Conv2d(width, 4 * width, 1),
            nn.Conv2d(4 * width, width, 1),
            nn.GELU(),
        )
        self.conv2 = nn.Conv2d(width, maps, 7, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        return self.conv2(x + self.invert(x)).softmax(1)


def high_frequencies(x: Tensor) -> Tensor:
    """(B, C, H, W) without its lowest DCT coefficients, each image scaled to 0..1."""
    return _filtered(x, lambda keep, rows, columns: keep[: int(FIRST * rows), : int(FIRST * columns)].zero_())


def low_frequencies(x: Tensor) -> Tensor:
    """(B, C, H, W) without the DCT coefficients that are high along both axes, each image scaled to 0..1."""
    return _filtered(x, lambda keep, rows, columns: keep[-int(LAST * rows) :, -int(LAST * columns) :].zero_())


def _filtered(x: Tensor, drop) -> Tensor:
    rows, columns = x.shape[2:]
    down, across = dct_matrix(rows).to(x.device), dct_matrix(columns).to(x.device)
    keep = torch.ones(rows, columns, device=x.device)
    drop(keep, rows, columns)
    with torch.autocast(x.device.type, enabled=False):  # products of 512 factors, on whose differences all depends
        x = down.T @ (keep * (down @ x @ across.T)) @ across
    least, most = x.amin((1, 2, 3), keepdim=True), x.amax((1, 2, 3), keepdim=True)
    # What is left of a flat image can be exactly flat, which the authors' code answers with NaN.
    return (x - least) / (most - least).clamp(min=torch.finfo(x.dtype).tiny)


def dct_matrix(size: int) -> Tensor:
    """Float32 (size, size): the orthonormal DCT-II, one frequency per row.

    In single precision throughout, like the authors' code: the angles' rounding errors are part of what was trained.
    """
    index = torch.arange(size, dtype=torch.float32)
    matrix = math.sqrt(2 / size) * torch.cos(math.pi * index[:, None] * (2 * index + 1) / (2 * size))
    matrix[0] = 1 / math.sqrt(size)
    return matrix


class MesorchLocalizer(NetworkLocalizer):
    """Probability of forgery of the photo resized to 512 x 512, enlarged from a quarter with corners aligned."""

    def preprocess(self, image: ForensicImage) -> Tensor:
        return normalized_square(image.rgb, self.network.input_size)

    def postprocess(self, output: Tensor, image: ForensicImage) -> ScoreMap:
        size = (self.network.input_size,) * 2
        whole = F.interpolate(output, size, mode="bilinear", align_corners=True)
        return ScoreMap(to_array(whole.sigmoid()[0, 0]), "probability")


_CARD = {
    "paper": "Zhu et al., Mesoscopic Insights: Orchestrating Multi-scale & Hybrid Architecture for Image Manipulation "
    "Localization, AAAI 2025",
    "year": 2025,
    "licence": "MIT (code), none stated for the weights",
    "groups": ("deep",),
    "trained_on": ("casia2", "imd2020", "fantasticreality", "tampcoco"),
}
_PAGE = "https://drive.google.com/drive/folders/1jwYv-S3HAZqzz0YxM9bJynBiPv-O9-6x"


@register(
    "mesorch",
    title="Mesorch, the authors' full model",
    summary="ConvNeXt with high and SegFormer with low frequencies; all their scales weighed at every position",
    weights=(WeightFile("mesorch-98.pth", _PAGE, "none stated by the authors"),),
    **_CARD,
)
class MesorchFull(MesorchLocalizer):
    """The full network."""

    make_network = Mesorch


@register(
    "mesorch-p",
    title="Mesorch-P, the authors' pruned model",
    summary="Mesorch with five of its eight maps, which are added up with equal weight",
    weights=(WeightFile("mesorch_p-118.pth", _PAGE, "none stated by the authors"),),
    **_CARD,
)
class MesorchPruned(MesorchLocalizer):
    """The pruned network."""

    make_network = MesorchP
