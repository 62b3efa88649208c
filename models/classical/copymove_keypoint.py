"""Copy-move by matched SIFT keypoints.

I. Amerini, L. Ballan, R. Caldelli, A. Del Bimbo and G. Serra, "A SIFT-based Forensic Method for Copy-Move Attack
Detection and Transformation Recovery", IEEE Transactions on Information Forensics and Security 6(3), 2011;
correlation maps as in X. Pan and S. Lyu, "Region Duplication Detection Using Image Feature Matching", ibid. 5(4),
2010.

Trace: two places of one photo whose content is the same up to an affine map.

Works for textured copies of more than some 30 pixels, also rotated, scaled and recompressed. Cannot work for
splices, for smooth copies (no keypoints; the dense method sees those), and takes genuinely repeated structures
(windows, tiles, print) for copies. Source and target cannot be told apart: both are marked, while most test sets
(CASIA, COVERAGE, IMD2020) count the target alone as forged and CoMoFoD counts both.
"""

from __future__ import annotations

import cv2
import numpy as np

from models import Localizer, register
from models.image import ForensicImage, ScoreMap

MAX_COPIES = 3  # neighbours examined by the generalised ratio test
MAX_TRANSFORMS = 6
MAX_HYPOTHESES = 400
CORRELATION_WINDOW = 9
FLAT_STD = 1.0  # below this standard deviation in the window, in grey levels, a correlation says nothing


@register(
    "copymove-sift",
    title="Copy-move, SIFT keypoints",
    paper="Amerini et al., A SIFT-based forensic method for copy-move attack detection, TIFS 2011",
    year=2011,
    summary="Matches keypoints within the photo, estimates the affine map of each copy, marks source and target.",
    groups=("baselines", "classical"),
)
class KeypointCopyMove(Localizer):
    """Places that correlate with another place of the photo under an affine map that many keypoints agree on.

    ratio: threshold of the generalised two-nearest-neighbours test on distances (.5 in the paper).
    min_matches: matches that must agree on one affine map (4 in the paper).
    min_distance: smallest distance between a keypoint and its copy, in pixels; nearer ones are the same structure.
    correlation: normalised cross-correlation above which a pixel counts as copied.
    max_keypoints: only the strongest this many are matched.
    max_pixels: larger images are reduced to this number of pixels for keypoints and correlation.

    The paper clusters matched keypoints by position before the affine map is estimated from each pair of
    clusters; here every match proposes the similarity between its two SIFT frames, the best supported one is
    refined to an affine map on its inliers, and the search is repeated on what is left. Same model, deterministic.

    Scores, as logits: above 0 for pixels of a copied region (.5 + half the correlation), else -1..0, by the
    correlation with the place that the map takes them to; -1 for all without a map. extras: "transforms", the
    affine maps (n, 2, 3) of (x, y) in pixels of the image.

    Compared with brute-force matching of all keypoint pairs in a plain loop, and with the affine maps and masks of
    constructed copies (see the tests); no authors' code is available.
    """

    def __init__(
        self,
        ratio: float = 0.5,
        min_matches: int = 4,
        min_distance: float = 24.0,
        correlation: float = 0.6,
        max_keypoints: int = 2500,
        max_pixels: int = 1_000_000,
    ):
        if not 0 < ratio < 1 or min_matches < 3 or max_keypoints < 2 or max_pixels < 1024:
            raise ValueError(
                f"copymove-sift: ratio is in 0..1, min_matches at least 3, max_keypoints at least 2, max_pixels at "
                f"least 1024; got {ratio}, {min_matches}, {max_keypoints}, {max_pixels}"
            )
        self.ratio = ratio
        self.min_matches = min_matches
        self.min_distance = min_distance
        self.correlation = correlation
        self.max_keypoints = max_keypoints
        self.max_pixels = max_pixels

    def localize(self, image: ForensicImage) -> ScoreMap:
        """Score map of the image's size; defined for every image (-1 everywhere where nothing matches)."""
        height, width = image.shape
        factor = min(1.0, np.sqrt(self.max_pixels / (height * width)))
        size = max(1, round(width * factor)), max(1, round(height * factor))
        grey = image.luminance
        if factor < 1:
            grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
        frames, descriptors = keypoints(grey, self.max_keypoints)
        pairs = match(frames[:, :2], descriptors, self.ratio, self.min_distance)
        transforms = affine_maps(frames, pairs, self.min_matches, tolerance=3.0)
        score = np.full(grey.shape, -1, np.float32)
        for transform, inliers in transforms:
            mark(score, grey, transform, frames[pairs[inliers, 0], :2], self.correlation)
            back = cv2.invertAffineTransform(transform)
            mark(score, grey, back, frames[pairs[inliers, 1], :2], self.correlation)
        if factor < 1:
            score = cv2.resize(score, (width, height), interpolation=cv2.INTER_LINEAR)
        maps = np.array([transform for transform, _ in transforms]).reshape(-1, 2, 3)
        maps[:, :, 2] /= factor
        return ScoreMap(score, "logit", extras={"transforms": maps})


