"""How the encoder arranges pixels: are those of one class close together, and the two classes apart?

MPC's motivation (Lou et al., TIFS 2025, section I): a localizer generalises if features of the same class are compact
and those of pristine and forged pixels are separate. Measured on the fused features that the head sees, as unit
vectors, with cosines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from sklearn.manifold import TSNE
from sklearn.metrics import silhouette_score
from torch import nn

from models.mpc.losses import labels_at
from models.mpc.network import MPC


@dataclass(frozen=True)
class Pixels:
    """Sampled pixels.

    Attributes:
        vectors: unit vectors (n, 1024).
        forged: bool (n,).
        image: number of the image that each is from (n,).
    """

    vectors: np.ndarray
    forged: np.ndarray
    image: np.ndarray


@dataclass(frozen=True)
class Arrangement:
    """Means over images; each image's pixels are compared among themselves, as in the contrast.

    Attributes:
        compactness: mean cosine of two pixels of the same class, both classes weighted alike (1: all equal).
        separability: compactness - mean cosine of a pristine and a forged pixel (0: the classes are not separate).
        silhouette: mean silhouette coefficient with cosine distances, -1 .. 1.
        silhouette_pooled: the same over the pixels of all images together, which one head must separate.
        images: how many had pixels of both classes.
    """

    compactness: float
    separability: float
    silhouette: float
    silhouette_pooled: float
    images: int


@torch.inference_mode()
def sample_pixels(
    network: MPC,
    photos: Sequence[tuple[np.ndarray, np.ndarray]],
    input_size: int,
    *,
    per_class: int = 60,
    seed: int = 0,
) -> Pixels:
    """Fused features of up to `per_class` pristine and as many forged pixels of each photo.

    The same pixels are drawn for every network.

    Args:
        network: whose encoder is looked at.
        photos: uint8 (H, W, 3) RGB with bool (H, W), True = forged; presented as the localizer does it. Those with
            fewer than two pixels of a class at stride 4 are left out.
        input_size: side in pixels of what the network sees.
        per_class: most pixels of a class per photo.
        seed: of the drawing.
    """
    network.eval()
    found = []
    for number, (rgb, mask) in enumerate(photos):
        features = network.fuse(network.encoder(_shown(rgb, input_size)))[0]
        labels = labels_at(torch.from_numpy(mask)[None], features.shape[1:])[0].flatten().numpy()
        rng = np.random.default_rng([seed, number])
        sides = [np.flatnonzero(labels == forged) for forged in (False, True)]
        if min(map(len, sides)) < 2:
            continue
        chosen = np.concatenate([rng.choice(side, min(per_class, len(side)), replace=False) for side in sides])
        vectors = F.normalize(features.flatten(1).T[chosen].float(), dim=1).numpy()
        found.append((vectors, labels[chosen], np.full(len(chosen), number)))
    if not found:
        raise ValueError("no photo has pristine and forged pixels at the network's stride")
    return Pixels(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def arrangement(pixels: Pixels) -> Arrangement:
    """Compactness, separability and silhouette of sampled pixels."""
    rows = []
    for number in np.unique(pixels.image):
        here = pixels.image == number
        vectors, forged = pixels.vectors[here], pixels.forged[here]
        cosines = vectors @ vectors.T
        within = [_mean_off_diagonal(cosines[np.ix_(side, side)]) for side in (forged, ~forged)]
        between = cosines[np.ix_(forged, ~forged)].mean()
        silhouette = silhouette_score(vectors, forged, metric="cosine")
        rows.append((np.mean(within), np.mean(within) - between, silhouette))
    compactness, separability, silhouette = (float(value) for value in np.mean(rows, axis=0))
    pooled = float(silhouette_score(pixels.vectors, pixels.forged, metric="cosine"))
    return Arrangement(compactness, separability, silhouette, pooled, len(rows))


def embedding(pixels: Pixels, *, points: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """At most `points` of the pixels, evenly spread, in the plane (n, 2), and which of them are forged (n,).

    t-SNE of the unit vectors, started from their principal components. Squared Euclidean distances of unit vectors
    are twice their cosine distances.
    """
    count = len(pixels.vectors)
    chosen = np.arange(count) if count <= points else np.arange(points) * count // points
    perplexity = min(30.0, (len(chosen) - 1) / 3)
    plane = TSNE(2, perplexity=perplexity, init="pca", max_iter=500, random_state=seed)
    return plane.fit_transform(pixels.vectors[chosen]), pixels.forged[chosen]


@torch.no_grad()
def settle_statistics(network: MPC, photos: Sequence[tuple[np.ndarray, np.ndarray]], input_size: int) -> None:
    """Give an untrained network the batch statistics of these photos.

    With the initial ones (mean 0, variance 1) features shrink or grow from layer to layer, which would dominate the
    comparison with trained networks.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative mean over the passes
    network.train()
    for rgb, _ in photos:
        network.encoder(_shown(rgb, input_size))
    network.eval()


def _shown(rgb: np.ndarray, input_size: int) -> torch.Tensor:
    square = cv2.resize(rgb, (input_size, input_size), interpolation=cv2.INTER_LINEAR)
    return torch.from_numpy((square / 255.0).astype(np.float32)).permute(2, 0, 1)[None]


def _mean_off_diagonal(square: np.ndarray) -> float:
    count = len(square)
    return float((square.sum() - np.trace(square)) / (count * (count - 1)))
