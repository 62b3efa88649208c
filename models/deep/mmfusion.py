"""MMFusion: pixels and three mixed noise views through two transformers ("early fusion" with detection)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models import Localizer, WeightFile, register
from models.checkpoint import load_strictly, read_checkpoint, registered_file
from models.deep.localizer import NativeSizeLocalizer
from models.deep.parts.cmx import DualTransformer, detection_head, pooled
from models.deep.parts.imagenet import normalized
from models.deep.parts.mit import (
    SMALLEST,
    WIDTHS,
    ConvNorm,
    SegFormerHead,
    enlarge,
    patch_embed,
    reorder,
    to_tokens,
)
from models.deep.parts.modalities import ModalitiesExtractor, ModalMixer
from models.deep.parts.padding import at_least
from models.device import compute_device
from models.image import ForensicImage, ScoreMap
from models.memory import GB, Cost

EMBEDDING = 512
LARGEST = 2048
NORM_EPS = 1e-3
LICENCE = "academic, non-commercial use only"
MODEL_KEY, EXTRACTOR_KEY = "state_dict", "extractor_state_dict"


class Found(NamedTuple):
    """What the network says of a batch: logits (B, 2, H, W) of authentic and forged, logits (B, 1, H, W) of the
    confidence in them, logit (B, 1) of the image being forged."""

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

    def __init__(self, stage: int):
        super().__init__()
        self.proj = Wrapped(patch_embed(stage).proj)
        self.norm = ChannelNorms(WIDTHS[stage])

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.proj.module(x))


class Backbone(DualTransformer):
    """The extra branch mixes three views to one and carries its embeddings around the transformer layers."""

    def __init__(self):
        embeds = nn.ModuleList(ExtraEmbed(stage) for stage in range(4))
        super().__init__({"extra_downsample_layers": embeds, "modal_mix": ModalMixer()})

    def forward(self, rgb: Tensor, views: list[Tensor]) -> list[Tensor]:
        return super().forward(rgb, self.modal_mix(views))

    def embed_extra(self, stage: int, x: Tensor) -> Tensor:
        return to_tokens(self.extra_downsample_layers[stage](x))

    def after_stage(self, embedded: Tensor, rectified: Tensor) -> Tensor:
        # The released code reads the memory of the map (C, H, W) as (H, W, C) here; its weights expect that.
        batch, width, *size = rectified.shape
        channels_first = embedded.transpose(1, 2)
        return channels_first.reshape(batch, *size, width).movedim(3, 1) + rectified


def head(classes: int) -> SegFormerHead:
    made = SegFormerHead(WIDTHS, EMBEDDING, classes, ConvNorm(4 * EMBEDDING, EMBEDDING))
    reorder(made, ("linear_c1", "linear_c2", "linear_c3", "linear_c4", "linear_fuse", "linear_pred"))
    return made


class MMFusion(nn.Module):
    """Any height and width from 32 up."""

    def __init__(self):
        super().__init__()
        self.backbone = Backbone()
        self.decode_head = head(2)
        self.conf_head = head(1)
        self.detection = detection_head()
        for module in self.modules():
            if isinstance(module, nn.LayerNorm | nn.BatchNorm2d):
                module.eps = NORM_EPS

    def forward(self, rgb: Tensor, views: list[Tensor]) -> Found:
        """rgb: (B, 3, H, W) of 8-bit values divided by 256. views: what `ModalitiesExtractor` makes of it."""
        features = self.backbone(normalized(rgb), views)
        logits, confidence = (enlarge(h(features), rgb.shape[2:]) for h in (self.decode_head, self.conf_head))
        return Found(logits, confidence, self.detection(pooled(logits, confidence)))


def limited(rgb: np.ndarray) -> np.ndarray:
    """An image with a side above 2048 pixels, shrunk (bilinear) so that its longer side is 2048."""
    longest = max(rgb.shape[:2])
    if longest <= LARGEST:
        return rgb
    height, width = (round(n * (LARGEST / longest)) for n in rgb.shape[:2])
    return cv2.resize(rgb, (width, height), interpolation=cv2.INTER_LINEAR)


class BothNetworks(Localizer):
    """Loads the network and the extractor of its views from one file, each with its own state dict."""

    def __init__(
        self,
        weights: str | os.PathLike | Mapping[str, Mapping[str, Tensor]] | None = None,
        device: str = "cpu",
    ):
        self._device = compute_device(device)
        given = registered_file(self.card) if weights is None else weights
        loaded = []
        for make, key in ((MMFusion, MODEL_KEY), (ModalitiesExtractor, EXTRACTOR_KEY)):
            checkpoint = read_checkpoint(given, key)
            with torch.device("meta"):
                network = make()
            load_strictly(network, checkpoint)
            loaded.append((network.to(self._device).eval(), checkpoint.digest))
        (self.network, first), (self.extractor, second) = loaded
        self.weights_digest = first if first == second else f"{first} {second}"


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
class MMFusionLocalizer(NativeSizeLocalizer, BothNetworks):
    """Probability of forgery at native size, or at a longer side of 2048 pixels if that is less.

    Its transformers attend over the whole image, so no tiles would give the same (with random weights, on a photo of
    1408 x 1600 pixels, maps from tiles of 1280 had a correlation of .19 with that of the whole). What can be computed
    part by part is; an image that does not fit into memory is an error.

    weights: the authors' file, or a mapping with its two state dicts, "state_dict" and "extractor_state_dict".
    image_score: the network's own. extras: "confidence" 0..1 float32 (H, W) in the map, "shrunk" where the photo was
    above 2048 pixels, "padded" where a side below 32 pixels was extended by repeating the edge, and those of
    `Decision`.
    """

    cost = Cost(per_pixel=200, fixed=1.0 * GB)
    tiling = None

    def localize(self, image: ForensicImage) -> ScoreMap:
        small = limited(image.rgb)
        height, width = small.shape[:2]
        rgb = at_least(small, SMALLEST)
        _, extras = self.decide(*rgb.shape[:2])
        x = torch.from_numpy(rgb.astype(np.float32) / 256).permute(2, 0, 1)[None].to(self._device)
        with torch.inference_mode():
            found = self.network(x, self.extractor(x))
            maps = found.logits.softmax(1)[0, 1], found.confidence.sigmoid()[0, 0]
            forged, confidence = (m[:height, :width].contiguous().cpu().numpy() for m in maps)
            score = found.detection.sigmoid().item()
        at_size = cv2.resize(confidence, image.shape[::-1], interpolation=cv2.INTER_LINEAR)
        extras |= {
            "confidence": at_size,
            "shrunk": small.shape != image.rgb.shape,
            "padded": rgb.shape != small.shape,
        }
        return ScoreMap(forged, "probability", image_score=score, extras=extras).resized(*image.shape)
