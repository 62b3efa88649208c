"""MPC's losses: the supervised pixel contrast of stage 1 and the focal cross-entropy of stage 2.

Paper: Lou, Cao, Guo, Yao, Weng: Exploring Multi-View Pixel Contrast for General and Robust Image Forgery
Localization, IEEE TIFS 2025 (arXiv 2406.13565), section III. The released code computes something else than the
paper's equations; both are here, see `pixel_contrast`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

VIEWS = ("within", "scale", "modality")
VARIANTS = ("released", "paper")


@dataclass(frozen=True)
class Contrast:
    """What a batch contributes.

    Attributes:
        loss: scalar, to be back-propagated.
        terms: name -> mean over the contributing images, detached.
        images: how many images of the batch contributed.
    """

    loss: torch.Tensor
    terms: dict[str, float]
    images: int


def labels_at(mask: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Ground truth (B, H, W) bool, True = forged, at a feature map's size (h, w): nearest, bool (B, h, w).

    Nearest takes the first pixel of each cell, which is where strided 3x3 convolutions are centred.
    """
    return F.interpolate(mask[:, None].float(), size=tuple(size), mode="nearest")[:, 0] > 0.5


def info_nce(queries: torch.Tensor, negatives: torch.Tensor, temperature: float = 0.1) -> torch.Tensor:
    """Contrast of the released code, one image and one term.

    queries (Q, C), negatives (N, C): unit vectors, Q >= 2 and N >= 1. With s+_i the mean cosine of query i to
    all other queries and s-_ik that to negative k, the mean over i of
    -log( exp(s+_i / t) / (exp(s+_i / t) + sum_k exp(s-_ik / t)) ).
    """
    count = queries.shape[0]
    own = (queries * queries).sum(1)
    positive = (queries @ queries.sum(0) - own) / (count - 1)
    logits = torch.cat([positive[:, None], queries @ negatives.T], dim=1) / temperature
    return (torch.logsumexp(logits, 1) - logits[:, 0]).mean()


def equation_term(
    anchors: torch.Tensor,
    positives: torch.Tensor,
    negatives: torch.Tensor,
    temperature: float = 0.1,
    exclude_self: bool = False,
) -> torch.Tensor:
    """Contrast of the paper's equations, one image and one term.

    anchors (A, C), positives (P, C), negatives (N, C): unit vectors. The mean over the anchors x of
    -log( mean_{x+} exp(x.x+ / t) / sum_{x-} exp(x.x- / t) ); the positive is not in the denominator, so that the
    value can be negative. exclude_self: positives are the anchors themselves and x is not its own positive.
    """
    similar = anchors @ positives.T / temperature
    count = positives.shape[0]
    if exclude_self:
        count -= 1
        same = torch.eye(len(anchors), dtype=torch.bool, device=anchors.device)
        similar = similar.masked_fill(same, -torch.inf)
    numerator = torch.logsumexp(similar, 1) - math.log(count)
    return (torch.logsumexp(anchors @ negatives.T / temperature, 1) - numerator).mean()


