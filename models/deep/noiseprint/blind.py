"""Blind localization on a noise pattern: co-occurrences of its values, and a Gaussian with outliers fitted to them.

Cozzolino and Verdoliva, TIFS 2020, section V, with the constants of their released code; the features are those of
Splicebuster (WIFS 2015).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh
from scipy.ndimage import maximum_filter, uniform_filter
from skimage.morphology import disk, opening

LEVELS = np.array([-0.8, -0.28, 0.16, 0.7])  # of the quantiser
ORDER = 4  # values in a row or column that make one co-occurrence
BLOCK = 8
WINDOW = 8  # blocks a side whose histograms are pooled
MARGIN = 2  # rows and columns of windows dropped at the border
WHITE = 253 / 256
FLAT_VARIANCE = 0.005
FLAT_WINDOW = 5
EXCLUDED_WINDOW = 35
VALID_SHARE = 0.95
LEAST_VALID = 50
COMPONENTS = 32
REPLICATES = 10
ITERATIONS = 100
RELATIVE_GAIN = 1e-5
RANK_TOLERANCE = 1e-12
LEAST_VARIANCE = 1e-30  # of a Gaussian that has shrunk to one sample, so that distances stay finite
OUTLIER_SHARE = 0.01
OUTLIER_COST = 42.0  # negative log-likelihood


@dataclass(frozen=True)
class Windows:
    """What the windows hold.

    Attributes:
        features: float32 (rows, columns, 512), square roots of frequencies.
        valid: bool (rows, columns), enough textured and unsaturated pixels inside.
        centres: float64, of the rows and of the columns.
    """

    features: np.ndarray
    valid: np.ndarray
    centres: tuple[np.ndarray, np.ndarray]


def smallest_side() -> int:
    """Pixels a side from which on there is a window."""
    return (WINDOW + 2 * MARGIN) * BLOCK + ORDER


def usable(pattern: np.ndarray, luminance: np.ndarray) -> np.ndarray:
    """Bool (H, W): neither flat nor saturated nor near such a pixel or the border. luminance: 0..1."""
    mean = uniform_filter(pattern, FLAT_WINDOW)
    poor = uniform_filter(np.square(pattern), FLAT_WINDOW) - np.square(mean) < FLAT_VARIANCE
    poor[[0, -1]] = True
    poor[:, [0, -1]] = True
    poor |= opening(luminance > WHITE, disk(3))
    return ~maximum_filter(poor, EXCLUDED_WINDOW)


def co_occurrences(pattern: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Codes 0..255 of each four quantised values along a row and along a column, both (H - 4, W - 4).

    The code at (i, j) is that of the values around pixel (i + 2, j + 2).
    """
    borders = (LEVELS[1:] + LEVELS[:-1]) / 2
    level = np.searchsorted(borders, pattern, side="left")
    height, width = (n - ORDER for n in pattern.shape)
    middle = ORDER // 2
    powers = [len(LEVELS) ** k for k in range(ORDER)]
    along_row = sum(level[middle : middle + height, k : k + width] * p for k, p in enumerate(powers))
    along_column = sum(level[k : k + height, middle : middle + width] * p for k, p in enumerate(powers))
    return along_row, along_column


def windows(pattern: np.ndarray, luminance: np.ndarray) -> Windows:
    """Co-occurrence features of all windows of 64 x 64 pixels at steps of 8. Both arrays are float32 (H, W)."""
    middle = ORDER // 2
    codes = co_occurrences(pattern)
    height, width = codes[0].shape
    inside = usable(pattern, luminance)[middle : middle + height, middle : middle + width]
    rows, columns = height // BLOCK, width // BLOCK
    histograms = [_block_histograms(code, inside, rows, columns) for code in codes]
    counted = histograms[0].sum(2)
    frequencies = np.concatenate(histograms, 2) / np.maximum(counted, 1e-20)[:, :, None]
    share = _pooled(counted / np.float32(BLOCK * BLOCK))
    frequencies = _pooled(frequencies) / np.maximum(share, 1e-20)[:, :, None]
    inner = slice(MARGIN, -MARGIN)
    # A window of 8 blocks has its centre between two of them.
    offset = middle + (BLOCK - 1) / 2 + (WINDOW - 1) / 2 * BLOCK
    centres = tuple(np.arange(n - WINDOW + 1) * BLOCK + offset for n in (rows, columns))
    return Windows(
        np.sqrt(frequencies[inner, inner]),
        share[inner, inner] >= VALID_SHARE,
        (centres[0][inner], centres[1][inner]),
    )


