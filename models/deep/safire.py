"""SAFIRE: Segment Anything that answers a point with the region of the same origin, asked over a grid of points."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models import WeightFile, register
from models.deep.parts.imagenet import normalized_square
from models.deep.parts.sam import PATCH, MaskDecoder, PromptEncoder, Sizes, encoder_blocks, neck
from models.deep.parts.vit import PatchEmbed
from models.device import Device
from models.image import ForensicImage, ScoreMap
from models.network import NetworkLocalizer, Weights, to_array

VIT_B = Sizes(width=768, depth=12, heads=12, whole=(2, 5, 8, 11))
REDUCTION = 4  # of the adaptor's width
LOW = 0.25  # share of the spectrum, around the constant, that the high-pass filter takes away
POINTS_PER_SIDE = 16
POINTS_AT_ONCE = 8  # 30 MB each
ROUNDS, TOLERANCE = 1000, 1e-4  # of the clustering


class SAFIRE(nn.Module):
    """Segment Anything with an adaptor for forensic traces in its image encoder.

    points_per_side: of the grid of points that the localizer asks about.
    """

    def __init__(self, sizes: Sizes = VIT_B, points_per_side: int = POINTS_PER_SIDE):
        super().__init__()
        self.input_size = sizes.input_size
        self.points_per_side = points_per_side
        self.image_encoder = AdaptedEncoder(sizes)
        self.mask_decoder = MaskDecoder(sizes)
        self.prompt_encoder = PromptEncoder(sizes)

    @classmethod
    def tiny(cls) -> SAFIRE:
        sizes = Sizes(
            width=24,
            depth=2,
            heads=2,
            whole=(1,),
            input_size=64,
            window=3,
            channels=16,
            decoder_heads=2,
            decoder_hidden=12,
        )
        return cls(sizes, points_per_side=4)

    def forward(self, x: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """Mask logits (P, 256, 256) and estimated IoU (P,) for each point, of (1, 3, 1024, 1024) normalized.

        points: (P, 2) of x and y in pixels of the input.
        """
        return self.masks(self.image_encoder(x), points)

    def masks(self, features: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """The same from the image encoder's (1, 256, 64, 64)."""
        tokens, dense = self.prompt_encoder(points)
        masks, iou = self.mask_decoder(features, self.prompt_encoder.map_positions(), tokens, dense)
        return masks[:, 0], iou[:, 0]


class AdaptedEncoder(nn.Module):
    """SAM's image encoder; before each block, and once after the last, an adaptor's token is added to every token.

    The adaptor sees the embedded patches and, in patches that overlap, the high frequencies of the image. Its layers
    before each block are their own, the projection to the transformer's width is shared.
    """

    def __init__(self, sizes: Sizes):
        super().__init__()
        width = sizes.width
        narrow = width // REDUCTION
        self.pos_embed = nn.Parameter(torch.zeros(1, sizes.side, sizes.side, width))
        self.patch_embed = PatchEmbed(width, PATCH)
        self.hfp_overlap_patch_embed = PatchEmbed(width, 2 * PATCH, PATCH, PATCH // 2)
        self.adaptor_patch_embed_tune = nn.Linear(width, narrow)
        self.hfp_patch_embed_tune = nn.Linear(width, narrow)
        self.blocks = encoder_blocks(sizes)
        self.adaptor_shared_up_projection_layer = nn.Linear(narrow, width)
        self.adaptor_blocks = nn.ModuleList(_adaptor(narrow) for _ in range(sizes.depth))
        self.adaptor_final_block = _adaptor(narrow)
        self.neck = neck(width, sizes.channels)

    def forward(self, x: Tensor) -> Tensor:
        detail = self.hfp_patch_embed_tune(self.hfp_overlap_patch_embed(high_pass(x)))
        x = self.patch_embed(x) + self.pos_embed
        seen = self.adaptor_patch_embed_tune(x) + detail
        for adaptor, block in zip(self.adaptor_blocks, self.blocks, strict=True):
            x = block(x + self.adaptor_shared_up_projection_layer(adaptor(seen)))
        x = x + self.adaptor_shared_up_projection_layer(self.adaptor_final_block(seen))
        return self.neck(x.permute(0, 3, 1, 2))


def _adaptor(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, width), nn.GELU())


