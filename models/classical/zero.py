"""ZERO: a-contrario votes for the origin of the JPEG grid.

T. Nikoukhah, J. Anger, M. Colom, J.-M. Morel and R. Grompone von Gioi, "ZERO: a Local JPEG Grid Origin Detector
Based on the Number of DCT Zeros and its Applications in Image Forensics", Image Processing On Line 11, 2021.

Trace: an 8x8 block that lies on the grid of a JPEG compression has more DCT coefficients that are zero than the
blocks that cut across the grid. Pixels vote for the origin of the grid they were compressed on; a region whose
votes agree on an origin that is not the photo's was pasted (copy-moves included) from elsewhere, and one where
the grid is missing was not compressed with the photo.

Works on pixels, so also on a PNG made from a JPEG, with few false alarms. Cannot work on a photo without any
JPEG history, after resizing or noise, when host and donor happen to share the grid (one paste in 64), or where
the last compression is stronger than those before: it imposes one grid on all.
"""

from __future__ import annotations

import cv2
import numpy as np
from scipy.stats import binom

from models import Localizer, register
from models.classical.blocks import BLOCK, DCT_MATRIX
from models.image import ForensicImage, ScoreMap, decode_rgb, encode_jpeg, weighted_sum

ORIGINS = BLOCK * BLOCK
NO_VOTE = 255
NEIGHBOUR = 9  # two votes at most this far apart in both directions belong to one region
# Coefficients (0, 4), (4, 0) and (4, 4) of integer pixels are multiples of 1/8: one that is .5 is not zero, and
# the margin keeps rounding errors from deciding otherwise.
ZERO_BELOW = 0.5 - 2e-4


@register(
    "zero",
    title="JPEG grid votes (ZERO)",
    paper="Nikoukhah et al., ZERO: a local JPEG grid origin detector, IPOL 2021",
    year=2021,
    summary="Pixels vote for the origin of their JPEG grid; an a-contrario test finds regions off the photo's grid.",
    groups=("baselines", "classical"),
)
class Zero(Localizer):
    """Regions with a significant JPEG grid that is not the photo's, and votes against the photo's grid elsewhere.

    missing_grid: also look for regions that carry no grid in a photo that has one: saved at quality 99, they
        take the new grid (section 4.3).
    window: side of the window in which votes are counted for the ranking of pixels outside significant regions,
        in pixels (ours; the paper yields the regions alone).

    Scores, as logits: 1..2 for a pixel in a region with fewer than one false alarm expected, else -1..0; within
    each part the share of the votes around the pixel that are against the photo's grid decides, which is what
    ranks pixels. -1 for all where the photo has neither a significant grid nor a region. extras: "origin", the
    photo's grid as (row, column) of its first block, or None.

    Compared with the authors' C program of November 2021 on its four sample images and 21 photos of six test
    sets: the same main grid or none on all 25, its three regions found (IoU .97, 1.0, .98) and one more on a photo
    at the edge of significance. Votes differ in .05 to 1.6 % of the pixels of photos with JPEG history and 3 to 12 %
    in the others, where coefficients of exactly .5 tie and its rounding decides.
    """

    def __init__(self, missing_grid: bool = True, window: int = 33):
        if window < 1:
            raise ValueError(f"zero: window must be at least 1, got {window}")
        self.missing_grid = missing_grid
        self.window = window

    def localize(self, image: ForensicImage) -> ScoreMap:
        """Score map of the image's size; defined for every image, images below 15 pixels a side have no votes."""
        votes = grid_votes(image.rgb)
        origin = main_grid(votes)
        forged = forged_regions(votes, exclude=origin)
        share = np.zeros(image.shape, np.float32)
        if origin is not None:
            if self.missing_grid:
                forged |= missing_regions(votes, grid_votes(decode_rgb(encode_jpeg(image.rgb, 99))), origin)
            share = share_against(votes, origin, self.window)
        found = None if origin is None else divmod(origin, BLOCK)
        return ScoreMap(share + np.where(forged, np.float32(1), np.float32(-1)), "logit", extras={"origin": found})


