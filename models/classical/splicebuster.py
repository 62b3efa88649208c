"""Splicebuster: co-occurrences of the noise residual, and the regions whose statistics are outliers.

D. Cozzolino, G. Poggi and L. Verdoliva, "Splicebuster: a New Blind Image Splicing Detector", IEEE International
Workshop on Information Forensics and Security, 2015.

Trace: the small-scale structure of the high-pass residual is a fingerprint of camera and processing; a region from
another source has other co-occurrences.

Works for splices of at least the size of the analysis block (128 pixels; 64 in small photos) from another camera or
processing, with mild compression. Cannot work for copy-moves within a photo, small regions, or after strong
compression or resizing. Below a megapixel there are too few independent blocks: the photo's content then makes the
outliers, and a large foreign region can be taken for the photo.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.linalg import LinAlgError, cholesky, solve_triangular

from models import Localizer, register
from models.classical.blocks import to_pixels
from models.image import ForensicImage, NotApplicable, ScoreMap
from models.scaling import scaled_to_unit

LENGTH = 4  # residuals of a co-occurrence
LEVELS = 3  # after quantisation: -1, 0, 1
MARGIN = 4  # pixels that residual and co-occurrence need on each side
LARGE_BLOCK, SMALL_BLOCK, STRIDES_PER_BLOCK = 128, 64, 16
SMALL_IMAGE = 20_000  # pixels
FEWEST_BLOCKS = 4  # in either direction


@register(
    "splicebuster",
    title="Splicebuster",
    paper="Cozzolino, Poggi and Verdoliva, Splicebuster: a new blind image splicing detector, WIFS 2015",
    year=2015,
    summary="Co-occurrences of the quantised third-order residual; distance from the photo's typical statistics by EM.",
    licence="method published; the authors' program is for research only",
    groups=("classical",),
)
class Splicebuster(Localizer):
    """Mahalanobis distance of a block's residual co-occurrences from the photo's.

    The luminance's third-order differences, across and down, are quantised to -1, 0, 1; the frequencies of four in
    a row and of four in a column, up to reversal and sign, make 50 features per block, of which the square roots are
    reduced by principal components. A Gaussian for the photo and a uniform distribution for what does not belong to it
    are fitted by expectation maximisation.

    quantiser: step of the residual's quantisation is 3 * quantiser grey levels of 256 (2).
    components: principal components kept (25).
    outlier_share: of blocks, at the start of the fit (.01).
    outlier_nll: negative log-likelihood of the uniform distribution, in whitened components (42).
    restarts: fits from other random blocks as mean; the likeliest one is kept (30 in the port).
    valid_share: of a block's pixels that must not be saturated (.85).
    fit_blocks: the fit uses at most this many blocks, evenly spread (ours: blocks overlap by 15/16, so that few
        say as much as all).
    scaled: the squared distance, brought to 0..1 by the smallest and the largest of the photo, as TruFor's table 1
        seems to count the method at a threshold of .5 (docs/reproductions.md).

    Scores: 0 and up; no fixed threshold has a meaning. 0 in saturated blocks and in photos without usable blocks.

    Compared with photoholmes' port of the authors' program on 11 photos of .16 to .88 MP: features equal within 6e-4;
    rank correlation of the maps .67 to .99, median .98. The fit has several optima; which of them is found depends
    on the random starts.
    """

    def __init__(
        self,
        quantiser: float = 2.0,
        components: int = 25,
        outlier_share: float = 0.01,
        outlier_nll: float = 42.0,
        restarts: int = 30,
        valid_share: float = 0.85,
        fit_blocks: int = 2_000,
        scaled: bool = False,
    ):
        if quantiser <= 0 or components < 1 or not 0 < outlier_share < 1 or restarts < 1 or not 0 < valid_share <= 1:
            raise ValueError(
                f"splicebuster: needs quantiser > 0, components >= 1, outlier_share in 0..1, restarts >= 1 and "
                f"valid_share in 0..1, got {quantiser}, {components}, {outlier_share}, {restarts} and {valid_share}"
            )
        self.quantiser = quantiser
        self.components = components
        self.outlier_share = outlier_share
        self.outlier_nll = outlier_nll
        self.restarts = restarts
        self.valid_share = valid_share
        self.fit_blocks = fit_blocks
        self.scaled = scaled

    def localize(self, image: ForensicImage) -> ScoreMap:
        """Score map of the image's size. Raises NotApplicable for images below 84 pixels a side."""
        block = block_size(*image.shape)
        stride = block // STRIDES_PER_BLOCK
        features, valid = block_features(image.luminance, block, self.quantiser)
        usable = valid >= self.valid_share
        distance = np.zeros(usable.shape)
        points = whitened(features, usable, self.components)
        if points.shape[-1] and usable.sum() > points.shape[-1]:
            sample = points[usable]
            sample = sample[:: -(-len(sample) // self.fit_blocks)]
            model = fit(sample, self.outlier_share, self.outlier_nll, self.restarts)
            if model is not None:
                squared = model.squared_distance(points[usable])
                distance[usable] = squared if self.scaled else np.sqrt(squared)
        first = MARGIN + block // 2 - stride // 2
        score = ScoreMap(to_pixels(distance, image.shape, stride, (first, first)), kind="score")
        return scaled_to_unit(score) if self.scaled else score


def block_size(height: int, width: int) -> int:
    """128, or 64 for photos that are small or too narrow. Raises NotApplicable for one too small for that."""
    for block in (LARGE_BLOCK, SMALL_BLOCK):
        needed = block + 2 * MARGIN + (FEWEST_BLOCKS - 1) * block // STRIDES_PER_BLOCK
        if min(height, width) >= needed and (block == SMALL_BLOCK or height * width > SMALL_IMAGE):
            return block
    raise NotApplicable(f"the image has {width}x{height} pixels, the method needs at least {needed}x{needed}")


def block_features(luminance: np.ndarray, block: int, quantiser: float) -> tuple[np.ndarray, np.ndarray]:
    """Square roots of co-occurrence frequencies, float64 (rows, columns, 50), and the share of valid pixels.

    luminance: float32 (H, W), 0..255. The first half are co-occurrences across the direction of the difference, the
    second half along it; each sums to 2 before the root. Blocks start every 1/16 block, from pixel (4, 4).
    """
    stride = block // STRIDES_PER_BLOCK
    across, down = residuals(luminance, 3 * quantiser * 255 / 256)
    codes = (cooccurrence(across, 1), cooccurrence(down, 0), cooccurrence(across, 0), cooccurrence(down, 1))
    weight = unsaturated(luminance)[MARGIN:-MARGIN, MARGIN:-MARGIN].astype(np.float64)
    rows, columns = (n // stride for n in weight.shape)
    inner = np.s_[: rows * stride, : columns * stride]
    cell = np.arange(rows).repeat(stride)[:, None] * columns + np.arange(columns).repeat(stride)
    count = len(np.unique(SYMMETRIC))
    weight = weight[inner].ravel()
    histograms = [
        np.bincount((cell * count + code[inner]).ravel(), weights=weight, minlength=rows * columns * count)
        for code in codes
    ]
    along, other = (histograms[k] + histograms[k + 1] for k in (0, 2))
    histogram = np.concatenate([p.reshape(rows, columns, count) for p in (other, along)], axis=2)
    valid = np.bincount(cell.ravel(), weights=weight, minlength=rows * columns).reshape(rows, columns, 1)
    histogram, valid = (moving_sum(p, STRIDES_PER_BLOCK) for p in (histogram, valid))
    return np.sqrt(histogram / np.maximum(valid, 1)), valid[:, :, 0] / block**2


def residuals(luminance: np.ndarray, step: float) -> tuple[np.ndarray, np.ndarray]:
    """Third-order differences across and down, quantised to 0, 1, 2 by the step: int (H - 4, W - 4) each."""
    across = luminance[:, :-3] - 3 * luminance[:, 1:-2] + 3 * luminance[:, 2:-1] - luminance[:, 3:]
    down = luminance[:-3] - 3 * luminance[1:-2] + 3 * luminance[2:-1] - luminance[3:]
    both = (across[2:-2, 1:], down[1:, 2:-2])
    half = step / 2  # rounding half away from zero
    return tuple(1 + (r >= half).astype(np.int64) - (r <= -half) for r in both)


def symmetric_classes() -> np.ndarray:
    """Class 0..24 of each of the 81 co-occurrences: equal for one, its reversal, its negative, and both."""
    digits = np.indices((LEVELS,) * LENGTH).reshape(LENGTH, -1).T
    power = LEVELS ** np.arange(LENGTH)
    alike = [digits, digits[:, ::-1], LEVELS - 1 - digits, LEVELS - 1 - digits[:, ::-1]]
    smallest = np.min([version @ power for version in alike], axis=0)
    classes = np.empty(LEVELS**LENGTH, np.int64)
    classes[digits @ power] = np.unique(smallest, return_inverse=True)[1]
    return classes


SYMMETRIC = symmetric_classes()


def cooccurrence(levels: np.ndarray, axis: int) -> np.ndarray:
    """Class of the four levels in a column (axis 0) or a row (1) around each place: int (H - 4, W - 4)."""
    height, width = (n - LENGTH for n in levels.shape)
    centre = LENGTH // 2
    code = 0
    for k in range(LENGTH):
        top, left = (k, centre) if axis == 0 else (centre, k)
        code = code + LEVELS**k * levels[top : top + height, left : left + width]
    return SYMMETRIC[code]


def unsaturated(luminance: np.ndarray) -> np.ndarray:
    """Bool (H, W): pixels at least 4 pixels from dark or bright saturated areas (below 6, above 252)."""
    dark = cv2.morphologyEx((luminance < 6).astype(np.uint8), cv2.MORPH_OPEN, disk(3))
    bright = cv2.morphologyEx((luminance > 252).astype(np.uint8), cv2.MORPH_OPEN, disk(2))
    return cv2.dilate(dark | bright, np.ones((9, 9), np.uint8)) == 0


def disk(radius: int) -> np.ndarray:
    """A disk as a structuring element, uint8 (2 radius + 1, 2 radius + 1)."""
    axis = np.arange(-radius, radius + 1)
    return (np.add.outer(axis**2, axis**2) <= radius**2).astype(np.uint8)


def moving_sum(cells: np.ndarray, size: int) -> np.ndarray:
    """Sums over size x size cells: (rows - size + 1, columns - size + 1, n)."""
    for axis in (0, 1):
        total = np.cumsum(cells, axis=axis)
        zero = np.zeros_like(np.take(total, [0], axis=axis))
        total = np.concatenate([zero, total], axis=axis)
        cells = np.take(total, range(size, total.shape[axis]), axis=axis)
        cells = cells - np.take(total, range(total.shape[axis] - size), axis=axis)
    return np.maximum(cells, 0)


def whitened(features: np.ndarray, usable: np.ndarray, components: int) -> np.ndarray:
    """The features in their first principal components of unit variance over usable blocks: (rows, columns, k).

    k is smaller than `components` where the features vary in fewer directions, 0 where not at all.
    """
    if usable.sum() < 2:
        return features[:, :, :0]
    variance, direction = np.linalg.eigh(np.cov(features[usable], rowvar=False, bias=True))
    variance, direction = variance[::-1][:components], direction[:, ::-1][:, :components]
    kept = variance > max(1e-12, 1e-8 * variance[0])
    return (features - features[usable].mean(axis=0)) @ (direction[:, kept] / np.sqrt(variance[kept]))


@dataclass(frozen=True)
class Gaussian:
    """A normal distribution: mean (k,), lower Cholesky factor of the covariance (k, k)."""

    mean: np.ndarray
    factor: np.ndarray

    def squared_distance(self, points: np.ndarray) -> np.ndarray:
        """Squared Mahalanobis distances, (n,), of points (n, k)."""
        whitening = solve_triangular(self.factor, np.eye(len(self.factor)), lower=True).T
        centred = (points - self.mean) @ whitening
        return np.einsum("ij,ij->i", centred, centred)


def fit(points: np.ndarray, outlier_share: float, outlier_nll: float, restarts: int) -> Gaussian | None:
    """The Gaussian of a Gaussian-uniform mixture fitted to points (n, k); None where no fit converges.

    Expectation maximisation until the mean log-likelihood gains less than 1e-5 of itself, at most 100 steps, from
    the variances of all points and random points as mean.
    """
    rng = np.random.default_rng(0)
    best, best_likelihood = None, -np.inf
    for start in rng.integers(0, len(points), restarts):
        factor = np.diag(points.std(axis=0) + 1e-6)
        model, share, before = Gaussian(points[start], factor), outlier_share, None
        try:
            for _ in range(100):
                belongs, likelihood = expectation(points, model, share, outlier_nll)
                if before is not None and 0 <= likelihood - before < 1e-5 * abs(likelihood):
                    break
                before = likelihood
                model, share = maximisation(points, belongs)
        except LinAlgError:  # hardly any points belong: collapsed
            continue
        if likelihood > best_likelihood:
            best, best_likelihood = model, likelihood
    return best


def expectation(points: np.ndarray, model: Gaussian, share: float, outlier_nll: float) -> tuple[np.ndarray, float]:
    """Probability of each point to belong to the Gaussian, and the mean log-likelihood of the mixture."""
    log_det = np.log(np.diag(model.factor)).sum()
    inlier = -0.5 * (model.squared_distance(points) + points.shape[1] * np.log(2 * np.pi)) - log_det
    inlier += np.log1p(-share)
    total = np.logaddexp(inlier, np.log(share) - outlier_nll)
    return np.exp(inlier - total), float(total.mean())


def maximisation(points: np.ndarray, belongs: np.ndarray) -> tuple[Gaussian, float]:
    """The weighted Gaussian and the share of outliers. Raises LinAlgError for a singular covariance."""
    weight = belongs.sum()
    mean = belongs @ points / max(weight, 1e-12)
    centred = (points - mean) * np.sqrt(belongs)[:, None]
    covariance = centred.T @ centred / max(weight, 1e-12) + 1e-9 * np.eye(points.shape[1])
    share = np.clip(1 - belongs.mean(), 1e-12, 1 - 1e-12)
    return Gaussian(mean, cholesky(covariance, lower=True)), float(share)
