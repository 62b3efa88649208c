"""Noise level inconsistency, fifth method (NOI5): block-wise noise level from principal components.

Zeng, Zhan, Kang and Lin, "Image splicing localization using PCA-based noise level estimation", Multimedia Tools
and Applications 76(4), 2017; the estimator is that of Pyatykh, Hesser and Zheng, "Image noise level estimation
by principal component analysis", IEEE Transactions on Image Processing 22(2), 2013.

Trace: host and forgery have different noise levels. The smallest eigenvalue of the covariance of a block's 5x5
patches is the noise variance, if the patches are redundant; patches of high variance are left out until they are.
Works when noise levels differ clearly over areas of at least some 64x64 pixels. Cannot work when both were
denoised or compressed to the same level, and fails on blocks that hold nothing but strong texture.

Levels of 64x64 blocks are clustered in two, boundaries between the clusters are refined with 32x32 blocks, and the
result is clustered again; the smaller cluster is the forged one. Clusters are the exact one-dimensional optimum
of 2-means where the paper iterates.

Compared with pyIFD 0.0.3 (NOI5) on constructed noise steps: correlation of the noise levels .96, AUC .997 against
its .979.
"""

from __future__ import annotations

import cv2
import numpy as np

from models import Localizer, register
from models.classical.blocks import require_size, split, to_pixels
from models.image import ForensicImage, NotApplicable, ScoreMap

_PATCH = 5
_LEVELS = np.arange(1.0, 0.06, -0.05)  # shares of the patches, those of least variance, that are tried in turn
_COMPARED_EIGENVALUE = 6  # the 7th smallest and the smallest eigenvalue agree where patches are redundant
_EIGENVALUE_FACTOR, _BOUND_FACTOR, _BOUND_LEVEL = 49.0, 3.1, 0.0005
_MOST_CLIPPED = 3  # of the 25 pixels of a patch
_CONVERGED, _ITERATIONS = 1e-5, 10
_CHUNK = 64  # blocks at once, about 100 MB


