"""MMFusion: pixels and three mixed noise views through two transformers ("early fusion" with detection)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

import cv2
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models import WeightFile, register
from models.checkpoint import load_strictly, read_checkpoint, registered_file
from models.deep.parts import dncnn
from models.deep.parts.cmx import DualTransformer, detection_head, pooled
from models.deep.parts.imagenet import normalized
from models.deep.parts.mit import (
    B2,
    SMALLEST,
    TINY,
    ConvNorm,
    SegFormerHead,
    Variant,
    enlarge,
    reorder,
    to_tokens,
)
from models.deep.parts.modalities import ModalitiesExtractor, ModalMixer
from models.deep.parts.padding import at_least
from models.image import ForensicImage, ScoreMap
from models.memory import GB, Cost, MemoryPolicy
from models.network import NetworkLocalizer, to_array, to_tensor, without_memory

EMBEDDING = 512
LARGEST = 2048
NORM_EPS = 1e-3
LICENCE = "academic, non-commercial use only"
CHECKPOINT_KEYS = ("state_dict", "extractor_state_dict")


class NetworkOutput(NamedTuple):
    """What the network says of a batch.

    Logits (B, 2, H, W) of authentic and forged, logits (B, 1, H, W) of the confidence in them, logit (B, 1) of the
    image being forged.
    """

    logits: Tensor
    confidence: Tensor
    detection: Tensor


class Wrapped(nn.Module):
    """A module under the name `module`, as in the released checkpoint."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module


class ChannelNorms(nn.Module):
    """Layer normalization over channels of a map, under the name `ln_0`, as in the released checkpoint."""

    def __init__(self, width: int):
        super().__init__()
        self.ln_0 = nn.Module()
        self.ln_0.weight = nn.Parameter(torch.ones(width))
        self.ln_0.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        tokens = F.layer_norm(x.movedim(1, 3), x.shape[1:2], self.ln_0.weight, self.ln_0.bias, 1e-6)
        return tokens.movedim(3, 1)


class ExtraEmbed(nn.Module):
    """Patch embedding of the noise branch: a map to a map."""

    def __init__(self, stage: int, variant: Variant):
        super().__init__()
        self.proj = Wrapped(variant.patch_embed(stage).proj)
        self.norm = ChannelNorms(variant.widths[stage])

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.proj.module(x))


class Backbone(DualTransformer):
    """The extra branch mixes three views to one and carries its embeddings around the transformer layers."""

    def __init__(self, variant: Variant):
        embeds = nn.ModuleList(ExtraEmbed(stage, variant) for stage in range(4))
        super().__init__({"extra_downsample_layers": embeds, "modal_mix": ModalMixer()}, variant)

    def forward(self, rgb: Tensor, views: list[Tensor]) -> list[Tensor]:
        return super().forward(rgb, self.modal_mix(views))

    def embed_extra(self, stage: int, x: Tensor) -> Tensor:
        return to_tokens(self.extra_downsample_layers[stage](x))

    def after_stage(self, embedded: Tensor, rectified: Tensor) -> Tensor:
        # The released code reads the memory of the map (C, H, W) as (H, W, C) here; its weights expect that.
        batch, width, *size = rectified.shape
        channels_first = embedded.transpose(1, 2)
        return channels_first.reshape(batch, *size, width).movedim(3, 1) + rectified


def head(classes: int, variant: Variant, embedding: int) -> SegFormerHead:
    """A SegFormer head whose parts are in the order of the authors' checkpoint."""
    made = SegFormerHead(variant.widths, embedding, classes, ConvNorm(4 * embedding, embedding))
    reorder(made, ("linear_c1", "linear_c2", "linear_c3", "linear_c4", "linear_fuse", "linear_pred"))
    return made


class MMFusion(nn.Module):
    """Any height and width from 32 up."""

    def __init__(self, variant: Variant = B2, embedding: int = EMBEDDING):
        super().__init__()
        self.backbone = Backbone(variant)
        self.decode_head = head(2, variant, embedding)
        self.conf_head = head(1, variant, embedding)
        self.detection = detection_head()
        for module in self.modules():
            if isinstance(module, nn.LayerNorm | nn.BatchNorm2d):
                module.eps = NORM_EPS

    def forward(self, rgb: Tensor, views: list[Tensor]) -> NetworkOutput:
        """rgb: (B, 3, H, W) of 8-bit values divided by 256. views: what `ModalitiesExtractor` makes of it."""
        features = self.backbone(normalized(rgb), views)
        logits, confidence = (enlarge(h(features), rgb.shape[2:]) for h in (self.decode_head, self.conf_head))
        return NetworkOutput(logits, confidence, self.detection(pooled(logits, confidence)))