def grid_votes(rgb: np.ndarray) -> np.ndarray:
    """Every pixel's vote for a grid origin: uint8 (H, W), 8 * (row % 8) + column % 8, or 255 for none.

    A pixel votes for the origin of the one block, of the 64 that hold it, with the most zero coefficients (section
    2). It does not vote when two blocks tie, when the winner is constant along a direction, and within 7 pixels
    of the border.
    """
    luminance = np.rint(weighted_sum(rgb, (0.299, 0.587, 0.114)))
    height, width = luminance.shape
    votes = np.full((height, width), NO_VOTE, np.uint8)
    if min(height, width) < 2 * BLOCK - 1:
        return votes
    rows, columns = height - BLOCK + 1, width - BLOCK + 1
    phase = (BLOCK * (np.arange(rows)[:, None] % BLOCK) + np.arange(columns) % BLOCK).astype(np.uint16)
    count = zero_counts(luminance)[:rows, :columns].astype(np.uint16) << 7
    constant = constant_blocks(luminance)[:rows, :columns].astype(np.uint16)
    # The 64 blocks that hold a pixel have 64 different phases. So the maximum of (zeros, phase) over them and
    # that of (zeros, 63 - phase) name the same block exactly when no other one ties with it.
    up = window_maximum(count | (phase << 1) | constant)
    down = window_maximum(count | ((ORIGINS - 1 - phase) << 1) | constant)
    winner = (up >> 1) & (ORIGINS - 1)
    valid = (winner + ((down >> 1) & (ORIGINS - 1)) == ORIGINS - 1) & (up & 1 == 0) & (up >> 7 > 0)
    inner = np.s_[BLOCK - 1 : -(BLOCK - 1), BLOCK - 1 : -(BLOCK - 1)]
    votes[inner] = np.where(valid, winner, NO_VOTE)
    return votes


def zero_counts(luminance: np.ndarray) -> np.ndarray:
    """Number of zero AC coefficients, uint8 (H, W), of the block whose top left pixel is here.

    Blocks that do not lie inside the image hold values without a meaning.
    """
    count = np.zeros(luminance.shape, np.uint8)
    luminance = luminance - 128  # smaller numbers, smaller rounding errors
    for vertical in range(BLOCK):
        rows = cv2.filter2D(luminance, cv2.CV_32F, DCT_MATRIX[vertical][:, None], anchor=(0, 0))
        for horizontal in range(BLOCK):
            if vertical or horizontal:
                coefficient = cv2.filter2D(rows, cv2.CV_32F, DCT_MATRIX[horizontal][None], anchor=(0, 0))
                count += np.abs(coefficient, out=coefficient) < ZERO_BELOW
    return count


def constant_blocks(luminance: np.ndarray) -> np.ndarray:
    """Bool (H, W): whether the block whose top left pixel is here is constant along its rows or its columns."""
    across = np.zeros(luminance.shape, np.uint8)
    down = np.zeros(luminance.shape, np.uint8)
    across[:, :-1] = luminance[:, 1:] == luminance[:, :-1]
    down[:-1] = luminance[1:] == luminance[:-1]
    across = cv2.erode(across, np.ones((BLOCK, BLOCK - 1), np.uint8), anchor=(0, 0))
    down = cv2.erode(down, np.ones((BLOCK - 1, BLOCK), np.uint8), anchor=(0, 0))
    return (across | down).astype(bool)


def window_maximum(plane: np.ndarray) -> np.ndarray:
    """Maximum over the 8x8 positions up to and including each, those inside the plane with a full window only."""
    window = np.ones((BLOCK, BLOCK), np.uint8)
    return cv2.dilate(plane, window, anchor=(BLOCK - 1, BLOCK - 1))[BLOCK - 1 :, BLOCK - 1 :]


def log_false_alarms(trials: np.ndarray, successes: np.ndarray, pixels: int) -> np.ndarray:
    """Decimal logarithm of the number of false alarms of `successes` or more votes for one origin in `trials`.

    The number of tests is (64 * pixels)^2: origins, and pairs of corners of a region (equations 4 and 6).
    """
    tests = 2 * np.log10(ORIGINS) + 2 * np.log10(pixels)
    # Where the tail is below the smallest number (-inf), its first term stands for all of it.
    tail = np.maximum(binom.logsf(successes - 1, trials, 1 / ORIGINS), binom.logpmf(successes, trials, 1 / ORIGINS))
    return tests + tail / np.log(10)


