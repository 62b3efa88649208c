"""Copy-move by a dense field of nearest neighbours.

D. Cozzolino, G. Poggi and L. Verdoliva, "Efficient Dense-Field Copy-Move Forgery Detection", IEEE Transactions on
Information Forensics and Security 10(11), 2015.

Trace: around a copied region, the offset from each pixel to the place that looks most like it varies linearly with
position; elsewhere it is erratic.

Works for smooth and textured copies alike, rotated, moderately scaled and recompressed. Cannot work for splices,
for copies smaller than some 30 pixels, in flat or saturated regions (excluded: every flat patch looks like every
other), and takes repeated structures and round objects for copies. Source and target cannot be told apart: both
are marked, while most test sets (CASIA, COVERAGE, IMD2020) count the target alone as forged and CoMoFoD counts both.
"""

from __future__ import annotations

from math import factorial

import cv2
import numpy as np

from models import Localizer, register
from models.classical.blocks import require_size
from models.image import ForensicImage, ScoreMap

PATCH = 16  # diameter of the patches, in pixels
ORDER = 5  # Zernike moments up to this order: 12 of them
STRIDE = 2  # the field is computed for every second pixel of every second row; its targets are single pixels
PROJECTIONS = 12
RANK_REACH = 2
FLAT_STD = 1.0  # standard deviation of a patch, in grey levels, below which it is flat
MAX_MAGNIFICATION = 3.0  # of areas
MUTUAL_WITHIN = 6.0  # pixels between a place and where its target points back to
MUTUAL_SHARE = 0.5  # of a region's places must be pointed back to
MEDIAN = 4  # radius of the median filter of the field, in pixels
NEIGHBOURS = ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, -1), (1, -1), (-1, 1))