def pixel_contrast(
    features: Sequence[torch.Tensor],
    second: torch.Tensor | None,
    mask: torch.Tensor,
    *,
    variant: str = "released",
    views: Sequence[str] = VIEWS,
    temperature: float = 0.1,
    samples: int = 5000,
    generator: torch.Generator | None = None,
) -> Contrast:
    """Stage-1 loss: pixels of an image contrasted from up to three views.

    features: X1..X4 of the encoder, each (B, C, h, w), finest first; normalised here to unit length per pixel.
    second: X1 of a second stochastic pass over the same images, (B, C, h, w); needed by the view "modality".
    mask: bool (B, H, W), True = forged, of any size; brought to each scale with `labels_at`.
    views: "within" (X1 against itself), "scale" (X1 against X2..X4) and "modality" (X1 against the second pass).
    samples: at most so many pixels are drawn per set, image and term, without replacement.
    generator: of the CPU; what the draws come from. None takes torch's global one.

    variant "released" (the authors' code): query = pristine, negative = forged pixels; `info_nce` of
    (X1, X1), of (X1, X234) and (X234, X1), of (X1, second) and (second, X1): five terms, summed.
    variant "paper" (its equations 1-3): anchor = forged pixels of X1; positives and negatives both from X1, from
    X234, and from the second pass: `equation_term`, three terms, summed. The paper does not state whether features
    are normalised, the temperature, or the sampling; those of the released code are used.

    A term whose sets are too small (fewer than two queries, or no negative) is left out; an image without any term
    contributes nothing; the loss is the mean over the images that contribute, and 0 when there are none.
    Raises ValueError for an unknown variant or view.
    """
    if variant not in VARIANTS:
        raise ValueError(f"unknown variant {variant!r}; known: {', '.join(VARIANTS)}")
    unknown = set(views) - set(VIEWS)
    if unknown or not views:
        raise ValueError(f"views must be some of {', '.join(VIEWS)}, got {', '.join(views) or 'none'}")
    if "modality" in views and second is None:
        raise ValueError('the view "modality" needs the features of a second pass')

    image_terms = _released_terms if variant == "released" else _equation_terms
    totals: list[torch.Tensor] = []
    found: dict[str, list[float]] = {}
    per_image = [_pixels(scale, labels_at(mask, scale.shape[2:])) for scale in features]
    other = _pixels(second, labels_at(mask, second.shape[2:])) if "modality" in views else None
    for i in range(len(mask)):
        fine = per_image[0][i]
        coarse = tuple(torch.cat(parts) for parts in zip(*(scale[i] for scale in per_image[1:]), strict=True))
        terms = image_terms(fine, coarse, other[i] if other else None, views, temperature, samples, generator)
        if terms:
            totals.append(sum(terms.values()))
            for name, value in terms.items():
                found.setdefault(name, []).append(value.item())
    # a zero that is still attached to the features, so that backward() works on a batch without any pair
    loss = torch.stack(totals).mean() if totals else sum(f.float().sum() for f in features) * 0.0
    return Contrast(loss, {name: sum(v) / len(v) for name, v in found.items()}, len(totals))


def focal_loss(logits: torch.Tensor, target: torch.Tensor, alpha: float = 0.5, gamma: float = 2.0) -> torch.Tensor:
    """Stage-2 loss: mean over pixels of -a_t (1 - p_t)^gamma log p_t, p_t the probability of the pixel's class.

    logits: any shape; target: the same shape, bool or 0..1, 1 = forged; alpha weighs forged, 1 - alpha pristine.
    Source: Lin et al. 2017, equation 5; MPC uses alpha .5, gamma 2.
    """
    target = target.to(logits.dtype)
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    missing = torch.sigmoid(torch.where(target > 0.5, -logits, logits))  # 1 - p_t
    weight = alpha * target + (1 - alpha) * (1 - target)
    return (weight * missing**gamma * entropy).mean()


Pixels = tuple[torch.Tensor, torch.Tensor]  # pristine (P, C), forged (F, C)


def _pixels(features: torch.Tensor, labels: torch.Tensor) -> list[Pixels]:
    """Unit feature vectors of every image, split into pristine and forged ones."""
    vectors = F.normalize(features.float(), dim=1).permute(0, 2, 3, 1)
    return [(image[~forged], image[forged]) for image, forged in zip(vectors, labels, strict=True)]


def _draw(vectors: torch.Tensor, samples: int, generator: torch.Generator | None) -> torch.Tensor:
    if len(vectors) <= samples:
        return vectors
    return vectors[torch.randperm(len(vectors), generator=generator)[:samples].to(vectors.device)]


def _released_terms(fine: Pixels, coarse: Pixels, other: Pixels | None, views, temperature, samples, generator):
    pairs = {}
    if "within" in views:
        pairs["within"] = (fine[0], fine[1])
    if "scale" in views:
        pairs["scale fine"] = (fine[0], coarse[1])
        pairs["scale coarse"] = (coarse[0], fine[1])
    if "modality" in views:
        pairs["modality first"] = (fine[0], other[1])
        pairs["modality second"] = (other[0], fine[1])
    return {
        name: info_nce(_draw(queries, samples, generator), _draw(negatives, samples, generator), temperature)
        for name, (queries, negatives) in pairs.items()
        if len(queries) > 1 and len(negatives)
    }


def _equation_terms(fine: Pixels, coarse: Pixels, other: Pixels | None, views, temperature, samples, generator):
    terms = {}
    sources = {"within": fine, "scale": coarse, "modality": other}
    for name in views:
        negatives, positives = sources[name]
        within = name == "within"
        if not len(fine[1]) or len(positives) < (2 if within else 1) or not len(negatives):
            continue
        anchors = _draw(fine[1], samples, generator)
        others = anchors if within else _draw(positives, samples, generator)
        terms[name] = equation_term(anchors, others, _draw(negatives, samples, generator), temperature, within)
    return terms
