"""IML-ViT: a plain vision transformer at 1024 x 1024, a feature pyramid on its last map, and a fusing head."""

from __future__ import annotations

import itertools

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models import WeightFile, register
from models.deep.parts.imagenet import normalized
from models.deep.parts.layer_norm import MapLayerNorm
from models.deep.parts.vit import PatchEmbed, blocks
from models.image import ForensicImage, ScoreMap
from models.network import NetworkLocalizer, to_array

INPUT_SIZE = 1024
PATCH = 16
WIDTH = 768
DEPTH = 12
HEADS = 12
WINDOW = 14
WHOLE = (2, 5, 8, 11)  # blocks that attend over the whole map
PRETRAINED_SIDE = 14  # patches along a side of the image of the position embedding
PYRAMID_WIDTH = 256


class IMLViT(nn.Module):
    """Logits (B, 1, N / 4, N / 4), positive = forged, of (B, 3, N, N) without ImageNet's statistics.

    input_size: N. width, depth, heads: of the transformer. window: side of its windows, in patches. whole: blocks that
    attend over the whole map.
    """

    def __init__(
        self,
        input_size: int = INPUT_SIZE,
        width: int = WIDTH,
        depth: int = DEPTH,
        heads: int = HEADS,
        window: int = WINDOW,
        whole: tuple[int, ...] = WHOLE,
        pyramid_width: int = PYRAMID_WIDTH,
    ):
        super().__init__()
        self.input_size = input_size
        layers = blocks(width, depth, heads, input_size // PATCH, window, whole, ("fc1", "fc2"))
        self.encoder_net = Encoder(width, layers)
        self.featurePyramid_net = FeaturePyramid(width, pyramid_width)
        self.predict_head = FusingHead(pyramid_width)

    @classmethod
    def tiny(cls) -> IMLViT:
        return cls(input_size=64, width=24, depth=2, heads=2, window=3, whole=(1,), pyramid_width=8)

    def forward(self, x: Tensor) -> Tensor:
        return self.predict_head(self.featurePyramid_net(self.encoder_net(x)))


class Encoder(nn.Module):
    """The last map (B, width, H / 16, W / 16) of the transformer."""

    def __init__(self, width: int, layers: nn.ModuleList):
        super().__init__()
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + PRETRAINED_SIDE**2, width))  # the first is the class token's
        self.patch_embed = PatchEmbed(width, PATCH)
        self.blocks = layers

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x)
        position = self.pos_embed[:, 1:].unflatten(1, (PRETRAINED_SIDE, PRETRAINED_SIDE)).permute(0, 3, 1, 2)
        position = F.interpolate(position, x.shape[1:3], mode="bicubic", align_corners=False)
        x = x + position.permute(0, 2, 3, 1)
        for block in self.blocks:
            x = block(x)
        return x.permute(0, 3, 1, 2)


