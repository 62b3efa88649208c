"""FOCAL: pixel embeddings trained by contrast within one image, clustered into two anew for every image."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models import WeightFile, register
from models.deep.composite import CompositeLocalizer
from models.deep.parts.hrnet import HRNet
from models.deep.parts.sam import ImageEncoder, MaskDecoder, PromptEncoder, Sizes
from models.image import ForensicImage, ScoreMap
from models.network import NetworkLocalizer, square_tensor

INPUT_SIZE = 1024
WIDTHS = (32, 64, 128, 256)
VIT_L = Sizes(width=1024, depth=24, heads=16, whole=(5, 11, 17, 23))
UNUSED_OUTPUTS = 17  # of the pose estimation network that the backbone was taken from
# Those of torch_kmeans 0.2.0, which the authors use, and its default seed.
RESTARTS, ROUNDS, TOLERANCE, SEED = 8, 100, 1e-4, 123


class PoseHRNet(HRNet):
    """HRNet-W32 as released for pose estimation; yields its finest branch (B, 32, H/4, W/4)."""

    def __init__(self, widths: tuple[int, ...]):
        super().__init__(widths, modules=(1, 4, 3), blocks=4, enlarge="nearest", outputs=1)
        self.final_layer = nn.Conv2d(widths[0], UNUSED_OUTPUTS, 1)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)[0]


class FOCALHRNet(nn.Module):
    """Features (B, 32, H/4, W/4) of (B, 3, H, W) in 0..1.

    input_size: of the squares that the localizer resizes photos to.
    """

    def __init__(self, widths: tuple[int, ...] = WIDTHS, input_size: int = INPUT_SIZE):
        super().__init__()
        self.input_size = input_size
        self.net = PoseHRNet(widths)

    @classmethod
    def tiny(cls) -> FOCALHRNet:
        return cls((4, 6, 8, 10), input_size=64)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class SAM(nn.Module):
    """Segment Anything with the large transformer. The prompts and the mask decoder are in the checkpoint only."""

    def __init__(self, sizes: Sizes):
        super().__init__()
        self.image_encoder = ImageEncoder(sizes)
        self.prompt_encoder = PromptEncoder(sizes)
        self.mask_decoder = MaskDecoder(sizes)

    def forward(self, x: Tensor) -> Tensor:
        return self.image_encoder(x)


class FOCALViT(nn.Module):
    """Features (B, 256, 64, 64) of (B, 3, 1024, 1024) in 0..1."""

    def __init__(self, sizes: Sizes = VIT_L):
        super().__init__()
        self.input_size = sizes.input_size
        self.net = SAM(sizes)

    @classmethod
    def tiny(cls) -> FOCALViT:
        sizes = Sizes(width=16, depth=2, heads=2, whole=(1,), input_size=64, window=3, channels=8, decoder_hidden=8)
        return cls(sizes)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class FOCAL(nn.Module):
    """Both extractors; children in the order of the authors' files."""

    def __init__(self, vit: FOCALViT | None = None, hrnet: FOCALHRNet | None = None):
        super().__init__()
        self.vit = vit or FOCALViT()
        self.hrnet = hrnet or FOCALHRNet()
        self.input_size = self.vit.input_size

    @classmethod
    def tiny(cls) -> FOCAL:
        return cls(FOCALViT.tiny(), FOCALHRNet.tiny())

    def forward(self, x: Tensor) -> Tensor:
        """Embeddings of both, one after the other (B, 288, 64, 64); those of HRNet are picked, not averaged."""
        fine = embedding(self.vit(x))
        return torch.cat([fine, embedding(F.interpolate(self.hrnet(x), fine.shape[2:], mode="nearest"))], 1)


class Clusters(NamedTuple):
    """labels: int64 (N,), 0 or 1. inertia: sum of squared distances from the points to their cluster's centre."""

    labels: Tensor
    inertia: float


def two_clusters(points: Tensor) -> Clusters:
    """k-means with two centres of unit vectors (N, D), as the authors call torch_kmeans; always the same result.

    A point goes to the centre of the larger product with it. Centres are means and not brought to length 1, so of two
    equally near directions the tighter cluster attracts more. All restarts run until the centres of all rest.
    """
    generator = torch.Generator().manual_seed(SEED)
    chances = torch.full((RESTARTS, len(points)), 1 / len(points), dtype=points.dtype)
    first = torch.multinomial(chances, 2, generator=generator).to(points.device)
    centres = points[first]  # (restarts, 2, D)
    for _ in range(ROUNDS):
        previous, centres = centres, _means(points, _nearest(points, centres))
        if ((centres - previous).norm(dim=2).mean(1) < TOLERANCE).all():
            break
    labels = _nearest(points, centres)
    inertia = [float((points - c[own]).square().sum()) for c, own in zip(centres, labels, strict=True)]
    best = int(np.argmin(inertia))
    return Clusters(labels[best], inertia[best])


