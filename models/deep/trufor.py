"""TruFor: pixels and Noiseprint++ through two transformers, with a confidence map and a detection score."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from models import WeightFile, register
from models.deep.localizer import NativeSizeLocalizer, NetworkLocalizer
from models.deep.parts.cmx import DualTransformer, detection_head, pooled
from models.deep.parts.dncnn import in_patches, noiseprint_plus
from models.deep.parts.imagenet import normalized
from models.deep.parts.mit import SMALLEST, WIDTHS, SegFormerHead, enlarge, patch_embed
from models.deep.parts.padding import at_least
from models.image import ForensicImage, ScoreMap
from models.memory import GB, Cost

EMBEDDING = 512
PAGE = "https://www.grip.unina.it/download/prog/TruFor/TruFor_weights.zip"
LICENCE = "GRIP-UNINA, non-profit research only"


class Found(NamedTuple):
    """What the network says of a batch: logits (B, 2, H, W) of authentic and forged, logits (B, 1, H, W) of the
    confidence in them, logit (B, 1) of the image being forged, Noiseprint++ (B, 1, H, W)."""

    logits: Tensor
    confidence: Tensor
    detection: Tensor
    noiseprint: Tensor


class Backbone(DualTransformer):
    """The extra branch has embeddings of the same form as the first."""

    def __init__(self):
        super().__init__({f"extra_patch_embed{stage + 1}": patch_embed(stage) for stage in range(4)})

    def embed_extra(self, stage: int, x: Tensor) -> Tensor:
        return getattr(self, f"extra_patch_embed{stage + 1}")(x)[0]


def head(classes: int, eps: float) -> SegFormerHead:
    """eps: of its batch normalization, which differs between the released network's two heads."""
    fuse = nn.Sequential(
        nn.Conv2d(4 * EMBEDDING, EMBEDDING, 1), nn.BatchNorm2d(EMBEDDING, eps=eps), nn.ReLU(inplace=True)
    )
    return SegFormerHead(WIDTHS, EMBEDDING, classes, fuse)


class TruFor(nn.Module):
    """Any height and width from 32 up."""

    def __init__(self):
        super().__init__()
        self.backbone = Backbone()
        self.decode_head = head(2, eps=1e-3)
        self.decode_head_conf = head(1, eps=1e-5)
        self.detection = detection_head()
        self.dncnn = noiseprint_plus()

    def forward(self, rgb: Tensor) -> Found:
        """rgb: (B, 3, H, W), the 8-bit values divided by 256."""
        noiseprint = in_patches(self.dncnn, rgb)
        features = self.backbone(normalized(rgb), noiseprint.expand(-1, 3, -1, -1))
        logits, confidence = (
            enlarge(head(features), rgb.shape[2:]) for head in (self.decode_head, self.decode_head_conf)
        )
        return Found(logits, confidence, self.detection(pooled(logits, confidence)), noiseprint)


@register(
    "trufor",
    title="TruFor, the authors' network",
    paper="Guillaro et al., TruFor: Leveraging All-Round Clues for Trustworthy Image Forgery Detection and "
    "Localization, CVPR 2023",
    year=2023,
    summary="RGB and a learned camera noise pattern (Noiseprint++) fused by a transformer; tells where its map may be "
    "trusted and how likely the whole image is forged",
    licence=LICENCE,
    groups=("deep",),
    trained_on=("casia2", "imd2020", "fantasticreality", "tampcoco", "compraise"),
    weights=(WeightFile("trufor.pth.tar", f"{PAGE} (MD5 of the zip: 7bee48f3476c75616c3c5721ab256ff8)", LICENCE),),
)
class TruForLocalizer(NativeSizeLocalizer, NetworkLocalizer):
    """Probability of forgery at native size. image_score: the network's own. extras: "confidence" 0..1 float32 (H, W)
    in the map, "noiseprint" float32 (H, W), "padded" where a side below 32 pixels was extended by repeating the edge,
    and those of `Decision`.

    Its transformers attend over the whole image, so no tiles would give the same. What can be computed part by part is:
    an image of 12 megapixels took 1.9 GB besides the weights, and 19 minutes of one busy CPU core. One that does not
    fit into memory is an error.
    """

    make_network = TruFor
    cost = Cost(per_pixel=180, fixed=0.6 * GB)
    tiling = None

    def localize(self, image: ForensicImage) -> ScoreMap:
        height, width = image.shape
        rgb = at_least(image.rgb, SMALLEST)
        _, decided = self.decide(*rgb.shape[:2])
        x = torch.from_numpy(rgb.astype(np.float32) / 256).permute(2, 0, 1)[None].to(self._device)
        with torch.inference_mode():
            found = self.network(x)
            maps = (found.logits.softmax(1)[0, 1], found.confidence.sigmoid()[0, 0], found.noiseprint[0, 0])
            forged, confidence, noiseprint = (m[:height, :width].contiguous().cpu().numpy() for m in maps)
            score = found.detection.sigmoid().item()
        extras = {"confidence": confidence, "noiseprint": noiseprint, "padded": rgb.shape[:2] != image.shape}
        extras |= decided
        return ScoreMap(forged, "probability", image_score=score, extras=extras)
