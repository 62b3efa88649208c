"""Segment Anything: image encoder, prompts and mask decoder (Kirillov et al., ICCV 2023, appendix A)."""

from __future__ import annotations

import math
from collections.abc import Collection

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.deep.parts.layer_norm import MapLayerNorm
from models.deep.parts.vit import MLP, PatchEmbed, blocks

INPUT_SIZE = 1024
PATCH = 16
SIDE = INPUT_SIZE // PATCH
WINDOW = 14
CHANNELS = 256
MASK_TOKENS = 4
DECODER_HEADS = 8
DECODER_HIDDEN = 2048
MLP_NAMES = ("lin1", "lin2")


class ImageEncoder(nn.Module):
    """A plain vision transformer: (B, 3, 1024, 1024) to (B, 256, 64, 64). whole: blocks without windows."""

    def __init__(self, width: int, depth: int, heads: int, whole: Collection[int]):
        super().__init__()
        self.pos_embed = nn.Parameter(torch.zeros(1, SIDE, SIDE, width))
        self.patch_embed = PatchEmbed(width, PATCH)
        self.blocks = blocks(width, depth, heads, SIDE, WINDOW, whole, MLP_NAMES)
        self.neck = neck(width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.neck(x.permute(0, 3, 1, 2))


def neck(width: int) -> nn.Sequential:
    """From the transformer's width to CHANNELS, maps (B, C, H, W)."""
    return nn.Sequential(
        nn.Conv2d(width, CHANNELS, 1, bias=False),
        MapLayerNorm(CHANNELS),
        nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, bias=False),
        MapLayerNorm(CHANNELS),
    )


class PromptEncoder(nn.Module):
    """Points as tokens. The layers for boxes and masks are in the checkpoints and are not used."""

    def __init__(self):
        super().__init__()
        self.pe_layer = RandomPositions()
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, CHANNELS) for _ in range(4))
        self.not_a_point_embed = nn.Embedding(1, CHANNELS)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, 4, 2, 2),
            MapLayerNorm(4),
            nn.GELU(),
            nn.Conv2d(4, 16, 2, 2),
            MapLayerNorm(16),
            nn.GELU(),
            nn.Conv2d(16, CHANNELS, 1),
        )
        self.no_mask_embed = nn.Embedding(1, CHANNELS)

    def forward(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """points: (P, 2) of x and y in pixels of the 1024 x 1024 input, each inside the object of a prompt of its own.

        Tokens (P, 2, 256), of the point and of "no further point", and the map (1, 256, 1, 1) of "no mask".
        """
        marked = self.pe_layer((points + 0.5) / INPUT_SIZE) + self.point_embeddings[1].weight
        absent = self.not_a_point_embed.weight.expand_as(marked)
        return torch.stack([marked, absent], 1), self.no_mask_embed.weight[..., None, None]

    def map_positions(self) -> Tensor:
        """Encoded centres of the image encoder's positions: (1, 256, 64, 64)."""
        centres = (torch.arange(SIDE, device=self.no_mask_embed.weight.device) + 0.5) / SIDE
        y, x = torch.meshgrid(centres, centres, indexing="ij")
        return self.pe_layer(torch.stack([x, y], -1)).permute(2, 0, 1)[None]


class RandomPositions(nn.Module):
    """Sine and cosine of random frequencies: (..., 2) in 0..1 to (..., 256)."""

    def __init__(self):
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, CHANNELS // 2))

    def forward(self, positions: Tensor) -> Tensor:
        phase = 2 * math.pi * ((2 * positions - 1) @ self.positional_encoding_gaussian_matrix)
        return torch.cat([phase.sin(), phase.cos()], -1)


class MaskDecoder(nn.Module):
    """Mask logits (P, 4, 256, 256) and their estimated IoU (P, 4) for P prompts; where one mask is asked, the first."""

    def __init__(self):
        super().__init__()
        self.transformer = TwoWayTransformer(depth=2)
        self.iou_token = nn.Embedding(1, CHANNELS)
        self.mask_tokens = nn.Embedding(MASK_TOKENS, CHANNELS)
        quarter, eighth = CHANNELS // 4, CHANNELS // 8
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(CHANNELS, quarter, 2, 2),
            MapLayerNorm(quarter),
            nn.GELU(),
            nn.ConvTranspose2d(quarter, eighth, 2, 2),
            nn.GELU(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList(ThreeLayers(eighth) for _ in range(MASK_TOKENS))
        self.iou_prediction_head = ThreeLayers(MASK_TOKENS)

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

    def __init__(self, out: int):
        super().__init__()
        self.layers = nn.ModuleList(
            [nn.Linear(CHANNELS, CHANNELS), nn.Linear(CHANNELS, CHANNELS), nn.Linear(CHANNELS, out)]
        )

    def forward(self, x: Tensor) -> Tensor:
        first, second, last = self.layers
        return last(F.relu(second(F.relu(first(x)))))


class TwoWayTransformer(nn.Module):
    """Tokens and pixels attend to each other by turns; both (B, N, 256)."""

    def __init__(self, depth: int):
        super().__init__()
        self.layers = nn.ModuleList(TwoWayBlock(positioned=i > 0) for i in range(depth))
        self.final_attn_token_to_image = MultiHead(CHANNELS // 2)
        self.norm_final_attn = nn.LayerNorm(CHANNELS)

    def forward(self, tokens: Tensor, pixels: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        prompt = tokens
        for layer in self.layers:
            tokens, pixels = layer(tokens, pixels, prompt, positions)
        found = self.final_attn_token_to_image(tokens + prompt, pixels + positions, pixels)
        return self.norm_final_attn(tokens + found), pixels


class TwoWayBlock(nn.Module):
    """positioned: whether self-attention sees the prompt beside the tokens; at the first layer both are the same."""

    def __init__(self, positioned: bool):
        super().__init__()
        self.positioned = positioned
        self.self_attn = MultiHead(CHANNELS)
        self.norm1 = nn.LayerNorm(CHANNELS)
        self.cross_attn_token_to_image = MultiHead(CHANNELS // 2)
        self.norm2 = nn.LayerNorm(CHANNELS)
        self.mlp = MLP(CHANNELS, DECODER_HIDDEN, MLP_NAMES, F.relu)
        self.norm3 = nn.LayerNorm(CHANNELS)
        self.norm4 = nn.LayerNorm(CHANNELS)
        self.cross_attn_image_to_token = MultiHead(CHANNELS // 2)

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

    def __init__(self, inner: int):
        super().__init__()
        self.q_proj = nn.Linear(CHANNELS, inner)
        self.k_proj = nn.Linear(CHANNELS, inner)
        self.v_proj = nn.Linear(CHANNELS, inner)
        self.out_proj = nn.Linear(inner, CHANNELS)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        projected = (self.q_proj(query), self.k_proj(key), self.v_proj(value))
        heads = (x.unflatten(2, (DECODER_HEADS, -1)).transpose(1, 2) for x in projected)
        return self.out_proj(F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2))
