"""TruFor: pixels and Noiseprint++ through two transformers, with a confidence map and a detection score."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from models import WeightFile, register
from models.deep.parts import dncnn
from models.deep.parts.cmx import DualTransformer, detection_head, pooled
from models.deep.parts.imagenet import normalized
from models.deep.parts.mit import B2, SMALLEST, TINY, SegFormerHead, Variant, enlarge
from models.deep.parts.padding import at_least
from models.image import ForensicImage, ScoreMap
from models.memory import GB, Cost, MemoryPolicy
from models.network import NetworkLocalizer, to_array, to_tensor

EMBEDDING = 512
PAGE = "https://www.grip.unina.it/download/prog/TruFor/TruFor_weights.zip"
LICENCE = "GRIP-UNINA, non-profit research only"


class NetworkOutput(NamedTuple):
    """What the network says of a batch.

    Logits (B, 2, H, W) of authentic and forged, logits (B, 1, H, W) of the confidence in them, logit (B, 1) of the
    image being forged, Noiseprint++ (B, 1, H, W).
    """

    logits: Tensor
    confidence: Tensor
    detection: Tensor
    noiseprint: Tensor


class Backbone(DualTransformer):
    """The extra branch has embeddings of the same form as the first."""

    def __init__(self, variant: Variant):
        super().__init__({f"extra_patch_embed{stage + 1}": variant.patch_embed(stage) for stage in range(4)}, variant)

    def embed_extra(self, stage: int, x: Tensor) -> Tensor:
        return getattr(self, f"extra_patch_embed{stage + 1}")(x)[0]


def head(classes: int, eps: float, variant: Variant, embedding: int) -> SegFormerHead:
    """eps: of its batch normalization, which differs between the released network's two heads."""
    fuse = nn.Sequential(
        nn.Conv2d(4 * embedding, embedding, 1), nn.BatchNorm2d(embedding, eps=eps), nn.ReLU(inplace=True)
    )
    return SegFormerHead(variant.widths, embedding, classes, fuse)


class TruFor(nn.Module):
    """Any height and width from 32 up. noise_width: of the network for Noiseprint++."""

    def __init__(self, variant: Variant = B2, embedding: int = EMBEDDING, noise_width: int = dncnn.WIDTH):
        super().__init__()
        self.backbone = Backbone(variant)
        self.decode_head = head(2, 1e-3, variant, embedding)
        self.decode_head_conf = head(1, 1e-5, variant, embedding)
        self.detection = detection_head()
        self.dncnn = dncnn.noiseprint_plus(noise_width)

    @classmethod
    def tiny(cls) -> TruFor:
        return cls(TINY, embedding=8, noise_width=4)

    def forward(self, rgb: Tensor) -> NetworkOutput:
        """rgb: (B, 3, H, W), the 8-bit values divided by 256."""
        noiseprint = dncnn.in_patches(self.dncnn, rgb)
        features = self.backbone(normalized(rgb), noiseprint.expand(-1, 3, -1, -1))
        logits, confidence = (
            enlarge(head(features), rgb.shape[2:]) for head in (self.decode_head, self.decode_head_conf)
        )
        return NetworkOutput(logits, confidence, self.detection(pooled(logits, confidence)), noiseprint)


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
class TruForLocalizer(NetworkLocalizer):
    """Probability of forgery at native size; image_score: the network's own.

    extras: "confidence" 0..1 float32 (H, W) in the map, "noiseprint" float32 (H, W), "padded" where a side below 32
    pixels was extended by repeating the edge, and those of `Decision`.

    Its transformers attend over the whole image, so no tiles would give the same. What can be computed part by part is:
    an image of 12 megapixels took 1.9 GB besides the weights, and 19 minutes of one busy CPU core. One that does not
    fit into memory is an error.
    """

    make_network = TruFor
    memory = MemoryPolicy(Cost(per_pixel=180, fixed=0.6 * GB))

    def preprocess(self, image: ForensicImage) -> Tensor:
        return to_tensor(at_least(image.rgb, SMALLEST), 256)

    def postprocess(self, output: NetworkOutput, image: ForensicImage) -> ScoreMap:
        height, width = image.shape
        maps = (output.logits.softmax(1)[0, 1], output.confidence.sigmoid()[0, 0], output.noiseprint[0, 0])
        forged, confidence, noiseprint = (to_array(m[:height, :width]) for m in maps)
        extras = {"confidence": confidence, "noiseprint": noiseprint, "padded": min(image.shape) < SMALLEST}
        return ScoreMap(forged, "probability", output.detection.sigmoid().item(), extras)
