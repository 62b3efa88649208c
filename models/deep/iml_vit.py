"""IML-ViT: a plain vision transformer at 1024 x 1024, a feature pyramid on its last map, and a fusing head."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models import WeightFile, register
from models.deep.localizer import NetworkLocalizer
from models.deep.parts.imagenet import normalized
from models.deep.parts.layer_norm import MapLayerNorm
from models.deep.parts.vit import PatchEmbed, blocks
from models.image import ForensicImage, ScoreMap

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
    """Logits (B, 1, INPUT_SIZE / 4, INPUT_SIZE / 4), positive = forged, of (B, 3, INPUT_SIZE, INPUT_SIZE).

    The input has ImageNet's statistics removed.
    """

    def __init__(self):
        super().__init__()
        self.encoder_net = Encoder()
        self.featurePyramid_net = FeaturePyramid()
        self.predict_head = FusingHead()

    def forward(self, x: Tensor) -> Tensor:
        return self.predict_head(self.featurePyramid_net(self.encoder_net(x)))


class Encoder(nn.Module):
    """The last map (B, WIDTH, H / 16, W / 16) of the transformer."""

    def __init__(self):
        super().__init__()
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + PRETRAINED_SIDE**2, WIDTH))  # the first is the class token's
        self.patch_embed = PatchEmbed(WIDTH, PATCH)
        self.blocks = blocks(WIDTH, DEPTH, HEADS, INPUT_SIZE // PATCH, WINDOW, WHOLE, ("fc1", "fc2"))

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
    """Maps of PYRAMID_WIDTH channels at strides 4, 8, 16, 32 and 64, all from the one at stride 16.

    The last is every second position of the one before it.
    """

    def __init__(self):
        super().__init__()
        half, quarter = WIDTH // 2, WIDTH // 4
        self.simfp_2 = nn.Sequential(
            nn.ConvTranspose2d(WIDTH, half, 2, 2),
            MapLayerNorm(half),
            nn.GELU(),
            nn.ConvTranspose2d(half, quarter, 2, 2),
            *_to_pyramid(quarter),
        )
        self.simfp_3 = nn.Sequential(nn.ConvTranspose2d(WIDTH, half, 2, 2), *_to_pyramid(half))
        self.simfp_4 = nn.Sequential(*_to_pyramid(WIDTH))
        self.simfp_5 = nn.Sequential(nn.MaxPool2d(2), *_to_pyramid(WIDTH))

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = [stage(x) for stage in (self.simfp_2, self.simfp_3, self.simfp_4, self.simfp_5)]
        return [*maps, maps[-1][:, :, ::2, ::2]]


def _to_pyramid(channels: int) -> tuple[ConvNorm, ConvNorm]:
    return ConvNorm(channels, PYRAMID_WIDTH, 1), ConvNorm(PYRAMID_WIDTH, PYRAMID_WIDTH, 3)


class FusingHead(nn.Module):
    """One logit from all maps of the pyramid, enlarged to the finest (bilinear)."""

    def __init__(self):
        super().__init__()
        self.linear_fuse = nn.Conv2d(5 * PYRAMID_WIDTH, PYRAMID_WIDTH, 1)
        self.norm = nn.BatchNorm2d(PYRAMID_WIDTH)
        self.linear_predict = nn.Conv2d(PYRAMID_WIDTH, 1, 1)

    def forward(self, maps: list[Tensor]) -> Tensor:
        size = maps[0].shape[2:]
        enlarged = [F.interpolate(x, size, mode="bilinear", align_corners=False) for x in maps]
        return self.linear_predict(self.norm(self.linear_fuse(torch.cat(enlarged, 1))))


def network_input(rgb: np.ndarray) -> Tensor:
    """Float32 (1, 3, INPUT_SIZE, INPUT_SIZE) as `IMLViT` takes it, of uint8 (H, W, 3), no side above INPUT_SIZE.

    The image lies in the upper left corner; the rest is black, which ImageNet's statistics are then removed from too.
    """
    height, width = rgb.shape[:2]
    square = torch.zeros(1, 3, INPUT_SIZE, INPUT_SIZE)
    square[0, :, :height, :width] = torch.tensor(rgb).permute(2, 0, 1) / 255
    return normalized(square)


def tile_starts(length: int) -> list[int]:
    """Where the fewest tiles of INPUT_SIZE that cover `length` pixels begin, evenly spread."""
    if length <= INPUT_SIZE:
        return [0]
    count = -(-length // INPUT_SIZE)
    return [round(i * (length - INPUT_SIZE) / (count - 1)) for i in range(count)]


class IMLViTLocalizer(NetworkLocalizer):
    """Probability of forgery at the photo's own resolution.

    A side of more than 1024 pixels is covered by tiles of that size, and where they overlap the map is their mean;
    the authors cut such photos to the upper left 1024 x 1024 pixels, so that nothing would be said of the rest.
    `tiles` in the extras is the number of them.
    """

    make_network = IMLViT

    def localize(self, image: ForensicImage) -> ScoreMap:
        total, count = np.zeros(image.shape, np.float32), np.zeros(image.shape, np.float32)
        corners = [(top, left) for top in tile_starts(image.shape[0]) for left in tile_starts(image.shape[1])]
        for top, left in corners:
            tile = np.s_[top : top + INPUT_SIZE, left : left + INPUT_SIZE]
            total[tile] += self._probability(image.rgb[tile])
            count[tile] += 1
        return ScoreMap(total / count, "probability", extras={"tiles": len(corners)})

    def _probability(self, rgb: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            logits = self.network(network_input(rgb).to(self._device))
            whole = F.interpolate(logits, (INPUT_SIZE, INPUT_SIZE), mode="bilinear", align_corners=False)
            return whole.sigmoid()[0, 0, : rgb.shape[0], : rgb.shape[1]].float().cpu().numpy()


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
