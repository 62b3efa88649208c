"""Segment Anything: image encoder, prompts and mask decoder (Kirillov et al., ICCV 2023, appendix A)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.deep.parts.layer_norm import MapLayerNorm
from models.deep.parts.vit import MLP, PatchEmbed, blocks

PATCH = 16
MASK_TOKENS = 4
MLP_NAMES = ("lin1", "lin2")


@dataclass(frozen=True)
class Sizes:
    """Of a network after Segment Anything.

    input_size: of the squares that it sees. width, depth, heads: of the image encoder's transformer. whole: its blocks
    that attend over the whole map; the others see windows of `window` patches a side. channels: of its map and of the
    prompts' tokens. decoder_heads, decoder_hidden: of the mask decoder's attention and hidden layers.
    """

    width: int
    depth: int
    heads: int
    whole: tuple[int, ...]
    input_size: int = 1024
    window: int = 14
    channels: int = 256
    decoder_heads: int = 8
    decoder_hidden: int = 2048

    @property
    def side(self) -> int:
        """Of the image encoder's map, in patches."""
        return self.input_size // PATCH


class ImageEncoder(nn.Module):
    """A plain vision transformer: with the usual sizes (B, 3, 1024, 1024) to (B, 256, 64, 64)."""

    def __init__(self, sizes: Sizes):
        super().__init__()
        self.pos_embed = nn.Parameter(torch.zeros(1, sizes.side, sizes.side, sizes.width))
        self.patch_embed = PatchEmbed(sizes.width, PATCH)
        self.blocks = encoder_blocks(sizes)
        self.neck = neck(sizes.width, sizes.channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.neck(x.permute(0, 3, 1, 2))


def encoder_blocks(sizes: Sizes) -> nn.ModuleList:
    """The image encoder's transformer layers."""
    return blocks(sizes.width, sizes.depth, sizes.heads, sizes.side, sizes.window, sizes.whole, MLP_NAMES)


def neck(width: int, channels: int) -> nn.Sequential:
    """From the transformer's width to `channels`, maps (B, C, H, W)."""
    return nn.Sequential(
        nn.Conv2d(width, channels, 1, bias=False),
        MapLayerNorm(channels),
        nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        MapLayerNorm(channels),
    )


class PromptEncoder(nn.Module):
    """Points as tokens. The layers for boxes and masks are in the checkpoints and are not used."""

    def __init__(self, sizes: Sizes):
        super().__init__()
        self.input_size, self.side = sizes.input_size, sizes.side
        channels = sizes.channels
        self.pe_layer = RandomPositions(channels)
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, channels) for _ in range(4))
        self.not_a_point_embed = nn.Embedding(1, channels)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, 4, 2, 2),
            MapLayerNorm(4),
            nn.GELU(),
            nn.Conv2d(4, 16, 2, 2),
            MapLayerNorm(16),
            nn.GELU(),
            nn.Conv2d(16, channels, 1),
        )
        self.no_mask_embed = nn.Embedding(1, channels)

    def forward(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """points: (P, 2) of x and y in pixels of the input, each inside the object of a prompt of its own.

        Tokens (P, 2, 256), of the point and of "no further point", and the map (1, 256, 1, 1) of "no mask".
        """
        marked = self.pe_layer((points + 0.5) / self.input_size) + self.point_embeddings[1].weight
        absent = self.not_a_point_embed.weight.expand_as(marked)
        return torch.stack([marked, absent], 1), self.no_mask_embed.weight[..., None, None]

    def map_positions(self) -> Tensor:
        """Encoded centres of the image encoder's positions: (1, 256, 64, 64)."""
        centres = (torch.arange(self.side, device=self.no_mask_embed.weight.device) + 0.5) / self.side
        y, x = torch.meshgrid(centres, centres, indexing="ij")
        return self.pe_layer(torch.stack([x, y], -1)).permute(2, 0, 1)[None]


class RandomPositions(nn.Module):
    """Sine and cosine of random frequencies: (..., 2) in 0..1 to (..., 256)."""

    def __init__(self, channels: int):
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, channels // 2))

    def forward(self, positions: Tensor) -> Tensor:
        phase = 2 * math.pi * ((2 * positions - 1) @ self.positional_encoding_gaussian_matrix)
        return torch.cat([phase.sin(), phase.cos()], -1)


class MaskDecoder(nn.Module):
    """Mask logits (P, 4, 256, 256) and their estimated IoU (P, 4) for P prompts; where one mask is asked, the first."""

    def __init__(self, sizes: Sizes):
        super().__init__()
        channels = sizes.channels
        self.transformer = TwoWayTransformer(2, channels, sizes.decoder_heads, sizes.decoder_hidden)
        self.iou_token = nn.Embedding(1, channels)
        self.mask_tokens = nn.Embedding(MASK_TOKENS, channels)
        quarter, eighth = channels // 4, channels // 8
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(channels, quarter, 2, 2),
            MapLayerNorm(quarter),
            nn.GELU(),
            nn.ConvTranspose2d(quarter, eighth, 2, 2),
            nn.GELU(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList(ThreeLayers(channels, eighth) for _ in range(MASK_TOKENS))
        self.iou_prediction_head = ThreeLayers(channels, MASK_TOKENS)

    def forward(self, features: Tensor, positions: Tensor, tokens: Tensor, dense: Tensor) -> tuple[Tensor, Tensor]:
        """features, positions: (1, 256, 64, 64). tokens, dense: as `PromptEncoder` gives them."""
        prompts = len(tokens)
        own = torch.cat([self.iou_token.weight, self.mask_tokens.weight])
        tokens = torch.cat([own.expand(prompts, -1, -1), tokens], 1)
        pixels = (features + dense).expand(prompts, -1, -1, -1)
        tokens, seen = self.transformer(tokens, pixels.flatten(2).mT, positions.flatten(2).mT)
        enlarged = self.output_upscaling(seen.mT.reshape(pixels.shape))
        kernels = [mlp(tokens[:, 1 + i]) for i, mlp in enumerate(self.output_hypernetworks_mlps)]
        masks = torch.einsum("pmc,pchw->pmhw", torch.stack(kernels, 1), enlarged)
        return masks, self.iou_prediction_head(tokens[:, 0])


class ThreeLayers(nn.Module):
    """Three linear layers with ReLU between them."""

    def __init__(self, channels: int, out: int):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(channels, width) for width in (channels, channels, out))

    def forward(self, x: Tensor) -> Tensor:
        first, second, last = self.layers
        return last(F.relu(second(F.relu(first(x)))))


class TwoWayTransformer(nn.Module):
    """Tokens and pixels attend to each other by turns; both (B, N, 256)."""

    def __init__(self, depth: int, channels: int, heads: int, hidden: int):
        super().__init__()
        self.layers = nn.ModuleList(TwoWayBlock(channels, heads, hidden, positioned=i > 0) for i in range(depth))
        self.final_attn_token_to_image = MultiHead(channels, channels // 2, heads)
        self.norm_final_attn = nn.LayerNorm(channels)

    def forward(self, tokens: Tensor, pixels: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        prompt = tokens
        for layer in self.layers:
            tokens, pixels = layer(tokens, pixels, prompt, positions)
        found = self.final_attn_token_to_image(tokens + prompt, pixels + positions, pixels)
        return self.norm_final_attn(tokens + found), pixels


class TwoWayBlock(nn.Module):
    """positioned: whether self-attention sees the prompt beside the tokens; at the first layer both are the same."""

    def __init__(self, channels: int, heads: int, hidden: int, positioned: bool):
        super().__init__()
        self.positioned = positioned
        self.self_attn = MultiHead(channels, channels, heads)
        self.norm1 = nn.LayerNorm(channels)
        self.cross_attn_token_to_image = MultiHead(channels, channels // 2, heads)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = MLP(channels, hidden, MLP_NAMES, F.relu)
        self.norm3 = nn.LayerNorm(channels)
        self.norm4 = nn.LayerNorm(channels)
        self.cross_attn_image_to_token = MultiHead(channels, channels // 2, heads)

    def forward(self, tokens: Tensor, pixels: Tensor, prompt: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        if self.positioned:
            placed = tokens + prompt
            tokens = tokens + self.self_attn(placed, placed, tokens)
        else:
            tokens = self.self_attn(tokens, tokens, tokens)
        tokens = self.norm1(tokens)
        located = pixels + positions
        tokens = self.norm2(tokens + self.cross_attn_token_to_image(tokens + prompt, located, pixels))
        tokens = self.norm3(tokens + self.mlp(tokens))
        return tokens, self.norm4(pixels + self.cross_attn_image_to_token(located, tokens + prompt, tokens))


class MultiHead(nn.Module):
    """Attention with `inner` channels in all heads together."""

    def __init__(self, channels: int, inner: int, heads: int):
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(channels, inner)
        self.k_proj = nn.Linear(channels, inner)
        self.v_proj = nn.Linear(channels, inner)
        self.out_proj = nn.Linear(inner, channels)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        projected = (self.q_proj(query), self.k_proj(key), self.v_proj(value))
        heads = (x.unflatten(2, (self.heads, -1)).transpose(1, 2) for x in projected)
        return self.out_proj(F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2))