def main_grid(votes: np.ndarray) -> int | None:
    """The photo's grid origin, None where no origin has significantly many votes (section 3)."""
    counts = np.bincount(votes.ravel(), minlength=NO_VOTE + 1)[:ORIGINS]
    origin = int(counts.argmax())
    significant = log_false_alarms(votes.size // ORIGINS, int(counts[origin]) // ORIGINS, votes.size) < 0
    return origin if significant else None


def forged_regions(votes: np.ndarray, exclude: int | None) -> np.ndarray:
    """Bool (H, W): regions with a significant grid origin other than `exclude` (section 4, algorithm 3).

    A region is a set of votes for one origin without a gap of more than 9 pixels; neighbouring votes are not
    independent, so 64 count as one. Its mask is closed by 19x19 pixels.
    """
    height, width = votes.shape
    forged = np.zeros((height, width), np.uint8)
    fewest = np.ceil(ORIGINS * (2 + 2 * np.log10(votes.size) / np.log10(ORIGINS)))
    counts = np.bincount(votes.ravel(), minlength=NO_VOTE + 1)[:ORIGINS]
    for origin in np.flatnonzero(counts >= fewest):
        if origin == exclude:
            continue
        member = (votes == origin).astype(np.uint8)
        # Squares of 9x9 pixels touch, corners included, exactly when their votes are at most 9 apart.
        joined = cv2.dilate(member, np.ones((NEIGHBOUR, NEIGHBOUR), np.uint8), anchor=(0, 0))
        regions, labels = cv2.connectedComponents(joined, connectivity=8)
        at = np.flatnonzero(member)
        label = labels.ravel()[at]
        sizes = np.bincount(label, minlength=regions)
        if sizes.max() < fewest:
            continue
        area = extents(at // width, label, regions) * extents(at % width, label, regions)
        significant = log_false_alarms(area // ORIGINS, sizes // ORIGINS, votes.size) < 0
        forged.ravel()[at[(significant & (sizes >= fewest))[label]]] = 1
    window = np.ones((2 * NEIGHBOUR + 1, 2 * NEIGHBOUR + 1), np.uint8)
    return cv2.morphologyEx(forged, cv2.MORPH_CLOSE, window).astype(bool)


def missing_regions(votes: np.ndarray, resaved: np.ndarray, origin: int) -> np.ndarray:
    """Bool (H, W): regions where a re-save at quality 99 imposes its grid because the photo's is missing there.

    votes, resaved: vote maps of the photo and of its re-save. origin: the photo's grid.
    """
    imposed = np.where((votes != origin) & (resaved == 0), np.uint8(0), np.uint8(NO_VOTE))
    return forged_regions(imposed, exclude=None)


def extents(position: np.ndarray, label: np.ndarray, labels: int) -> np.ndarray:
    """Extent of each label's positions along one axis: int64 (labels,), 0 for a label without any."""
    low, high = np.full(labels, np.iinfo(np.int64).max), np.full(labels, -1)
    np.minimum.at(low, label, position)
    np.maximum.at(high, label, position)
    return np.maximum(high - low + 1, 0)


def share_against(votes: np.ndarray, origin: int, window: int) -> np.ndarray:
    """Share of the votes in the window around each pixel that are not for the origin: float32 (H, W), 0..1.

    One window's worth of votes for the photo's average share is added, an eighth as strong, so that a place with
    few votes says little.
    """
    valid = (votes != NO_VOTE).astype(np.float32)
    against = ((votes != origin) & (votes != NO_VOTE)).astype(np.float32)
    average = against.sum() / max(valid.sum(), 1)
    size = (window, window)
    against = cv2.blur(against, size, borderType=cv2.BORDER_REFLECT)
    valid = cv2.blur(valid, size, borderType=cv2.BORDER_REFLECT)
    return (against + average / 8) / (valid + 1 / 8)
