"""SparseViT: convolutions, then self-attention among positions that lie far apart, so that it sees no objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models import WeightFile, register
from models.deep.parts import mit
from models.deep.parts.imagenet import normalized_square
from models.deep.parts.layer_norm import MapLayerNorm
from models.image import ForensicImage, ScoreMap
from models.network import NetworkLocalizer, to_array


@dataclass(frozen=True)
class Sizes:
    """Of a SparseViT.

    widths, depths: channels and blocks of the four stages, at strides 4, 8, 16 and 32. head_width: channels of an
    attention head. groups_3, groups_4: positions along a side of the map that attend to each other, for each group of
    blocks of stages 3 and 4. per_group_3, per_group_4: blocks of a group; the last one has what is left. input_size:
    of the squares that the localizer resizes photos to.
    """

    widths: tuple[int, int, int, int] = (64, 128, 320, 512)
    depths: tuple[int, int, int, int] = (5, 8, 20, 7)
    head_width: int = 64
    groups_3: tuple[int, ...] = (4, 8, 16, 32)
    groups_4: tuple[int, ...] = (8, 16)
    per_group_3: int = 5
    per_group_4: int = 4
    input_size: int = 512


class SparseViT(nn.Module):
    """Logits (B, 1, H / 16, W / 16), positive = forged, of (B, 3, H, W) without ImageNet's statistics.

    H and W are multiples of 512.
    """

    def __init__(self, sizes: Sizes | None = None):
        super().__init__()
        sizes = sizes or Sizes()
        self.input_size = sizes.input_size
        self.encoder_net = Encoder(sizes)
        self.lmu = WeightedSum(sizes.widths)

    @classmethod
    def tiny(cls) -> SparseViT:
        return cls(
            Sizes(
                widths=(4, 6, 8, 12),
                depths=(1, 1, 4, 3),
                head_width=4,
                groups_3=(1, 2, 2, 4),
                groups_4=(1, 2),
                per_group_3=1,
                per_group_4=2,
                input_size=64,
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.lmu(self.encoder_net(x))


class Encoder(nn.Module):
    """Four maps at stride 16 and two at stride 32: after each group of attending blocks, the last of each normalized.

    Of stage 3 the normalized map stands for the last group's; of stage 4 only the first group's is taken as it is.
    """

    def __init__(self, sizes: Sizes):
        super().__init__()
        self.per_group_3, self.per_group_4 = sizes.per_group_3, sizes.per_group_4
        widths = sizes.widths
        for stage, width in enumerate(widths):
            channels, size = (widths[stage - 1], 2) if stage else (3, 4)
            setattr(self, f"patch_embed{stage + 1}", PatchEmbed(channels, width, size))

        def sparse(stage: int, groups: tuple[int, ...], per_group: int) -> nn.Sequential:
            counts = (groups[i // per_group] for i in range(sizes.depths[stage]))
            return nn.Sequential(*(SparseBlock(widths[stage], count, sizes.head_width) for count in counts))

        self.blocks1 = nn.Sequential(*(ConvBlock(widths[0]) for _ in range(sizes.depths[0])))
        self.norm1 = MapLayerNorm(widths[0])  # in released checkpoints, not in the forward pass, like norm2
        self.blocks2 = nn.Sequential(*(ConvBlock(widths[1]) for _ in range(sizes.depths[1])))
        self.norm2 = MapLayerNorm(widths[1])
        self.blocks3 = sparse(2, sizes.groups_3, sizes.per_group_3)
        self.norm3 = MapLayerNorm(widths[2])
        self.blocks4 = sparse(3, sizes.groups_4, sizes.per_group_4)
        self.norm4 = MapLayerNorm(widths[3])

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.blocks1(self.patch_embed1(x))
        x = self.patch_embed3(self.blocks2(self.patch_embed2(x)))
        maps = []
        for start in range(0, len(self.blocks3), self.per_group_3):
            x = self.blocks3[start : start + self.per_group_3](x)
            maps.append(x)
        maps[-1] = self.norm3(x)
        x = self.blocks4[: self.per_group_4](self.patch_embed4(x))
        maps.append(x)
        return [*maps, self.norm4(self.blocks4[self.per_group_4 :](x))]


class PatchEmbed(nn.Module):
    """Patches that do not overlap, each to one normalized position."""

    def __init__(self, channels: int, width: int, size: int):
        super().__init__()
        self.norm = MapLayerNorm(width, eps=1e-5)
        self.proj = nn.Conv2d(channels, width, size, size)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.proj(x))


class ConvBlock(nn.Module):
    """UniFormer's local block (Li et al., ICLR 2022): what attention does, by a depth-wise 5 x 5 convolution."""

    def __init__(self, width: int):
        super().__init__()
        self.pos_embed = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv1 = nn.Conv2d(width, width, 1)
        self.conv2 = nn.Conv2d(width, width, 1)
        self.attn = nn.Conv2d(width, width, 5, padding=2, groups=width)
        self.norm2 = nn.BatchNorm2d(width)
        self.mlp = ConvMLP(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.pos_embed(x)
        x = x + self.conv2(self.attn(self.conv1(self.norm1(x))))
        return x + self.mlp(self.norm2(x))


class ConvMLP(nn.Module):
    """Two 1 x 1 convolutions around a GELU."""

    def __init__(self, width: int):
        super().__init__()
        self.fc1 = nn.Conv2d(width, 4 * width, 1)
        self.fc2 = nn.Conv2d(4 * width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class SparseBlock(nn.Module):
    """Attention among the positions of each sparse grid, and SegFormer's feed-forward part, both scaled by channel.

    group: positions along a side of each grid.
    """

    def __init__(self, width: int, group: int, head_width: int):
        super().__init__()
        self.group = group
        self.gamma_1 = nn.Parameter(torch.ones(width))
        self.gamma_2 = nn.Parameter(torch.ones(width))
        # In released checkpoints, not in the forward pass.
        self.pos_embed = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, head_width)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = mit.MixMLP(width, gelu="none")

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        mixed = from_grids(self.attn(self.norm1(to_grids(x, self.group))), self.group, height, width)
        tokens = mit.to_tokens(x) + self.gamma_1 * mit.to_tokens(mixed)
        tokens = tokens + self.gamma_2 * self.mlp(self.norm2(tokens), height, width)
        return mit.to_map(tokens, height, width)


class Attention(nn.Module):
    """Multi-head self-attention among the tokens (N, positions, C) of each row."""

    def __init__(self, width: int, head_width: int):
        super().__init__()
        self.head_width = head_width
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        number, positions, width = x.shape
        qkv = self.qkv(x).view(number, positions, 3, -1, self.head_width).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(*qkv.unbind(0))
        return self.proj(mixed.transpose(1, 2).reshape(number, positions, width))


def to_grids(x: Tensor, group: int) -> Tensor:
    """(B, C, H, W) to (grids, group * group, C): a grid is every (H / group)-th row and (W / group)-th column."""
    batch, channels, height, width = x.shape
    x = x.view(batch, channels, group, height // group, group, width // group)
    return x.permute(0, 3, 5, 2, 4, 1).reshape(-1, group * group, channels)


def from_grids(x: Tensor, group: int, height: int, width: int) -> Tensor:
    """The inverse of `to_grids`."""
    x = x.view(-1, height // group, width // group, group, group, x.shape[2])
    return x.permute(0, 5, 3, 1, 4, 2).reshape(x.shape[0], x.shape[5], height, width)


class WeightedSum(nn.Module):
    """One logit from the sum of the six maps at the first one's size, each weighted by channel."""

    def __init__(self, widths: Sequence[int]):
        super().__init__()
        width = widths[3]
        for i in range(1, 7):
            setattr(self, f"gamma{i}", nn.Parameter(torch.ones(width)))
        self.norm = MapLayerNorm(width)
        for i in range(1, 5):
            setattr(self, f"conv_layer{i}", nn.Conv2d(widths[2], width, 1))
        self.conv_last = nn.Conv2d(width, 1, 1)

    def forward(self, maps: list[Tensor]) -> Tensor:
        size = maps[0].shape[2:]
        fine = [getattr(self, f"conv_layer{i}")(x) for i, x in enumerate(maps[:4], 1)]
        coarse = [F.interpolate(x, size, mode="bilinear", align_corners=False) for x in maps[4:]]
        weighted = [getattr(self, f"gamma{i}")[:, None, None] * x for i, x in enumerate([*fine, *coarse], 1)]
        return self.conv_last(self.norm(sum(weighted)))


@register(
    "sparsevit",
    title="SparseViT, the authors' model",
    paper="Su et al., Can We Get Rid of Handcrafted Feature Extractors? SparseViT: Nonsemantics-Centered, "
    "Parameter-Efficient Image Manipulation Localization through Spare-Coding Transformer, AAAI 2025",
    year=2025,
    summary="UniFormer whose attention is among positions far apart; six maps of it, weighted and added",
    licence="none stated by the authors (code and weights)",
    groups=("deep",),
    trained_on=("casia2", "imd2020", "fantasticreality", "tampcoco"),
    weights=(
        WeightFile(
            "sparsevit_checkpoint.pth",
            "https://drive.google.com/file/d/104BPPvLXkxuPu_NHaxjesdcdZ-ln92-G",
            "none stated by the authors",
        ),
    ),
)
class SparseViTLocalizer(NetworkLocalizer):
    """Probability of forgery of the photo resized to 512 x 512.

    The authors give their file no name; it is looked for under the one on the card.
    """

    make_network = SparseViT

    def preprocess(self, image: ForensicImage) -> Tensor:
        return normalized_square(image.rgb, self.network.input_size)

    def postprocess(self, output: Tensor, image: ForensicImage) -> ScoreMap:
        whole = F.interpolate(output, (self.network.input_size,) * 2, mode="bilinear", align_corners=False)
        return ScoreMap(to_array(whole.sigmoid()[0, 0]), "probability")