def limited_size(height: int, width: int) -> tuple[int, int]:
    """Of an image with a side above 2048 pixels, the size at which its longer side is 2048."""
    longest = max(height, width)
    if longest <= LARGEST:
        return height, width
    factor = LARGEST / longest
    return round(height * factor), round(width * factor)


class MMFusionWithViews(nn.Module):
    """The network and the extractor of its views, in the order of CHECKPOINT_KEYS."""

    def __init__(self, variant: Variant = B2, embedding: int = EMBEDDING, noise_width: int = dncnn.WIDTH):
        super().__init__()
        self.fusion = MMFusion(variant, embedding)
        self.extractor = ModalitiesExtractor(noise_width)

    @classmethod
    def tiny(cls) -> MMFusionWithViews:
        return cls(TINY, embedding=8, noise_width=4)

    def forward(self, rgb: Tensor) -> NetworkOutput:
        """rgb: (B, 3, H, W) of 8-bit values divided by 256."""
        return self.fusion(rgb, self.extractor(rgb))


@register(
    "mmfusion",
    title="MMFusion, the authors' early fusion network with detection",
    paper="Triaridis and Mezaris, Exploring Multi-Modal Fusion for Image Manipulation Detection and Localization, "
    "MMM 2024",
    year=2024,
    summary="RGB beside Noiseprint++, a constrained convolution and SRM residuals, mixed early; tells where its map "
    "may be trusted and how likely the whole image is forged",
    licence=LICENCE,
    groups=("deep",),
    trained_on=("casia2", "imd2020", "fantasticreality", "tampcoco", "compraise"),
    weights=(
        WeightFile(
            "early_fusion_detection.pth",
            "https://drive.google.com/drive/folders/1P1efXjVmYltZ7zWT-m6WoIlZgh9R_kAg",
            LICENCE,
        ),
    ),
)
class MMFusionLocalizer(NetworkLocalizer):
    """Probability of forgery at native size, or at a longer side of 2048 pixels if that is less.

    Its transformers attend over the whole image, so no tiles would give the same (with random weights, on a photo of
    1408 x 1600 pixels, maps from tiles of 1280 had a correlation of .19 with that of the whole). What can be computed
    part by part is; an image that does not fit into memory is an error.

    weights: the authors' file, or a mapping with its two state dicts, "state_dict" and "extractor_state_dict".
    image_score: the network's own. extras: "confidence" 0..1 float32 (H, W) in the map, "shrunk" where the photo was
    above 2048 pixels, "padded" where a side below 32 pixels was extended by repeating the edge, and those of
    `Decision`.
    """

    make_network = MMFusionWithViews
    memory = MemoryPolicy(Cost(per_pixel=200, fixed=1.0 * GB))

    def load(self, weights: str | os.PathLike | Mapping[str, Mapping[str, Tensor]] | None) -> tuple[nn.Module, str]:
        given = registered_file(self.card) if weights is None else weights
        network, digests = without_memory(self.make_network), []
        for part, key in zip(network.children(), CHECKPOINT_KEYS, strict=True):
            checkpoint = read_checkpoint(given, key)
            load_strictly(part, checkpoint)
            digests.append(checkpoint.digest)
        return network, " ".join(dict.fromkeys(digests))

    def preprocess(self, image: ForensicImage) -> Tensor:
        size = limited_size(*image.shape)
        rgb = image.rgb if size == image.shape else cv2.resize(image.rgb, size[::-1], interpolation=cv2.INTER_LINEAR)
        return to_tensor(at_least(rgb, SMALLEST), 256)

    def postprocess(self, output: NetworkOutput, image: ForensicImage) -> ScoreMap:
        small = limited_size(*image.shape)
        maps = output.logits.softmax(1)[0, 1], output.confidence.sigmoid()[0, 0]
        forged, confidence = (to_array(m[: small[0], : small[1]]) for m in maps)
        extras = {
            "confidence": cv2.resize(confidence, image.shape[::-1], interpolation=cv2.INTER_LINEAR),
            "shrunk": small != image.shape,
            "padded": min(small) < SMALLEST,
        }
        return ScoreMap(forged, "probability", output.detection.sigmoid().item(), extras)