def keypoints(grey: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """SIFT frames float32 (n, 4) of x, y, size in pixels, angle in radians; descriptors (n, 128) of unit length."""
    # A low contrast threshold, since copies often hide in places without strong structure.
    sift = cv2.SIFT_create(nfeatures=most, contrastThreshold=0.01)
    found, descriptors = sift.detectAndCompute(np.clip(np.rint(grey), 0, 255).astype(np.uint8), None)
    if not found:
        return np.zeros((0, 4), np.float32), np.zeros((0, 128), np.float32)
    frames = np.array([(*k.pt, k.size, np.deg2rad(k.angle)) for k in found], np.float32)
    descriptors /= np.maximum(np.linalg.norm(descriptors, axis=1, keepdims=True), 1e-6)
    return frames, descriptors


def match(positions: np.ndarray, descriptors: np.ndarray, ratio: float, min_distance: float) -> np.ndarray:
    """Pairs (m, 2) of keypoint indices by the generalised ratio test.

    Of a keypoint's neighbours in order of descriptor distance d1 <= d2 <= ..., the first k match where k is the
    largest number with every d_i < ratio * d_(i+1), i <= k (at most 3). Keypoints nearer than min_distance pixels
    are no neighbours.
    """
    pairs = [np.zeros((0, 2), np.int64)]
    x, y = np.ascontiguousarray(positions.T)
    for start in range(0, len(positions), 512):
        rows = slice(start, min(start + 512, len(positions)))
        similarity = descriptors[rows] @ descriptors.T
        apart = np.subtract.outer(x[rows], x)
        apart *= apart
        across = np.subtract.outer(y[rows], y)
        apart += np.multiply(across, across, out=across)
        similarity[apart < min_distance**2] = -np.inf
        each = np.arange(len(similarity))
        nearest, distance = [], []
        for _ in range(MAX_COPIES + 1):
            best = similarity.argmax(axis=1)
            nearest.append(best)
            distance.append((2 - 2 * similarity[each, best]).clip(0))  # squared, of unit vectors
            similarity[each, best] = -np.inf
        passes = np.ones(len(each), bool)
        for k in range(MAX_COPIES):
            passes = passes & (distance[k] < ratio**2 * distance[k + 1]) & np.isfinite(distance[k + 1])
            pairs.append(np.column_stack([each[passes] + start, nearest[k][passes]]))
    pairs = np.concatenate(pairs)
    pairs.sort(axis=1)
    return np.unique(pairs, axis=0)


def affine_maps(
    frames: np.ndarray, pairs: np.ndarray, min_matches: int, tolerance: float
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Affine maps (2, 3) that at least min_matches pairs agree on within `tolerance` pixels, with those pairs' indices.

    Best supported first. A pair counts in either direction; the map takes its first keypoint to its second.
    """
    found = []
    left = np.arange(len(pairs))
    while len(left) >= min_matches and len(found) < MAX_TRANSFORMS:
        source, target = frames[pairs[left, 0]], frames[pairs[left, 1]]
        seeds = np.unique(np.linspace(0, len(left) - 1, MAX_HYPOTHESES).astype(int))
        turn = target[seeds, 3] - source[seeds, 3]
        scale = target[seeds, 2] / source[seeds, 2]
        cosine, sine = scale * np.cos(turn), scale * np.sin(turn)
        x, y = (source[None, :, i] - source[seeds, None, i] for i in (0, 1))
        error_x = cosine[:, None] * x - sine[:, None] * y - (target[None, :, 0] - target[seeds, None, 0])
        error_y = sine[:, None] * x + cosine[:, None] * y - (target[None, :, 1] - target[seeds, None, 1])
        # The frame's angle and scale are rough: the farther from the seed, the larger the error it may make.
        allowed = tolerance + 0.15 * np.hypot(x, y) * scale[:, None]
        support = np.hypot(error_x, error_y) < allowed
        inliers = np.flatnonzero(support[support.sum(axis=1).argmax()])
        if len(inliers) < min_matches:
            break
        transform, agreed = cv2.estimateAffine2D(
            source[inliers, :2], target[inliers, :2], method=cv2.RANSAC, ransacReprojThreshold=tolerance
        )
        agreed = inliers[agreed.ravel() > 0] if transform is not None else inliers[:0]
        if len(agreed) >= min_matches and plausible(transform) and spread(source[agreed, :2], target[agreed, :2]):
            found.append((transform, left[agreed]))
            left = np.delete(left, agreed)
        else:
            left = np.delete(left, inliers)
    return found


def plausible(transform: np.ndarray) -> bool:
    """Whether the affine map scales by a factor of 1/4 to 4 in every direction."""
    low, high = np.linalg.svd(transform[:, :2], compute_uv=False)[::-1]
    return low > 0.25 and high < 4


def spread(source: np.ndarray, target: np.ndarray) -> bool:
    """Whether the points do not lie in one line: the smaller standard deviation is above 2 pixels on both sides."""
    return all(np.linalg.svd(p - p.mean(axis=0), compute_uv=False)[-1] > 2 * np.sqrt(len(p)) for p in (source, target))


def mark(score: np.ndarray, grey: np.ndarray, transform: np.ndarray, points: np.ndarray, threshold: float) -> None:
    """Raise `score` (H, W), in place, where the photo correlates with itself under the map around the points."""
    height, width = grey.shape
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    moved = cv2.warpAffine(grey, transform, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    inside = cv2.warpAffine(np.ones((height, width), np.uint8), transform, (width, height), flags=flags)
    correlation = cross_correlation(grey, moved, CORRELATION_WINDOW)
    correlation[inside == 0] = 0
    np.maximum(correlation, 0, out=correlation)
    correlation = cv2.GaussianBlur(correlation, (7, 7), 0)
    above = (correlation > threshold).astype(np.uint8)
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7))
    _, labels = cv2.connectedComponents(cv2.morphologyEx(above, cv2.MORPH_OPEN, disk), connectivity=4)
    x, y = np.clip(np.rint(points).astype(int), 0, [width - 1, height - 1]).T
    kept = np.zeros(labels.max() + 1, bool)
    kept[labels[y, x]] = True
    kept[0] = False
    region = (
        cv2.morphologyEx(
            kept[labels].astype(np.uint8), cv2.MORPH_CLOSE, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (15, 15))
        )
        > 0
    )
    np.maximum(score, np.where(region, (1 + correlation) / 2, correlation - 1), out=score)


def cross_correlation(first: np.ndarray, second: np.ndarray, window: int) -> np.ndarray:
    """Normalised cross-correlation of two float32 planes in the window around each pixel: float32, -1..1.

    0 where either is flat.
    """
    size = (window, window)
    first, second = first - first.mean(), second - second.mean()
    mean_first, mean_second = cv2.blur(first, size), cv2.blur(second, size)
    covariance = cv2.blur(first * second, size) - mean_first * mean_second
    variance_first = cv2.blur(first * first, size) - mean_first**2
    variance_second = cv2.blur(second * second, size) - mean_second**2
    textured = (variance_first > FLAT_STD**2) & (variance_second > FLAT_STD**2)
    scale = np.sqrt(np.where(textured, variance_first * variance_second, 1))
    return np.where(textured, np.clip(covariance / scale, -1, 1), 0).astype(np.float32)