def _nearest(points: Tensor, centres: Tensor) -> Tensor:
    """Labels (restarts, N); 0 where both centres are equally near."""
    return (1 - centres @ points.T).argmin(1)


def _means(points: Tensor, labels: Tensor) -> Tensor:
    """Centres (restarts, 2, D); zero where a cluster has no point."""
    members = F.one_hot(labels, 2).mT.to(points.dtype)
    return F.normalize(members, p=1.0, dim=2) @ points


def embedding(features: Tensor) -> Tensor:
    """Features (B, C, H, W) brought to length 1 at every position."""
    return F.normalize(features, dim=1)


def forged_mask(labels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bool (height, width): where the enlarged smaller cluster prevails; of equally large ones, label 1."""
    forged = labels if labels.sum() <= (1 - labels).sum() else 1 - labels
    enlarged = cv2.resize(forged.astype(np.float32) * 255, (width, height), interpolation=cv2.INTER_LINEAR)
    return enlarged > 127


def clustered(embedded: Tensor, image: ForensicImage) -> ScoreMap:
    """The map of one image from its embedding (1, C, H', W'): 1 in the smaller cluster, else 0."""
    height, width = embedded.shape[2:]
    clusters = two_clusters(embedded[0].flatten(1).T.float())
    labels = clusters.labels.view(height, width).cpu().numpy()
    mask = forged_mask(labels, *image.shape).astype(np.float32)
    return ScoreMap(mask, "probability", extras={"inertia": clusters.inertia})


_CARD = {
    "paper": "Wu et al., Rethinking Image Forgery Detection via Soft Contrastive Learning and Unsupervised Clustering, "
    "TDSC 2025",
    "year": 2025,
    "licence": "MIT (code), not stated (weights)",
    "groups": ("deep",),
    "trained_on": ("tampcoco", "casia2", "imd2020"),
}
_PAGE = "https://drive.google.com/drive/folders/12ayIO9PU4wvqWqniT3KtH8tCvrZ-M-zd"
_HRNET_FILE = WeightFile("FOCAL_HRNet_weights.pth", _PAGE, "not stated")
_VIT_FILE = WeightFile("FOCAL_ViT_weights.pth", _PAGE, "not stated")


class FOCALLocalizer(NetworkLocalizer):
    """The smaller of two clusters of pixel embeddings, as in the authors' test: a mask without degrees."""

    def preprocess(self, image: ForensicImage) -> Tensor:
        return square_tensor(image.rgb, self.network.input_size)

    def postprocess(self, output: Tensor, image: ForensicImage) -> ScoreMap:
        return clustered(embedding(output), image)


@register(
    "focal-hrnet",
    title="FOCAL with HRNet alone, the authors' model",
    summary="Contrastive embeddings of HRNet-W32, clustered into two for every image",
    weights=(_HRNET_FILE,),
    **_CARD,
)
class FOCALHRNetLocalizer(FOCALLocalizer):
    """Embeddings at a quarter of 1024 x 1024."""

    make_network = FOCALHRNet


@register(
    "focal-vit",
    title="FOCAL with the transformer alone, the authors' model",
    summary="Contrastive embeddings of Segment Anything's ViT-L, clustered into two for every image",
    weights=(_VIT_FILE,),
    **_CARD,
)
class FOCALViTLocalizer(FOCALLocalizer):
    """Embeddings at a sixteenth of 1024 x 1024."""

    make_network = FOCALViT


@register(
    "focal",
    title="FOCAL with the transformer and HRNet, the authors' test setting",
    summary="Contrastive embeddings of ViT-L and HRNet-W32 together, clustered into two for every image",
    weights=(_VIT_FILE, _HRNET_FILE),
    **_CARD,
)
class FOCALBothLocalizer(CompositeLocalizer):
    """Embeddings of both at a sixteenth of 1024 x 1024, clustered as one."""

    make_network = FOCAL

    def preprocess(self, image: ForensicImage) -> Tensor:
        return square_tensor(image.rgb, self.network.input_size)

    def postprocess(self, output: Tensor, image: ForensicImage) -> ScoreMap:
        return clustered(output, image)
