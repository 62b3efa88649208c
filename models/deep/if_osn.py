"""IF-OSN: a U-Net on SENet-154, trained against the noise that online social networks add to photos."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models import WeightFile, register
from models.convolution import at_least_float32, convolve
from models.deep.parts.padding import at_least
from models.deep.parts.resnet import Bottleneck
from models.deep.parts.tiles import distinct_tiles, merge_distinct
from models.image import ForensicImage, ScoreMap
from models.network import NetworkLocalizer, to_array, to_tensor

TILE = 896
STRIDE = 32
BLOCKS = (3, 8, 36, 3)
DECODER_WIDTHS = (64, 128, 256, 384)
CARDINALITY = 64  # groups of the encoder's 3 x 3 convolutions
SE_REDUCTION = 16


class Detector(nn.Module):
    """Probability (B, 1, H, W) of forgery for (B, 3, H, W) in -1..1, H and W at least 3. Wraps `det_net` as stored.

    width: channels of SENet-154's first convolutions. blocks: bottlenecks of its four layers. tile: side of the tiles
    in which the localizer shows it a photo.
    """

    def __init__(self, width: int = 64, blocks: Sequence[int] = BLOCKS, tile: int = TILE):
        super().__init__()
        self.tile = tile
        self.det_net = SENetUNet(width, blocks)

    @classmethod
    def tiny(cls) -> Detector:
        return cls(8, (1, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.det_net(x)


class SENetUNet(nn.Module):
    """A U-Net of squeeze-and-excitation blocks: RGB (B, 3, H, W) to one logit a pixel."""

    def __init__(self, width: int, blocks: Sequence[int]):
        super().__init__()
        encoder = [2 * width, *(4 * width * 2**layer for layer in range(4))]
        decoder = [width * wide // 64 for wide in DECODER_WIDTHS]
        self.bottlenecks = nn.ModuleList(
            Fusion(skipped + out, out) for skipped, out in zip(encoder[-2::-1], decoder[::-1], strict=True)
        )
        self.decoder_stages = nn.ModuleList(
            UpConvolution(channels, out) for channels, out in zip((*decoder[1:], encoder[-1]), decoder, strict=True)
        )
        self.last_upsample = UpConvolution(decoder[0], decoder[0] // 2)
        self.final = nn.Sequential(nn.Conv2d(decoder[0] // 2, 1, 1), nn.Sigmoid())
        layers = [_layer(encoder[i], width * 2**i, count, 1 if i == 0 else 2) for i, count in enumerate(blocks)]
        pool = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.encoder_stages = nn.ModuleList([Stem(width), nn.Sequential(pool, layers[0]), *layers[1:]])

    def forward(self, x: Tensor) -> Tensor:
        convolution, sigmoid = self.final
        return _to_size(sigmoid(at_least_float32(convolution(self.decode(x)))), x.shape[2:])

    def decode(self, x: Tensor) -> Tensor:
        """The last features (B, 32, about H, about W): the size is a multiple of 2 that may exceed the image's."""
        skipped = []
        for stage in self.encoder_stages:
            x = stage(x)
            skipped.append(x)
        stages = reversed(self.decoder_stages)
        for enlarge, fuse, finer in zip(stages, self.bottlenecks, skipped[-2::-1], strict=True):
            x = fuse(enlarge(x), finer)
        return self.last_upsample(x)


class Stem(nn.Module):
    """Three 3 x 3 convolutions, the first with stride 2."""

    def __init__(self, width: int):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 2 * width, 3, 1, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(2 * width)

    def forward(self, x: Tensor) -> Tensor:
        x = convolve(x, self.conv1, self.bn1, "relu")
        x = convolve(x, self.conv2, self.bn2, "relu")
        return convolve(x, self.conv3, self.bn3, "relu")


class UpConvolution(nn.Module):
    """Twice the size (nearest), then a 3 x 3 convolution."""

    def __init__(self, channels: int, out: int):
        super().__init__()
        self.layer = nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(channels, out, 3, padding=1), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


