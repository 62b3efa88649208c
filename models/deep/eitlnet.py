"""EITLNet: pixels and SRM residuals through two transformers with attention to channels and coordinates."""

from __future__ import annotations

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from models import WeightFile, register
from models.deep.parts.mit import B2, ConvNorm, SegFormerHead, Variant, reorder, transform
from models.deep.parts.srm import over_channels
from models.deep.parts.tiles import distinct_tiles, merge_distinct
from models.image import ForensicImage, ScoreMap
from models.network import NetworkLocalizer, to_array

EMBEDDING = 768
TILE = 512
GREY = 128  # around a tile that is not square
MEAN = [[[123.675]], [[116.28]], [[103.53]]]
STD = [[[58.395]], [[57.12]], [[57.375]]]
LICENCE = "MIT (code), NVIDIA Source Code License, non-commercial (its SegFormer part), not stated (weights)"


class ChannelGate(nn.Module):
    """One logit for each channel, (B, C, 1, 1)."""

    def __init__(self, channels: int):
        super().__init__()
        inner = channels // 16
        self.gate_c = nn.Sequential()
        self.gate_c.add_module("gate_c_fc_0", nn.Linear(channels, inner))
        self.gate_c.add_module("gate_c_bn_1", nn.BatchNorm1d(inner))
        self.gate_c.add_module("gate_c_relu_1", nn.ReLU())
        self.gate_c.add_module("gate_c_fc_final", nn.Linear(inner, channels))

    def forward(self, x: Tensor) -> Tensor:
        # The released code averages over a square of the map's height; the authors feed nothing but squares.
        square = x[..., : x.shape[2]]
        return self.gate_c(square.mean((2, 3)))[..., None, None]