@register(
    "copymove-dense",
    title="Copy-move, dense field",
    paper="Cozzolino et al., Efficient dense-field copy-move forgery detection, TIFS 2015",
    year=2015,
    summary="Zernike moments of every patch, matched densely; marks regions whose offsets vary linearly.",
    groups=("classical",),
)
class DenseCopyMove(Localizer):
    """Regions whose nearest-neighbour offsets fit an affine map locally.

    Features are the magnitudes of the 12 Zernike moments up to order 5 of the 16x16 patch around each pixel, which do
    not change with rotation. The nearest-neighbour field starts from neighbours in the order of random projections
    of the features and is improved as in PatchMatch: by neighbours' offsets, by linear extrapolation of them, and
    at random. (The paper scans pixels in turn; here all pixels take a step at once, over doubling distances.)
    The squared error of an affine fit to the median-filtered field in a window around the pixel decides; a region
    whose targets point elsewhere (less than half of them back) or whose map changes areas by more than a factor
    of 3 is dropped, which the paper does not do.

    iterations: improvements of the field (8 in the paper).
    min_distance: smallest offset, in pixels, since patches that overlap look alike (8 when matching and 50 for
        regions in the paper).
    max_error: mean squared error of the affine fit below which a pixel counts as copied, pixels squared (the
        paper's 300 summed over its window of 113 pixels).
    window: side of the window of the fit, in pixels (13 in the paper).
    min_area: smallest region, as a share of the image (.0015: the paper's 1200 pixels of 1024x768).
    max_pixels: larger images are reduced to this number of pixels.

    Scores, as logits: 0..1 for pixels of a copied region, else -1..0; within each the better fit is larger. extras:
    "offset", the field int32 (rows, columns, 2) of (y, x) offsets in pixels of the working image.

    Compared with the exact nearest neighbours of all patches by brute force (median distance within 10 %), the
    affine fit with least squares, and masks of constructed copies; the authors' MATLAB program was not available.
    """

    def __init__(
        self,
        iterations: int = 8,
        min_distance: float = 40.0,
        max_error: float = 2.65,
        window: int = 13,
        min_area: float = 0.0015,
        max_pixels: int = 300_000,
    ):
        if iterations < 0 or min_distance < 1 or max_error <= 0 or window < 5 or max_pixels < 4 * PATCH**2:
            raise ValueError(
                f"copymove-dense: needs iterations >= 0, min_distance >= 1, max_error > 0, window >= 5, max_pixels >= "
                f"{4 * PATCH**2}, got {iterations}, {min_distance}, {max_error}, {window} and {max_pixels}"
            )
        self.iterations = iterations
        self.min_distance = min_distance
        self.max_error = max_error
        self.window = window
        self.min_area = min_area
        self.max_pixels = max_pixels

    def localize(self, image: ForensicImage) -> ScoreMap:
        """Score map of the image's size. Raises NotApplicable for images below 32 pixels a side."""
        require_size(image, 2 * PATCH, 2 * PATCH)
        height, width = image.shape
        factor = min(1.0, np.sqrt(self.max_pixels / (height * width)))
        size = max(2 * PATCH, round(width * factor)), max(2 * PATCH, round(height * factor))
        grey = image.luminance
        if size != (width, height):
            grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
        features = zernike_magnitudes(grey)
        offset = nearest_neighbours(features, self.min_distance, self.iterations)
        score = self.score(grey, offset)
        if score.shape != image.shape:
            score = cv2.resize(score, (width, height), interpolation=cv2.INTER_LINEAR)
        return ScoreMap(score, "logit", extras={"offset": offset})

    def score(self, grey: np.ndarray, offset: np.ndarray) -> np.ndarray:
        """Score map float32 of the working image (H, W) from the offset field on the grid."""
        rows, columns = offset.shape[:2]
        error, magnification = affine_fit(offset, self.window // STRIDE // 2)
        # In a flat patch, noise decides which place is nearest.
        centres = np.s_[PATCH // 2 :: STRIDE, PATCH // 2 :: STRIDE]
        candidate = (local_std(grey)[centres][:rows, :columns] > FLAT_STD) & (error < self.max_error)
        # Along edges and in gradients the field is linear too, but many pixels share a target.
        candidate &= (magnification > 1 / MAX_MAGNIFICATION) & (magnification < MAX_MAGNIFICATION)
        grid = np.stack(np.mgrid[:rows, :columns], axis=2)
        target = np.clip(np.rint(grid + offset / STRIDE).astype(int), 0, [rows - 1, columns - 1])
        back = offset + offset[target[:, :, 0], target[:, :, 1]]
        mutual = np.hypot(back[:, :, 0], back[:, :, 1]) <= MUTUAL_WITHIN
        region = self.large_and_mutual(candidate, mutual, grey.size)
        fit = (self.max_error / (self.max_error + error)).astype(np.float32)  # 1 perfect, .5 at the threshold
        # The place that a copied pixel points at is the other half of the pair.
        other = tuple(target[region].T)
        support = np.where(region, fit, 0)
        np.maximum.at(support, other, fit[region])
        grown = 2 * ((self.window // 2 + MEDIAN) // STRIDE) + 1  # what the fit and the median need around a point
        support = cv2.dilate(support, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (grown, grown)))
        score = np.full(grey.shape, -1, np.float32)
        inner = score[PATCH // 2 : 1 - PATCH // 2, PATCH // 2 : 1 - PATCH // 2]
        fine = np.where(support > 0, support, fit - 1).repeat(STRIDE, axis=0).repeat(STRIDE, axis=1)
        inner[:] = fine[: inner.shape[0], : inner.shape[1]]
        return score

    def large_and_mutual(self, candidate: np.ndarray, mutual: np.ndarray, pixels: int) -> np.ndarray:
        """Bool: the connected parts of `candidate` that are large enough and whose targets mostly point back."""
        regions, labels = cv2.connectedComponents(candidate.astype(np.uint8), connectivity=8)
        size = np.bincount(labels.ravel(), minlength=regions)
        answered = np.bincount(labels.ravel(), weights=mutual.ravel(), minlength=regions)
        kept = (size * STRIDE**2 >= self.min_area * pixels) & (answered >= MUTUAL_SHARE * size)
        kept[0] = False
        return kept[labels]


def zernike_kernels() -> np.ndarray:
    """Complex (12, 16, 16) Zernike polynomials up to order 5 on the disk inscribed in the patch, of unit norm."""
    axis = (np.arange(PATCH) - (PATCH - 1) / 2) / (PATCH / 2)
    x, y = np.meshgrid(axis, axis)
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    kernels = []
    for n in range(ORDER + 1):
        for m in range(n % 2, n + 1, 2):
            radial = sum(
                (-1) ** k
                * factorial(n - k)
                / (factorial(k) * factorial((n + m) // 2 - k) * factorial((n - m) // 2 - k))
                * radius ** (n - 2 * k)
                for k in range((n - m) // 2 + 1)
            )
            kernel = np.where(radius <= 1, radial * np.exp(-1j * m * angle), 0)
            kernels.append(kernel / np.linalg.norm(kernel))
    return np.array(kernels)


def zernike_magnitudes(grey: np.ndarray) -> np.ndarray:
    """Features float32 (H - 15, W - 15, 12): [i, j] describes the patch whose top left pixel is (i, j)."""
    height, width = grey.shape
    inner = np.s_[PATCH // 2 : height - PATCH // 2 + 1, PATCH // 2 : width - PATCH // 2 + 1]
    features = []
    for kernel in zernike_kernels():
        parts = [kernel.real] if np.allclose(kernel.imag, 0) else [kernel.real, kernel.imag]
        moments = [cv2.filter2D(grey, cv2.CV_32F, part.astype(np.float32))[inner] for part in parts]
        features.append(np.abs(moments[0]) if len(moments) == 1 else cv2.magnitude(*moments))
    return np.stack(features, axis=2)


def local_std(grey: np.ndarray) -> np.ndarray:
    """Standard deviation, float32 (H, W), in the patch-sized window around each pixel."""
    grey = grey - grey.mean()
    mean, square = (cv2.blur(plane, (PATCH, PATCH)) for plane in (grey, grey * grey))
    return np.sqrt(np.maximum(square - mean * mean, 0))


class Field:
    """A nearest-neighbour field being improved: for every grid point the best target patch found so far.

    features: float32 (rows, columns, n). Grid points are every STRIDE-th row and column of them, numbered row by row.

    Costs only fall, so an offset that a point has refused once it would refuse again: a neighbour's offset is looked at
    only if it changed since it was last looked at. This changes no result.
    """

    def __init__(self, features: np.ndarray, min_distance: float):
        self.limits = features.shape[:2]
        self.flat = features.reshape(-1, features.shape[2])
        rows, columns = (np.arange(0, n, STRIDE, dtype=np.int32) for n in self.limits)
        self.shape = len(rows), len(columns)
        self.y, self.x = (axis.ravel() for axis in np.meshgrid(rows, columns, indexing="ij"))
        self.own = features[::STRIDE, ::STRIDE].reshape(len(self.y), -1)
        self.nearest_allowed = min_distance**2
        self.offset_y, self.offset_x = np.zeros_like(self.y), np.zeros_like(self.x)
        self.cost = np.full(len(self.y), np.inf, np.float32)
        self.clock = 0  # counts the calls of `consider`
        self.changed = np.zeros(len(self.y), np.int32)  # the call in which a point's offset last changed
        self.looked: dict[tuple[int, int], int] = {}  # the call in which these steps were last looked at
        self.steps: dict[tuple[int, int], np.ndarray] = {}

    def consider(self, at: np.ndarray, offset_y: np.ndarray, offset_x: np.ndarray) -> None:
        """Have the points `at` take these offsets where they lead to a nearer patch inside the image."""
        self.clock += 1
        y, x = self.y[at] + offset_y, self.x[at] + offset_x
        useful = (y >= 0) & (y < self.limits[0]) & (x >= 0) & (x < self.limits[1])
        useful &= offset_y * offset_y + offset_x * offset_x >= self.nearest_allowed
        useful &= (offset_y != self.offset_y[at]) | (offset_x != self.offset_x[at])
        kept = np.flatnonzero(useful)
        at = at[kept]
        target = self.flat.take(y[kept] * self.limits[1] + x[kept], axis=0)
        target -= self.own.take(at, axis=0)
        cost = np.einsum("ij,ij->i", target, target)
        better = np.flatnonzero(cost < self.cost[at])
        at, kept = at[better], kept[better]
        self.cost[at] = cost[better]
        self.offset_y[at], self.offset_x[at] = offset_y[kept], offset_x[kept]
        self.changed[at] = self.clock

    def neighbour(self, row_step: int, column_step: int) -> np.ndarray:
        """The grid point this many steps away from each one, the outermost one where that is outside."""
        if (row_step, column_step) not in self.steps:
            steps = zip(self.shape, (row_step, column_step), strict=True)
            rows, columns = (np.clip(np.arange(n) + step, 0, n - 1) for n, step in steps)
            self.steps[row_step, column_step] = (rows[:, None] * self.shape[1] + columns).ravel()
        return self.steps[row_step, column_step]

    def start(self, rng: np.random.Generator) -> None:
        """Offsets to neighbours in the order of random projections: alike patches have similar projections."""
        every = np.arange(len(self.y))
        own = (self.own - self.own.mean(axis=0)) / np.maximum(self.own.std(axis=0), 1e-6)
        for direction in rng.normal(size=(PROJECTIONS, own.shape[1])).astype(np.float32):
            order = np.argsort(own @ direction, kind="stable")
            for reach in range(1, RANK_REACH + 1):
                for turn in (reach, -reach):
                    other = np.empty_like(order)
                    other[order] = np.roll(order, turn)
                    self.consider(every, self.y[other] - self.y, self.x[other] - self.x)

    def improve(self, rng: np.random.Generator) -> None:
        """One round: offsets of neighbours, their linear extrapolation, and random changes of one's own."""
        for step in (8, 4, 2, 1):
            for row, column in NEIGHBOURS[:4] if step > 1 else NEIGHBOURS:
                self.look(step * row, step * column, extrapolate=step <= 4)
        every = np.arange(len(self.y))
        for radius in (max(self.limits) // 4, 16, 4, 1):
            change = rng.integers(-radius, radius + 1, (2, *self.shape), dtype=np.int32).reshape(2, -1)
            self.consider(every, self.offset_y + change[0], self.offset_x + change[1])

    def look(self, row_step: int, column_step: int, extrapolate: bool) -> None:
        """Consider the offset of the neighbour this many steps away, then what it and the one behind extrapolate to."""
        near, far = self.neighbour(row_step, column_step), self.neighbour(2 * row_step, 2 * column_step)
        new = self.changed >= self.looked.get((row_step, column_step), 0)
        self.looked[row_step, column_step] = self.clock + 1
        near_y, near_x = self.offset_y[near], self.offset_x[near]
        at = np.flatnonzero(new[near])
        self.consider(at, near_y[at], near_x[at])
        if extrapolate:
            new |= self.changed == self.clock
            at = np.flatnonzero(new[near] | new[far])
            behind = far[at]
            self.consider(at, 2 * near_y[at] - self.offset_y[behind], 2 * near_x[at] - self.offset_x[behind])


def nearest_neighbours(features: np.ndarray, min_distance: float, iterations: int) -> np.ndarray:
    """Offsets int32 (grid rows, grid columns, 2) of (y, x) in pixels to a nearest patch; 0 where there is none.

    Approximate: random, yet the same in every run.
    """
    rng = np.random.default_rng(0)
    field = Field(features, min_distance)
    field.start(rng)
    for _ in range(iterations):
        field.improve(rng)
    return np.stack([axis.reshape(field.shape) for axis in (field.offset_y, field.offset_x)], axis=2)


def affine_fit(offset: np.ndarray, radius: int) -> tuple[np.ndarray, np.ndarray]:
    """Affine fit to the median-filtered field (rows, columns, 2) in the square window around each grid point.

    Returns the mean squared error, pixels squared, both components together, and the magnification, |det| of the
    map from position to target: float32 (rows, columns) both.
    """
    size = 2 * radius + 1
    ramp = np.arange(-radius, radius + 1, dtype=np.float64)
    ones = np.ones(size)
    power = float(size * (ramp @ ramp))
    error = np.zeros(offset.shape[:2])
    slopes = []
    for component in (0, 1):
        plane = cv2.medianBlur(offset[:, :, component].astype(np.int16), 2 * (MEDIAN // STRIDE) + 1).astype(np.float64)
        # Constant, x and y are orthogonal on a symmetric window, so the fit is three sums.
        square, constant, along_y, along_x = (
            cv2.sepFilter2D(values, cv2.CV_64F, across, down, borderType=cv2.BORDER_REPLICATE)
            for values, across, down in (
                (plane**2, ones, ones),
                (plane, ones, ones),
                (plane, ones, ramp),
                (plane, ramp, ones),
            )
        )
        error += square - constant**2 / size**2 - (along_y**2 + along_x**2) / power
        slopes.append((along_y / power / STRIDE, along_x / power / STRIDE))
    (y_by_y, y_by_x), (x_by_y, x_by_x) = slopes
    magnification = np.abs((1 + y_by_y) * (1 + x_by_x) - y_by_x * x_by_y)
    return np.maximum(error / size**2, 0).astype(np.float32), magnification.astype(np.float32)
