"""How good a network in training is: AUC and F1 on validation samples, and the threshold that its head is set to."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.metrics import f1_score, roc_auc_score
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from models.mpc.losses import labels_at
from models.mpc.network import MPC


@torch.inference_mode()
def validate(
    samples: Dataset, batch: int, maps: Callable[[Tensor], Tensor], device: torch.device
) -> tuple[float, float]:
    """Mean pixel AUC and F1 (p > .5) per image, NaN where no image has both classes.

    Args:
        samples: validation samples, as `TrainingData.samples` gives them.
        batch: images at a time.
        maps: from images (B, 3, H, W) in 0..1 to probabilities (B, h, w), at the network's stride 4.
        device: where the images are put.
    """
    areas, scores = [], []
    for some in DataLoader(samples, batch, num_workers=0):
        probabilities = maps(some["image"].to(device).float() / 255)
        truth = labels_at(some["mask"], probabilities.shape[1:])
        for probability, forged in zip(probabilities.float().cpu(), truth, strict=True):
            if forged.any() and not forged.all():
                # plain numbers: NumPy's, which older versions of scikit-learn return, make a checkpoint unreadable
                areas.append(float(roc_auc_score(forged.flatten(), probability.flatten())))
                scores.append(float(f1_score(forged.flatten(), probability.flatten() > 0.5, zero_division=0.0)))
    if not areas:
        return float("nan"), float("nan")
    return sum(areas) / len(areas), sum(scores) / len(scores)


@torch.inference_mode()
def calibrate(network: MPC, samples: Dataset, device: torch.device) -> None:
    """Shift the head's last bias so that logit 0 is the threshold of the best mean F1 on the samples."""
    logits, truths = [], []
    for index in range(len(samples)):  # type: ignore[arg-type]
        sample = samples[index]
        found = network(sample["image"][None].to(device).float() / 255)[:, 0].cpu()
        logits.append(found.flatten())
        truths.append(labels_at(sample["mask"][None], found.shape[1:]).flatten())
    last = [layer for layer in network.decoder.modules() if isinstance(layer, nn.Conv2d)][-1]
    assert last.bias is not None
    last.bias -= best_threshold(torch.stack(logits), torch.stack(truths))


def best_threshold(logits: Tensor, truth: Tensor, candidates: int = 199) -> float:
    """The threshold with the best mean F1 over images; images without a forged pixel do not count.

    Args:
        logits: (images, pixels).
        truth: bool, of the same shape.
        candidates: how many quantiles of all logits are tried, evenly spaced.
    """
    some = truth.any(1)
    logits, truth = logits[some], truth[some]
    positions = np.arange(1, candidates + 1) / (candidates + 1)
    best, best_score = 0.0, -1.0
    for threshold in np.quantile(logits.numpy(), positions):
        forged = logits > threshold
        score = (2 * (forged & truth).sum(1) / (forged.sum(1) + truth.sum(1))).mean().item() if len(truth) else 0.0
        if score > best_score:
            best, best_score = float(threshold), score
    return best


def two_means(features: Tensor, rounds: int = 10) -> Tensor:
    """A score map from features alone, (C, h, w) to (h, w), above .5 in the smaller of two clusters.

    Spherical 2-means, started from the pixel farthest from the mean direction and the pixel farthest from that one.
    The score is .5 + (cosine to the smaller cluster's centre - cosine to the larger's) / 4.
    """
    vectors = F.normalize(features.float().flatten(1).T, dim=1)
    first = vectors[(vectors @ vectors.mean(0)).argmin()]
    centres = torch.stack([first, vectors[(vectors @ first).argmin()]])
    for _ in range(rounds):
        nearest = (vectors @ centres.T).argmax(1)
        sums = torch.stack([vectors[nearest == k].sum(0) for k in range(2)])
        centres = F.normalize(sums, dim=1)
    smaller = int((nearest == 1).sum() < (nearest == 0).sum())
    cosines = vectors @ centres.T
    return (0.5 + (cosines[:, smaller] - cosines[:, 1 - smaller]) / 4).view(features.shape[1:])