class SpatialGate(nn.Module):
    """One logit for each position, (B, 1, H, W)."""

    def __init__(self, channels: int):
        super().__init__()
        inner = channels // 16
        self.gate_s = nn.Sequential()
        layers = {
            "reduce0": nn.Conv2d(channels, inner, 1),
            "di_0": nn.Conv2d(inner, inner, 3, padding=4, dilation=4),
            "di_1": nn.Conv2d(inner, inner, 3, padding=4, dilation=4),
        }
        for name, convolution in layers.items():
            self.gate_s.add_module(f"gate_s_conv_{name}", convolution)
            self.gate_s.add_module(f"gate_s_bn_{name}", nn.BatchNorm2d(inner))
            self.gate_s.add_module(f"gate_s_relu_{name}", nn.ReLU())
        self.gate_s.add_module("gate_s_conv_final", nn.Conv2d(inner, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.gate_s(x)


class BAM(nn.Module):
    """Bottleneck attention (Park et al., BMVC 2018). The width of a map must be its height up to twice that."""

    def __init__(self, channels: int):
        super().__init__()
        self.channel_att = ChannelGate(channels)
        self.spatial_att = SpatialGate(channels)

    def forward(self, x: Tensor) -> Tensor:
        return (1 + torch.sigmoid(self.channel_att(x) * self.spatial_att(x))) * x


class CoordAtt(nn.Module):
    """Coordinate attention (Hou et al., CVPR 2021): weights by row and by column."""

    def __init__(self, channels: int):
        super().__init__()
        inner = max(8, channels // 32)
        self.conv1 = nn.Conv2d(2 * channels, inner, 1)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv_h = nn.Conv2d(inner, 2 * channels, 1)
        self.conv_w = nn.Conv2d(inner, 2 * channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = x.mean(3, keepdim=True), x.mean(2, keepdim=True).transpose(2, 3)
        both = F.hardswish(self.bn1(self.conv1(torch.cat([rows, columns], 2))))
        rows, columns = both.split(x.shape[2:], 2)
        return x * self.conv_w(columns.transpose(2, 3)).sigmoid() * self.conv_h(rows).sigmoid()


class Branch(nn.Module):
    """Mix Transformer B2 with bottleneck attention after its third stage, to which the fourth one listens too."""

    def __init__(self, channels: int, variant: Variant):
        super().__init__()
        for stage in range(4):
            setattr(self, f"patch_embed{stage + 1}", variant.patch_embed(stage, channels))
            layers = variant.blocks(stage, gelu="tanh")
            for layer in layers:
                reorder(layer.attn, ("kv", "proj"))
            setattr(self, f"block{stage + 1}", layers)
            setattr(self, f"norm{stage + 1}", variant.output_norm(stage))
        self.bam3 = BAM(variant.widths[2])

    def forward(self, x: Tensor) -> list[Tensor]:
        """Maps at strides 4, 8, 16 and 32."""
        features = []
        for stage in (1, 2, 3, 4):
            tokens, height, width = getattr(self, f"patch_embed{stage}")(x)
            x = transform(tokens, height, width, getattr(self, f"block{stage}"), getattr(self, f"norm{stage}"))
            if stage == 3:
                x = self.bam3(x)
            features.append(x)
        return features


class Residuals(nn.Module):
    """Nine noise residuals of an RGB image, three times each of the SRM filters."""

    def __init__(self):
        super().__init__()
        self.depthwise = nn.Conv2d(3, 9, 5, padding=2, bias=False)
        self.depthwise.weight = nn.Parameter(over_channels().repeat_interleave(3, 0), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.depthwise(x)


class EITLNet(nn.Module):
    """Width of an input from its height up to twice that, both from 32 on.

    tile: side of the squares in which the localizer shows it a photo.
    """

    def __init__(self, variant: Variant = B2, embedding: int = EMBEDDING, tile: int = TILE):
        super().__init__()
        self.tile = tile
        self.backbone = Branch(3, variant)
        self.backbone_3 = Branch(9, variant)
        self.hpf_conv = Residuals()
        for stage in (4, 3, 2, 1):
            setattr(self, f"caf{stage}", CoordAtt(variant.widths[stage - 1]))
        fuse = ConvNorm(4 * embedding, embedding, eps=1e-3)
        self.decode_head = SegFormerHead(tuple(2 * width for width in variant.widths), embedding, 2, fuse)

    @classmethod
    def tiny(cls) -> EITLNet:
        return cls(Variant(widths=(4, 8, 20, 16), depths=(1, 1, 1, 1), heads=(1, 2, 5, 8)), embedding=8, tile=64)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, 2, H, W) of authentic and forged. x: (B, 3, H, W), see `network_input`."""
        pairs = zip(self.backbone(x), self.backbone_3(self.hpf_conv(x)), strict=True)
        features = [getattr(self, f"caf{i}")(torch.cat(pair, 1)) for i, pair in enumerate(pairs, 1)]
        return F.interpolate(self.decode_head(features), x.shape[2:], mode="bilinear", align_corners=True)


def network_input(rgb: Tensor) -> Tensor:
    """Float32 of uint8 (B, 3, H, W), ImageNet's mean and standard deviation taken out."""
    return (rgb.float() - rgb.new_tensor(MEAN, dtype=torch.float32)) / rgb.new_tensor(STD, dtype=torch.float32)


def letterbox_area(height: int, width: int, side: int) -> tuple[slice, slice]:
    """Rows and columns that an image takes in the middle of a square into which it just fits."""
    scale = min(side / width, side / height)
    inner_width, inner_height = int(width * scale), int(height * scale)
    top, left = (side - inner_height) // 2, (side - inner_width) // 2
    return slice(top, top + inner_height), slice(left, left + inner_width)


def letterboxed(rgb: np.ndarray, side: int) -> np.ndarray:
    """uint8 (side, side, 3): the image resized (bicubic) to its `letterbox_area`, in the middle of grey."""
    square = np.full((side, side, 3), GREY, np.uint8)
    inside = square[letterbox_area(*rgb.shape[:2], side)]
    inside[:] = Image.fromarray(rgb).resize(inside.shape[1::-1], Image.Resampling.BICUBIC)
    return square


@register(
    "eitlnet",
    title="EITLNet, the authors' network",
    paper="Guo et al., Effective Image Tampering Localization via Enhanced Transformer and Co-attention Fusion, "
    "ICASSP 2024",
    year=2024,
    summary="SegFormer-B2 on the pixels and on their SRM residuals, joined by coordinate attention; the sources of the "
    "authors' training set are not named beside it",
    licence=LICENCE,
    groups=("deep",),
    weights=(
        WeightFile(
            "weights_EITL_new.pth", "https://drive.google.com/file/d/1fr0PLfTs0l4aPERFUizAdXKPW1cOg05H", "not stated"
        ),
    ),
)
class EITLNetLocalizer(NetworkLocalizer):
    """Probability of forgery from tiles of 512 x 512 that overlap by half; `tiles` in the extras is their number.

    An image with a side below 512 pixels has smaller tiles, which are enlarged to that and framed with grey. The
    authors truncate each tile and the merged map to 8 bits; here they keep their precision.
    """

    make_network = EITLNet

    def preprocess(self, image: ForensicImage) -> Tensor:
        side = self.network.tile
        squares = [letterboxed(image.rgb[tile], side) for tile in distinct_tiles(*image.shape, side)]
        return torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2)

    def forward(self, squares: Tensor, tiling: None = None) -> list[Tensor]:
        return [self.network(network_input(square.contiguous())) for square in squares.split(1)]

    def postprocess(self, output: list[Tensor], image: ForensicImage) -> ScoreMap:
        side, predicted = self.network.tile, []
        for logits, tile in zip(output, distinct_tiles(*image.shape, side), strict=True):
            height, width = image.rgb[tile].shape[:2]
            forged = to_array(logits.softmax(1)[0, 1])[letterbox_area(height, width, side)]
            predicted.append(cv2.resize(forged, (width, height), interpolation=cv2.INTER_LINEAR))
        values = merge_distinct(predicted, *image.shape, side)
        return ScoreMap(values, "probability", extras={"tiles": len(predicted)})