class ConvNorm(nn.Conv2d):
    """Convolution without bias, and layer normalization."""

    def __init__(self, channels: int, out: int, kernel: int):
        super().__init__(channels, out, kernel, padding=kernel // 2, bias=False)
        self.norm = MapLayerNorm(out)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(super().forward(x))


class FeaturePyramid(nn.Module):
    """Maps of `out` channels at strides 4, 8, 16, 32 and 64, all from the one at stride 16.

    The last is every second position of the one before it.
    """

    def __init__(self, width: int, out: int):
        super().__init__()
        half, quarter = width // 2, width // 4
        self.simfp_2 = nn.Sequential(
            nn.ConvTranspose2d(width, half, 2, 2),
            MapLayerNorm(half),
            nn.GELU(),
            nn.ConvTranspose2d(half, quarter, 2, 2),
            *_to_pyramid(quarter, out),
        )
        self.simfp_3 = nn.Sequential(nn.ConvTranspose2d(width, half, 2, 2), *_to_pyramid(half, out))
        self.simfp_4 = nn.Sequential(*_to_pyramid(width, out))
        self.simfp_5 = nn.Sequential(nn.MaxPool2d(2), *_to_pyramid(width, out))

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = [stage(x) for stage in (self.simfp_2, self.simfp_3, self.simfp_4, self.simfp_5)]
        return [*maps, maps[-1][:, :, ::2, ::2]]


def _to_pyramid(channels: int, out: int) -> tuple[ConvNorm, ConvNorm]:
    return ConvNorm(channels, out, 1), ConvNorm(out, out, 3)


class FusingHead(nn.Module):
    """One logit from all maps of the pyramid, enlarged to the finest (bilinear)."""

    def __init__(self, width: int):
        super().__init__()
        self.linear_fuse = nn.Conv2d(5 * width, width, 1)
        self.norm = nn.BatchNorm2d(width)
        self.linear_predict = nn.Conv2d(width, 1, 1)

    def forward(self, maps: list[Tensor]) -> Tensor:
        size = maps[0].shape[2:]
        enlarged = [F.interpolate(x, size, mode="bilinear", align_corners=False) for x in maps]
        return self.linear_predict(self.norm(self.linear_fuse(torch.cat(enlarged, 1))))


def padded(rgb: np.ndarray, side: int) -> np.ndarray:
    """uint8 (side, side, 3): the image in the upper left corner of black. No side of it is longer than `side`."""
    square = np.zeros((side, side, 3), np.uint8)
    square[: rgb.shape[0], : rgb.shape[1]] = rgb
    return square


def tile_starts(length: int, side: int) -> list[int]:
    """Where the fewest tiles of `side` pixels that cover `length` pixels begin, evenly spread."""
    if length <= side:
        return [0]
    count = -(-length // side)
    return [round(i * (length - side) / (count - 1)) for i in range(count)]


def covering_tiles(height: int, width: int, side: int) -> list[tuple[slice, slice]]:
    """Rows and columns of the fewest tiles that cover an image, row by row."""
    rows, columns = (
        [slice(start, min(start + side, length)) for start in tile_starts(length, side)] for length in (height, width)
    )
    return list(itertools.product(rows, columns))


class IMLViTLocalizer(NetworkLocalizer):
    """Probability of forgery at the photo's own resolution.

    A side of more than 1024 pixels is covered by tiles of that size, and where they overlap the map is their mean;
    the authors cut such photos to the upper left 1024 x 1024 pixels, so that nothing would be said of the rest.
    `tiles` in the extras is the number of them.
    """

    make_network = IMLViT

    def preprocess(self, image: ForensicImage) -> Tensor:
        side = self.network.input_size
        squares = [padded(image.rgb[tile], side) for tile in covering_tiles(*image.shape, side)]
        return torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2)

    def forward(self, squares: Tensor, tiling: None = None) -> list[Tensor]:
        """Black is normalized, too, as by the authors."""
        return [self.network(normalized(square.contiguous() / 255)) for square in squares.split(1)]

    def postprocess(self, output: list[Tensor], image: ForensicImage) -> ScoreMap:
        side = self.network.input_size
        total, count = np.zeros(image.shape, np.float32), np.zeros(image.shape, np.float32)
        for logits, tile in zip(output, covering_tiles(*image.shape, side), strict=True):
            whole = F.interpolate(logits, (side, side), mode="bilinear", align_corners=False).sigmoid()[0, 0]
            height, width = total[tile].shape
            total[tile] += to_array(whole[:height, :width])
            count[tile] += 1
        return ScoreMap(total / count, "probability", extras={"tiles": len(output)})


_CARD = {
    "paper": "Ma et al., IML-ViT: Benchmarking Image Manipulation Localization by Vision Transformer, arXiv 2307.14863",
    "year": 2023,
    "summary": "ViT-B with window attention on the unscaled photo, a feature pyramid, and a loss on edges in training",
    "licence": "MIT (code), none stated for the weights",
    "groups": ("deep",),
}
_LICENCE = "none stated by the authors"
_PAGE = "https://drive.google.com/drive/folders/1Ztyiy2cKJVmyusYMUlwuyPecBefTJCPT"  # names: issue 21 of the repository


@register(
    "iml-vit",
    title="IML-ViT, the authors' first model, trained on CASIA v2",
    trained_on=("casia2",),
    weights=(
        WeightFile(
            "iml-vit_checkpoint.pth", "https://drive.google.com/file/d/1xXJGJPW1i5j9Pc1JKd7fJmIAQkvt9jY7", _LICENCE
        ),
    ),
    **_CARD,
)
class IMLViTFirst(IMLViTLocalizer):
    """The checkpoint of the first release."""


@register(
    "iml-vit-casia2",
    title="IML-ViT, the authors' later model, trained on CASIA v2",
    trained_on=("casia2",),
    weights=(WeightFile("iml-vit_casiav2_20231014.pth", _PAGE, _LICENCE),),
    **_CARD,
)
class IMLViTCasia2(IMLViTLocalizer):
    """The checkpoint that the authors call the better one of the two."""


@register(
    "iml-vit-catnet",
    title="IML-ViT, the authors' model trained on CAT-Net's data",
    trained_on=("casia2", "imd2020", "fantasticreality", "tampcoco", "compraise"),
    weights=(WeightFile("iml-vit_trufor_20231014.pth", _PAGE, _LICENCE),),
    **_CARD,
)
class IMLViTCatNet(IMLViTLocalizer):
    """The checkpoint trained by the protocol of CAT-Net and TruFor, about 1,800 images of each set an epoch."""