def _block_histograms(codes: np.ndarray, inside: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Float32 (rows, columns, 256): how often each code occurs in each block, outside pixels not counted."""
    bins = len(LEVELS) ** ORDER
    area = np.s_[: rows * BLOCK, : columns * BLOCK]
    block = np.arange(rows).repeat(BLOCK)[:, None] * columns + np.arange(columns).repeat(BLOCK)
    kept = inside[area]
    index = (block * bins + codes[area])[kept]
    return np.bincount(index, minlength=rows * columns * bins).reshape(rows, columns, bins).astype(np.float32)


def _pooled(blocks: np.ndarray) -> np.ndarray:
    """Means over all windows of 8 x 8 blocks that lie inside, not below 0."""
    size = (WINDOW, WINDOW, *(1 for _ in blocks.shape[2:]))
    before, after = WINDOW // 2, WINDOW // 2 - 1
    means = uniform_filter(blocks, size, mode="constant")
    return np.maximum(means, 0)[before : blocks.shape[0] - after, before : blocks.shape[1] - after]


def anomaly(found: Windows) -> np.ndarray:
    """Squared Mahalanobis distance of each window from the Gaussian that most valid ones follow.

    Float64 (rows, columns). Needs at least `LEAST_VALID` valid windows.
    """
    features = found.features.reshape(-1, found.features.shape[2])
    valid = found.valid.ravel()
    whitened = features @ _whitening(features[valid])
    if whitened.shape[1] == 0:  # all windows are alike
        return np.zeros(found.valid.shape)
    gaussian = fit(whitened[valid])
    return gaussian.distance(whitened).reshape(found.valid.shape)


def _whitening(features: np.ndarray) -> np.ndarray:
    """Projection (512, 32) onto the first principal components, each in units of its standard deviation.

    Fewer components where the features vary along fewer directions.
    """
    size = features.shape[1]
    covariance = np.cov(features, rowvar=False, bias=True)
    values, vectors = eigh(covariance, subset_by_index=[size - COMPONENTS, size - 1])
    values, vectors = values[::-1], vectors[:, ::-1]
    varying = values > values[0] * RANK_TOLERANCE
    return vectors[:, varying] / np.sqrt(values[varying])


@dataclass(frozen=True)
class Gaussian:
    """mean (d,), covariance (d, d), and the share of samples that follow it rather than being outliers."""

    mean: np.ndarray
    covariance: np.ndarray
    share: float

    def distance(self, samples: np.ndarray) -> np.ndarray:
        """Squared Mahalanobis distance of each sample (n, d)."""
        whiten = np.linalg.inv(self._factor())
        return np.square((samples - self.mean) @ whiten.T).sum(1)

    def expect(self, samples: np.ndarray) -> tuple[np.ndarray, float]:
        """Probability of each sample to follow the Gaussian, and the mean log-likelihood of all."""
        volume = 2 * np.log(np.diag(self._factor())).sum() + samples.shape[1] * np.log(2 * np.pi)
        inlier = np.log(self.share) - (self.distance(samples) + volume) / 2
        outlier = np.log(1 - self.share) - OUTLIER_COST if self.share < 1 else -np.inf
        either = np.logaddexp(inlier, outlier)
        return np.exp(inlier - either), float(either.mean())

    def _factor(self) -> np.ndarray:
        try:
            return np.linalg.cholesky(self.covariance)
        except np.linalg.LinAlgError:
            values, vectors = np.linalg.eigh(self.covariance)
            least = max(np.spacing(values[-1]) * len(values), LEAST_VARIANCE)
            return np.linalg.cholesky(vectors * np.maximum(values, least) @ vectors.T)


def fit(samples: np.ndarray) -> Gaussian:
    """The best of ten expectation-maximization runs, each from another sample (n, d) as the first mean."""
    rng = np.random.RandomState(0)  # the authors' generator: the same starts give the same fit
    variance = samples.var(0)
    first = np.diag(variance + max(np.spacing(variance.max()), LEAST_VARIANCE))
    best, best_likelihood = None, -np.inf
    for _ in range(REPLICATES):
        start = samples[rng.randint(0, len(samples), size=1, dtype="l")[0]]
        gaussian, likelihood = _maximise(samples, Gaussian(start, first, 1 - OUTLIER_SHARE))
        if best is None or likelihood > best_likelihood:
            best, best_likelihood = gaussian, likelihood
    return best


def _maximise(samples: np.ndarray, gaussian: Gaussian) -> tuple[Gaussian, float]:
    weights, before = gaussian.expect(samples)
    likelihood = before
    for _ in range(ITERATIONS):
        total = weights.sum()
        if not total > 0:  # every sample is an outlier
            break
        mean = weights @ samples / total
        deviations = np.sqrt(weights)[:, None] * (samples - mean)
        covariance = deviations.T @ deviations / total
        least = max(np.spacing(np.linalg.eigvalsh(covariance)[-1]), LEAST_VARIANCE)
        covariance += least * np.eye(len(mean))
        gaussian = Gaussian(mean, covariance, float(total / len(samples)))
        weights, likelihood = gaussian.expect(samples)
        if 0 <= likelihood - before < RELATIVE_GAIN * abs(likelihood):
            break
        before = likelihood
    return gaussian, likelihood


def to_pixels(distances: np.ndarray, found: Windows, shape: tuple[int, int]) -> np.ndarray:
    """The value of the nearest window for each pixel; invalid windows get the least of the valid ones."""
    filled = np.where(found.valid, distances, distances[found.valid].min())
    rows, columns = (
        np.searchsorted((centres[1:] + centres[:-1]) / 2, np.arange(n), side="left")
        for centres, n in zip(found.centres, shape, strict=True)
    )
    return filled[rows[:, None], columns]