def high_pass(x: Tensor) -> Tensor:
    """Magnitude of (B, C, N, N) without its frequencies from -f to f - 1 along both axes, f = N sqrt(LOW) / 2."""
    side = x.shape[-1]
    limit = int(side * LOW**0.5 // 2)
    frequency = torch.fft.fftfreq(side, 1 / side, device=x.device).round()
    low = (frequency >= -limit) & (frequency < limit)
    return torch.fft.ifft2(torch.fft.fft2(x).masked_fill(low[:, None] & low, 0)).real.abs()


class PointMasks(NamedTuple):
    """The mask of each point.

    logits: (P, 256, 256). iou: (P,), the network's estimate. area: (P,) pixels of 1024 x 1024 inside the mask.
    feature: (P, 256), the image encoder's mean inside the mask, NaN where none of its positions is.
    """

    logits: Tensor
    iou: Tensor
    area: Tensor
    feature: Tensor


def point_grid(points_per_side: int, side: int) -> Tensor:
    """(P, 2) of x and y in pixels of an input of this side, row by row, half a step away from its margins."""
    centres = (torch.arange(points_per_side) + 0.5) * (side / points_per_side)
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    return torch.stack([x.flatten(), y.flatten()], 1)


def ask(network: SAFIRE, features: Tensor, points: Tensor) -> PointMasks:
    """The masks of all points, some at a time."""
    parts = []
    for some in points.to(features.device).split(POINTS_AT_ONCE):
        logits, iou = network.masks(features, some)
        inside = enlarged(logits, network.input_size) > 0
        at_positions = inside[:, ::PATCH, ::PATCH].flatten(1).to(features.dtype)  # the nearest pixel, as the authors'
        feature = at_positions @ features[0].flatten(1).T / at_positions.sum(1, keepdim=True)
        parts.append((logits, iou, inside.sum((1, 2)), feature))
    return PointMasks(*(torch.cat(column).float().cpu() for column in zip(*parts, strict=True)))


def enlarged(logits: Tensor, side: int) -> Tensor:
    """(P, 256, 256) to (P, side, side), bilinear."""
    return F.interpolate(logits[None], (side, side), mode="bilinear", align_corners=False)[0]


def clusters(points: Tensor, count: int, seed: int) -> Tensor:
    """k-means of (N, D) by angle: int64 (N,), 0 .. count - 1; the first centres are drawn with `seed`.

    The authors draw them without a seed, so that their map of an image is not always the same. Centres are means of
    points of any length. It ends where a cluster is empty; fewer points than clusters are all in cluster 0.
    """
    if len(points) < count:
        return torch.zeros(len(points), dtype=torch.int64)
    centres = points[np.random.default_rng(seed).choice(len(points), count, replace=False)]
    for _ in range(ROUNDS):
        labels = (1 - F.normalize(points, dim=1) @ F.normalize(centres, dim=1).T).argmin(1)
        if len(labels.unique()) < count:
            break
        previous, centres = centres, torch.stack([points[labels == label].mean(0) for label in range(count)])
        if (centres - previous).norm(dim=1).sum() ** 2 < TOLERANCE:
            break
    return labels


def best_of_each(masks: PointMasks, count: int, seed: int) -> tuple[list[int], np.ndarray]:
    """Index of the mask with the largest estimated IoU of each of at most `count` clusters, and int8 (P,) labels.

    A label is the place of its cluster among the indices; -1 for a mask that covers no position of the features and
    is left out (if all are such, none is).
    """
    iou, usable = masks.iou.numpy(), ~masks.feature.isnan().any(1)
    if not usable.any():
        return [int(iou.argmax())], np.zeros(len(iou), np.int8)
    found = clusters(masks.feature[usable], count, seed).numpy()
    labels = np.full(len(iou), -1, np.int8)
    _, labels[usable.numpy()] = np.unique(found, return_inverse=True)
    members = (np.flatnonzero(labels == label) for label in range(labels.max() + 1))
    return [int(max(own, key=iou.__getitem__)) for own in members], labels


def forged_and_other(masks: PointMasks, seed: int) -> tuple[list[int], np.ndarray]:
    """`best_of_each` of two clusters, that whose best mask is smaller first: it is the forged one. So is one alone."""
    best, labels = best_of_each(masks, 2, seed)
    if len(best) == 2 and masks.area[best[0]] > masks.area[best[1]]:
        best.reverse()
        labels = np.where(labels >= 0, 1 - labels, labels).astype(np.int8)
    return best, labels


def partition(masks: PointMasks, count: int, seed: int, side: int) -> np.ndarray:
    """Which of at most `count` sources each pixel comes from, uint8 (side, side): the one with the largest logit.

    Sources are numbered by the first of the points, row by row, that has its best mask.
    """
    best, _ = best_of_each(masks, count, seed)
    return enlarged(masks.logits[sorted(best)], side).argmax(0).to(torch.uint8).numpy()


@register(
    "safire",
    title="SAFIRE, the authors' model, binary localization",
    paper="Kwon et al., SAFIRE: Segment Any Forged Image Region, AAAI 2025",
    year=2025,
    summary="Segment Anything with a high-pass adaptor; masks of 16 x 16 points, clustered by what they cover",
    licence="none stated by the authors (code and weights)",
    groups=("deep",),
    trained_on=("casia2", "imd2020", "fantasticreality", "tampcoco"),
    weights=(
        WeightFile(
            "safire.pth",
            "https://drive.google.com/drive/folders/1NRxep2G42OnVwCR9sGdf1iPqhCUrGmv2",
            "none stated by the authors",
        ),
    ),
)
class SAFIRELocalizer(NetworkLocalizer):
    """Mean of the forged region's probability and of that of not being in the other, of the photo at 1024 x 1024.

    seed: of the clustering. sources: into how many the photo is partitioned at most (the authors' multi-source
    inference by k-means, whose default is 3; the number is not estimated). Extras: `point_iou` float32 and
    `point_cluster` int8, both (16, 16), as `forged_and_other` describes them; `iou` of the one or two masks that make
    the map, and `clusters`, the number of masks in each; `sources` uint8 (H, W), see `partition`.
    """

    make_network = SAFIRE

    def __init__(
        self,
        weights: Weights = None,
        device: str | Device | torch.device = "cpu",
        precision: str = "float32",
        memory_gb: float | None = None,
        seed: int = 0,
        sources: int = 3,
    ):
        super().__init__(weights, device, precision, memory_gb)
        self.seed = seed
        self.sources = sources

    def preprocess(self, image: ForensicImage) -> Tensor:
        return normalized_square(image.rgb, self.network.input_size)

    def forward(self, x: Tensor, tiling: None = None) -> PointMasks:
        points = point_grid(self.network.points_per_side, self.network.input_size)
        return ask(self.network, self.network.image_encoder(x), points)

    def postprocess(self, output: PointMasks, image: ForensicImage) -> ScoreMap:
        side, grid = self.network.input_size, (self.network.points_per_side,) * 2
        best, labels = forged_and_other(output, self.seed)
        forged, *other = enlarged(output.logits[best], side).sigmoid()
        probability = (forged + 1 - other[0]) / 2 if other else forged
        sources = partition(output, self.sources, self.seed, side)
        extras = {
            "point_iou": output.iou.numpy().reshape(grid),
            "point_cluster": labels.reshape(grid),
            "iou": [float(output.iou[i]) for i in best],
            "clusters": [int((labels == label).sum()) for label in (0, 1)],
            "sources": cv2.resize(sources, image.shape[::-1], interpolation=cv2.INTER_NEAREST),
        }
        return ScoreMap(to_array(probability), "probability", extras=extras)
