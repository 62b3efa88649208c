"""Two Mix Transformers side by side that exchange and fuse their features, and a pooling to one score.

Sources: CMX (Zhang et al., T-ITS 2023); the pooling of confidence-weighted statistics is TruFor's (Guillaro et al.,
CVPR 2023, section 3.4).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.deep.parts.mit import Variant, strips, to_map, to_tokens, transform
from models.deep.parts.tiles import patchwise

PATCH = 256  # positions a side that are fused at once


class ChannelWeights(nn.Module):
    """Weights in 0..1 of the channels of either branch, (2, B, C, 1, 1), from the means and maxima of both."""

    def __init__(self, width: int):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(4 * width, 4 * width), nn.ReLU(), nn.Linear(4 * width, 2 * width))

    def forward(self, both: Tensor) -> Tensor:
        weights = self.mlp(torch.cat([both.mean((2, 3)), both.amax((2, 3))], 1)).sigmoid()
        return weights.unflatten(1, (2, -1)).transpose(0, 1)[..., None, None]


class SpatialWeights(nn.Module):
    """Weights in 0..1 of the positions of either branch, (2, B, 1, H, W)."""

    def __init__(self, width: int):
        super().__init__()
        self.mlp = nn.Sequential(nn.Conv2d(2 * width, width, 1), nn.ReLU(), nn.Conv2d(width, 2, 1))

    def forward(self, both: Tensor) -> Tensor:
        return self.mlp(both).sigmoid().transpose(0, 1)[:, :, None]


class FeatureRectify(nn.Module):
    """Adds to each branch what the other one knows, half by channel and half by position."""

    def __init__(self, width: int):
        super().__init__()
        self.channel_weights = ChannelWeights(width)
        self.spatial_weights = SpatialWeights(width)

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        both = torch.cat([first, second], 1)
        by_channel, by_position = self.channel_weights(both), self.spatial_weights(both)
        del both  # the largest of the maps at stride 4

        def lent(x: Tensor, branch: int) -> Tensor:
            return (by_channel[branch] + by_position[branch]).mul_(0.5).mul_(x)

        return lent(second, 1).add_(first), lent(first, 0).add_(second)


class CrossAttention(nn.Module):
    """Each branch queries a context of channels by channels that the other branch's keys and values make."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.kv1 = nn.Linear(width, 2 * width, bias=False)
        self.kv2 = nn.Linear(width, 2 * width, bias=False)

    def contexts(self, strips: Iterable[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        """That of either branch, (B, heads, C/heads, C/heads), from the tokens of both, strip by strip."""
        sums = [0, 0]
        for strip in strips:
            for branch, (layer, tokens) in enumerate(zip((self.kv1, self.kv2), strip, strict=True)):
                key, value = (self._by_head(part) for part in layer(tokens).chunk(2, 2))
                sums[branch] = sums[branch] + key.transpose(2, 3) @ value * key.shape[3] ** -0.5
        return sums[0].softmax(2), sums[1].softmax(2)

    def ask(self, query: Tensor, context: Tensor) -> Tensor:
        """What tokens (B, N, C) take from the other branch's context."""
        return (self._by_head(query) @ context).transpose(1, 2).flatten(2)

    def _by_head(self, tokens: Tensor) -> Tensor:
        return tokens.unflatten(2, (self.heads, -1)).transpose(1, 2)


class CrossPath(nn.Module):
    """Cross-attention with a path around it."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.channel_proj1 = nn.Linear(width, 2 * width)
        self.channel_proj2 = nn.Linear(width, 2 * width)
        self.cross_attn = CrossAttention(width, heads)
        self.end_proj1 = nn.Linear(2 * width, width)
        self.end_proj2 = nn.Linear(2 * width, width)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Two maps (B, C, H, W), their new channels one after the other, (B, 2 C, H, W)."""
        own = [strip.kept for strip in strips(*first.shape[2:])]
        asked = ([self._split(branch, x[:, :, rows])[1] for branch, x in enumerate((first, second), 1)] for rows in own)
        context1, context2 = self.cross_attn.contexts(asked)
        crossed = first.new_empty(first.shape[0], 2 * first.shape[1], *first.shape[2:])
        for rows in own:
            parts = []
            for branch, (x, context) in enumerate(((first, context2), (second, context1)), 1):
                kept, query = self._split(branch, x[:, :, rows])
                answer = torch.cat([kept, self.cross_attn.ask(query, context)], 2)
                tokens = to_tokens(x[:, :, rows]) + getattr(self, f"end_proj{branch}")(answer)
                parts.append(getattr(self, f"norm{branch}")(tokens))
            crossed[:, :, rows] = to_map(torch.cat(parts, 2), -1, first.shape[3])
        return crossed

    def _split(self, branch: int, rows: Tensor) -> tuple[Tensor, ...]:
        """Tokens that are kept and tokens that ask, of some rows (B, C, h, W) of a branch."""
        return F.relu(getattr(self, f"channel_proj{branch}")(to_tokens(rows))).chunk(2, 2)


class ChannelEmbed(nn.Module):
    """Both branches' channels to those of one, by 1x1 and depthwise 3x3 convolutions with a linear shortcut."""

    def __init__(self, width: int):
        super().__init__()
        self.residual = nn.Conv2d(2 * width, width, 1, bias=False)
        self.channel_embed = nn.Sequential(
            nn.Conv2d(2 * width, width, 1),
            nn.Conv2d(width, width, 3, padding=1, groups=width),
            nn.ReLU(),
            nn.Conv2d(width, width, 1),
            nn.BatchNorm2d(width),
        )
        self.norm = nn.BatchNorm2d(width)

    def forward(self, both: Tensor) -> Tensor:
        return self.norm(self.residual(both) + self.channel_embed(both))


class FeatureFusion(nn.Module):
    """Two maps (B, C, H, W) to one."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.cross = CrossPath(width, heads)
        self.channel_emb = ChannelEmbed(width)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return patchwise(self.channel_emb, self.cross(first, second), PATCH, halo=1)


class DualTransformer(nn.Module):
    """The two branches, without the extra one's embeddings, which a subclass names and applies.

    extra_parts: its modules by name. variant: of both transformers.
    """

    def __init__(self, extra_parts: Mapping[str, nn.Module], variant: Variant):
        super().__init__()
        for stage in range(4):
            setattr(self, f"patch_embed{stage + 1}", variant.patch_embed(stage))
        for name, part in extra_parts.items():
            setattr(self, name, part)
        for stage in range(4):
            for branch in ("", "extra_"):
                setattr(self, f"{branch}block{stage + 1}", variant.blocks(stage))
                setattr(self, f"{branch}norm{stage + 1}", variant.output_norm(stage))
        self.FRMs = nn.ModuleList(FeatureRectify(width) for width in variant.widths)
        self.FFMs = nn.ModuleList(FeatureFusion(*sizes) for sizes in zip(variant.widths, variant.heads, strict=True))

    def embed_extra(self, stage: int, x: Tensor) -> Tensor:
        """Tokens of the extra branch at the start of stage 0..3."""
        raise NotImplementedError

    def after_stage(self, embedded: Tensor, rectified: Tensor) -> Tensor:
        """What the extra branch hands to its next stage. embedded: tokens before this stage; rectified: its map."""
        return rectified

    def forward(self, rgb: Tensor, extra: Tensor) -> list[Tensor]:
        """Fused maps at strides 4, 8, 16 and 32 of two images (B, 3, H, W)."""
        fused = []
        for stage in range(4):
            tokens, height, width = self._part("patch_embed", stage)(rgb)
            rgb = transform(tokens, height, width, self._part("block", stage), self._part("norm", stage))
            embedded = self.embed_extra(stage, extra)
            layers, norm = self._part("extra_block", stage), self._part("extra_norm", stage)
            rgb, extra = self.FRMs[stage](rgb, transform(embedded, height, width, layers, norm))
            fused.append(self.FFMs[stage](rgb, extra))
            extra = self.after_stage(embedded, extra)
        return fused

    def _part(self, name: str, stage: int) -> nn.Module:
        return getattr(self, f"{name}{stage + 1}")


def weighted_statistics(x: Tensor, log_weights: Tensor | None = None) -> Tensor:
    """Soft minimum, soft maximum, mean and mean square over all positions, (B, 4), of x (B, 1, H, W).

    log_weights: of the same shape, up to a constant; None weighs all positions alike.
    """
    x = x.flatten(1)
    weights = torch.zeros_like(x) if log_weights is None else log_weights.flatten(1)
    weights = F.log_softmax(weights, 1)
    low, high = -torch.logsumexp(weights - x, 1), torch.logsumexp(weights + x, 1)
    share = weights.exp()
    return torch.stack([low, high, (share * x).sum(1), (share * x * x).sum(1)], 1)


def detection_head() -> nn.Sequential:
    """The statistics of a confidence and a localization map to one logit."""
    return nn.Sequential(nn.Linear(8, 128), nn.ReLU(), nn.Dropout(), nn.Linear(128, 1))


def pooled(logits: Tensor, confidence: Tensor) -> Tensor:
    """The input (B, 8) of `detection_head`. logits: (B, 2, H, W); confidence: logits (B, 1, H, W)."""
    difference = logits[:, 1:] - logits[:, :1]
    weighted = weighted_statistics(difference, F.logsigmoid(confidence))
    return torch.cat([weighted_statistics(confidence), weighted], 1)