@register(
    "noi5",
    title="NOI5: noise level by PCA",
    paper="Zeng, Zhan, Kang, Lin, Multimedia Tools and Applications 2017",
    year=2017,
    summary="Position of the local noise level between the image's two clusters of noise levels",
    groups=("classical",),
)
class PcaNoise(Localizer):
    """Local noise level: 0 at the centre of the larger cluster of levels, 1 at that of the smaller; unbounded.

    block: side of the coarse blocks in pixels; boundaries are refined with blocks of half the side.
    """

    def __init__(self, block: int = 64):
        self.block = block

    def localize(self, image: ForensicImage) -> ScoreMap:
        """Score map; extras: "noise_std", the centres (larger, smaller cluster), 0..255 scale.

        Raises NotApplicable below 2x2 coarse blocks, and where all blocks have the same noise level (flat).
        """
        require_size(image, 2 * self.block, 2 * self.block)
        levels = noise_levels(np.rint(image.luminance), self.block)
        if levels.max() - levels.min() < 1e-6:
            raise NotApplicable("no block has noise of its own: the image is flat or saturated")
        usual, unusual = _centres(levels)
        score = (levels - usual) / (unusual - usual)
        values = to_pixels(score, image.shape, self.block // 2)
        return ScoreMap(values, "score", extras={"noise_std": (float(usual), float(unusual))})


def noise_levels(luminance: np.ndarray, block: int = 64) -> np.ndarray:
    """Noise standard deviation float32 per half block: coarse estimates, refined where their clusters meet."""
    coarse, _ = noise_std(split(luminance, block))
    coarse = np.kron(coarse, np.ones((2, 2)))
    rows, columns = coarse.shape
    fine, failed = noise_std(split(luminance, block // 2)[:rows, :columns])
    fine = fine.astype(np.float32)
    fine[failed] = cv2.medianBlur(fine, 5)[failed]
    usual_centre, unusual_centre = _centres(coarse)
    unusual = np.abs(coarse - unusual_centre) < np.abs(coarse - usual_centre)
    kernel = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    border = cv2.morphologyEx(unusual.astype(np.uint8), cv2.MORPH_GRADIENT, kernel) > 0
    return np.where(border, fine, 0.8 * coarse + 0.2 * fine).astype(np.float32)


def noise_std(blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Noise standard deviation (rows, columns) of blocks (rows, columns, B, B), and bool where it failed.

    Fails where fewer than 25 patches of the block are free of clipping; its plain standard deviation then.
    """
    rows, columns, size, _ = blocks.shape
    flat = blocks.reshape(-1, size, size)
    patches = np.lib.stride_tricks.sliding_window_view(flat, (_PATCH, _PATCH), axis=(1, 2))
    clipped = ((patches == 0) | (patches == 255)).sum((-2, -1), dtype=np.uint8)
    usable = (clipped <= _MOST_CLIPPED).sum((1, 2))
    order = np.argsort(usable, kind="stable")  # blocks with about as many patches share their slices
    variance = np.empty(len(flat))
    for start in range(0, len(flat), _CHUNK):
        chosen = order[start : start + _CHUNK]
        chunk = patches[chosen].reshape(len(chosen), -1, _PATCH**2).astype(np.float32)
        chunk -= flat[chosen].mean((1, 2))[:, None, None]  # small numbers: single precision suffices
        spread = chunk.var(2)
        spread[clipped[chosen].reshape(spread.shape) > _MOST_CLIPPED] = np.inf
        variance[chosen] = _variances(chunk, spread, usable[chosen])
    failed = (usable < _PATCH**2) | (variance < 0)
    std = np.sqrt(np.where(failed, flat.var((1, 2)), np.maximum(variance, 0)))
    return std.reshape(rows, columns), failed.reshape(rows, columns)


def _variances(patches: np.ndarray, spread: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """Noise variance of each block from its patches (blocks, patches, 25), their variances and usable number."""
    rank = np.argsort(spread, axis=1, kind="stable")
    patches = np.take_along_axis(patches, rank[:, :, None], 1)
    spread = np.take_along_axis(spread, rank, 1)
    ends = np.rint(_LEVELS * usable[:, None]).astype(int)  # patches of each level, largest level first
    starts = np.concatenate([ends[:, 1:], np.zeros((len(ends), 1), int)], 1)
    sums = np.zeros((len(patches), len(_LEVELS), _PATCH**2))
    products = np.zeros((*sums.shape, _PATCH**2))
    for level in range(len(_LEVELS)):
        first, last = starts[:, level].min(), ends[:, level].max()
        inside = np.arange(first, last)
        weight = (inside >= starts[:, level, None]) & (inside < ends[:, level, None])
        part = patches[:, first:last]
        if not weight.all():  # the blocks of the chunk differ in their number of patches
            part = part * weight[:, :, None]
        sums[:, level] = part.sum(1)
        products[:, level] = part.swapaxes(1, 2) @ part
    # level i holds its own slice and all of lower variance
    sums = np.cumsum(sums[:, ::-1], 1)[:, ::-1]
    products = np.cumsum(products[:, ::-1], 1)[:, ::-1]
    number = np.maximum(ends, 1)[:, :, None]
    mean = sums / number
    covariance = products / number[:, :, :, None] - mean[:, :, :, None] * mean[:, :, None, :]
    eigenvalues = np.linalg.eigvalsh(covariance)
    smallest = eigenvalues[:, :, 0]
    gap = eigenvalues[:, :, _COMPARED_EIGENVALUE] - smallest
    textured = np.maximum((spread == 0).sum(1), np.rint(_BOUND_LEVEL * usable).astype(int))
    bound = _BOUND_FACTOR * spread[np.arange(len(spread)), np.clip(textured, 0, np.maximum(usable - 1, 0))]
    estimate, before = bound, np.full(len(bound), -1.0)
    for _ in range(_ITERATIONS):
        moving = np.abs(estimate - before) >= _CONVERGED
        if not moving.any():
            break
        redundant = (gap < _EIGENVALUE_FACTOR * estimate[:, None] / np.sqrt(number[:, :, 0])) & (
            smallest < bound[:, None]
        )
        stops = redundant | (smallest < _CONVERGED)
        level = np.where(stops.any(1), stops.argmax(1), len(_LEVELS) - 1)
        found = smallest[np.arange(len(smallest)), level]
        before, estimate = np.where(moving, estimate, before), np.where(moving, found, estimate)
    return estimate


def _centres(values: np.ndarray) -> tuple[float, float]:
    """Centres of the optimal two clusters of the values: that of the larger cluster, then of the smaller one."""
    ordered = np.sort(values, axis=None).astype(np.float64)
    left = np.arange(1, len(ordered))
    right = len(ordered) - left
    total = np.cumsum(ordered)
    low, high = total[:-1] / left, (total[-1] - total[:-1]) / right
    split_at = int(np.argmax(left * right * (high - low) ** 2))  # most variance between clusters
    centres = (low[split_at], high[split_at])
    return centres if left[split_at] >= right[split_at] else centres[::-1]