class Fusion(nn.Module):
    """Decoded and skipped features to one map, with attention to channels and positions."""

    def __init__(self, channels: int, out: int):
        super().__init__()
        self.seq = nn.Sequential(nn.Conv2d(channels, out, 3, padding=1), nn.ReLU(), SpatialChannelExcitation(out))

    def forward(self, decoded: Tensor, skipped: Tensor) -> Tensor:
        return self.seq(torch.cat([_to_size(decoded, skipped.shape[2:]), skipped], 1))


class SpatialChannelExcitation(nn.Module):
    """The larger of the features weighted by channel and by position (Roy et al., MICCAI 2018, with maximum)."""

    def __init__(self, channels: int):
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // 2, 1)
        self.fc2 = nn.Conv2d(channels // 2, channels, 1)
        self.spatial_se = nn.Sequential(nn.Conv2d(channels, 1, 1, bias=False), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        of_channels = self.fc2(F.relu(self.fc1(x.mean((2, 3), keepdim=True)))).sigmoid()
        return torch.maximum(of_channels * x, self.spatial_se(x) * x)


def _layer(channels: int, inner: int, count: int, stride: int) -> nn.Sequential:
    """One layer of SENet-154. The shortcut of a layer with a stride is a 3 x 3 convolution."""
    widths = (2 * inner, 4 * inner, 4 * inner)
    groups = min(CARDINALITY, 2 * inner)
    blocks = []
    for _ in range(count):
        blocks.append(
            Bottleneck(
                channels, widths, stride=stride, groups=groups, shortcut_kernel=2 * stride - 1, reduction=SE_REDUCTION
            )
        )
        channels, stride = 4 * inner, 1
    return nn.Sequential(*blocks)


def _to_size(x: Tensor, size: Sequence[int]) -> Tensor:
    return x if x.shape[2:] == size else F.interpolate(x, size)  # nearest


@register(
    "if-osn",
    title="IF-OSN: robust forgery detection over online social networks",
    paper="Wu et al., Robust Image Forgery Detection over Online Social Network Shared Images, CVPR 2022",
    year=2022,
    summary="U-Net on SENet-154, trained on splices of Dresden photos and COCO objects, with modelled noise of online "
    "social networks",
    licence="MIT (code), not stated (weights)",
    groups=("deep",),
    trained_on=("dresden", "mscoco"),
    weights=(
        WeightFile(
            "detector_weights.pth", "https://drive.google.com/file/d/1scOAVxvqYSfRi4s7s0crk2Ieqn5Cm6r6", "not stated"
        ),
    ),
)
class IFOSN(NetworkLocalizer):
    """Probability of forgery from tiles of 896 x 896 that overlap by half; `tiles` in the extras is their number.

    The authors round each tile and truncate the merged map to 8 bits; here they keep their precision. An image
    of less than 32 pixels a side is filled up by repeating its last row and column; `padded` then says so.
    """

    make_network = Detector

    def preprocess(self, image: ForensicImage) -> Tensor:
        return network_input(at_least(image.rgb, STRIDE))

    def forward(self, x: Tensor, tiling: None = None) -> list[Tensor]:
        places = distinct_tiles(*x.shape[2:], self.network.tile)
        return [self.network(x[:, :, rows, columns].contiguous()) for rows, columns in places]

    def postprocess(self, output: list[Tensor], image: ForensicImage) -> ScoreMap:
        height, width = image.shape
        padded = max(height, STRIDE), max(width, STRIDE)
        merged = merge_distinct([to_array(tile[0, 0]) for tile in output], *padded, self.network.tile)
        values = np.ascontiguousarray(merged[:height, :width])
        return ScoreMap(values, "probability", extras={"tiles": len(output), "padded": padded != image.shape})


def network_input(rgb: np.ndarray) -> Tensor:
    """Float32 (1, 3, H, W) in -1..1 of uint8 (H, W, 3)."""
    return ((to_tensor(rgb) - 0.5) / 0.5).contiguous()
