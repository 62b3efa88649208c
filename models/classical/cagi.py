"""Content-aware inconsistencies of the JPEG grid (CAGI) and its inverse.

C. Iakovidou, M. Zampoglou, S. Papadopoulos and Y. Kompatsiaris, "Content-aware detection of JPEG grid inconsistencies
for intuitive image forensics", Journal of Visual Communication and Image Representation 54, 2018.

Trace: a 2x2 pixel group across the corner of four JPEG blocks shows a larger cross difference than one in the
middle of a block. Regions that do not show it at the photo's grid do not belong to the photo's compression. Flat,
over- and underexposed regions and strong contours, where the difference says nothing, are discounted.

Works for splices in JPEG photos of quality 90 and below ("cagi"), or for donors compressed more strongly than the
photo on the same grid ("cagi-inverse"). Cannot work after resizing or when the last compression is the strongest; its
cells are 16 or 24 pixels wide and smoothed over five, so small forgeries are lost.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from models import Localizer, register
from models.classical.blocks import BLOCK, require_size, to_pixels
from models.image import ForensicImage, ScoreMap, weighted_sum

BINS = 40
TILE = 10  # side of a content tile, in pixels of the photo brought to 600x600
TILES = 60
ORIENTATIONS, OFFSETS = 12, 5
SMOOTH = 5  # cells
OVEREXPOSED, UNDEREXPOSED = 245, 15
NO_CONTENT = 4.0  # contrast of a tile in percent of the grey range
LARGE_IMAGE = 480 * 640


class _Cagi(Localizer):
    """What both directions share."""

    inverse: bool

    def localize(self, image: ForensicImage) -> ScoreMap:
        """Score map of the image's size. Raises NotApplicable for images below 32 pixels a side."""
        require_size(image, 4 * BLOCK, 4 * BLOCK)
        side = 2 if image.rgb.shape[0] * image.rgb.shape[1] < LARGE_IMAGE else 3
        # The luma of ITU-R BT.601 in its video range, as in the reference.
        luma = weighted_sum(image.rgb, (0.256788, 0.504129, 0.0979058))
        grids = candidate_grids(luma, side)
        content = scene_content(image.rgb, side, grids.response.shape[1:])
        values = grid_inconsistency(grids, content, self.inverse)
        return ScoreMap(to_pixels(values, image.shape, side * BLOCK), "score", extras={"origin": grids.origin})


@register(
    "cagi",
    title="Content-aware grid inconsistencies (CAGI)",
    paper="Iakovidou et al., Content-aware detection of JPEG grid inconsistencies, JVCIR 2018",
    year=2018,
    summary="Regions whose cross differences do not follow the photo's JPEG grid, discounted by content.",
    groups=("classical",),
)
class Cagi(_Cagi):
    """Regions with less of the photo's JPEG grid than the photo.

    Scores: 0..1; no fixed threshold has a meaning. extras: "origin", the photo's grid as (row, column) of its first
    block.

    Compared with pyIFD 0.0.3's CAGI on four photos of 300x451 to 512x512 pixels at qualities 60, 75 and 90: pixel
    correlation .983 to .995 in eleven cases, .87 in one where its index of the photo's grid is off by one. The edge
    templates are our own (half planes in 12 directions) and maps are interpolated between cells.
    """

    inverse = False


@register(
    "cagi-inverse",
    title="Content-aware grid inconsistencies, inverse (CAGI)",
    paper="Iakovidou et al., Content-aware detection of JPEG grid inconsistencies, JVCIR 2018",
    year=2018,
    summary="Regions with more of a JPEG grid than the photo, discounted by content.",
    groups=("classical",),
)
class InverseCagi(_Cagi):
    """Regions with more of the photo's JPEG grid than the photo, for donors compressed more strongly than the photo.

    Scores: -1..0, the negative of the paper's inverse map, in which forged regions are dark; no fixed threshold has a
    meaning. extras as for `cagi`.

    Compared with pyIFD 0.0.3's inverse map on the same photos: pixel correlation .991 to .996, .92 in the one.
    """

    inverse = True


@dataclass(frozen=True)
class Grids:
    """The 16 candidate grids of a photo, least likely first.

    response: float (16, rows, columns), mean strength of the grid in each cell, grey levels over 255.
    inside: int (16, 2), 0..7: (row, column) of the pixel group in the middle of a block of each grid.
    distance: float (16,), half the distance between the histograms of cross differences on and off the grid.
    """

    response: np.ndarray
    inside: np.ndarray
    distance: np.ndarray

    @property
    def origin(self) -> tuple[int, int]:
        """(row, column) 0..7 of the first block of the likeliest grid."""
        row, column = (self.inside[-1] - 3) % BLOCK
        return int(row), int(column)

    @property
    def standard(self) -> int | None:
        """Index of the grid that starts in the top left corner, None where it is not a candidate."""
        at = np.flatnonzero((self.inside == 3).all(axis=1))
        return int(at[0]) if at.size else None


def candidate_grids(luma: np.ndarray, side: int) -> Grids:
    """Cross differences at the 64 phases of 8x8 blocks, paired into 16 grids (section 3.1).

    luma: float32 (H, W). side: blocks a cell is wide.
    """
    cross = np.abs(luma[:-1, :-1] - luma[:-1, 1:] - luma[1:, :-1] + luma[1:, 1:])
    rows, columns = (n // BLOCK - 1 for n in luma.shape)
    distance, middle = np.zeros((BLOCK, BLOCK)), np.zeros((BLOCK, BLOCK), bool)
    gain = {}
    for p in range(BLOCK):
        for q in range(BLOCK):
            inside = cross[p::BLOCK, q::BLOCK][:rows, :columns]
            corner = cross[p + 4 :: BLOCK, q + 4 :: BLOCK][:rows, :columns]
            first, second = (np.histogram(z, BINS)[0] / z.size for z in (inside, corner))
            apart = np.abs(first - second).sum()
            distance[p, q] = 0 if apart > 1.999999 else apart
            middle[p, q] = first[:2].sum() > second[:2].sum()
            gain[p, q] = np.maximum(corner - inside, 0)
    # How often a row and a column of phases behave like the middle of blocks.
    vote = (middle.sum(axis=1)[:, None] + middle.sum(axis=0)) / (2 * BLOCK)
    found = []
    for q in range(4):
        for p in range(4):
            diagonal = distance[p, q] + distance[p + 4, q + 4] > distance[p + 4, q] + distance[p, q + 4]
            one, other = ((p, q), (p + 4, q + 4)) if diagonal else ((p, q + 4), (p + 4, q))
            if not middle[one]:
                one, other = other, one
            found.append((vote[one] - vote[other], distance[p, q] / 2, one))
    order = np.argsort([score for score, _, _ in found], kind="stable")
    inside = np.array([found[k][2] for k in order])
    response = np.stack([cell_means(gain[tuple(phase)], side) for phase in inside]) / 255
    return Grids(response, inside, np.array([found[k][1] for k in order]))


def cell_means(blocks: np.ndarray, side: int) -> np.ndarray:
    """Means of side x side values, float64, of the complete cells."""
    rows, columns = (n // side for n in blocks.shape)
    cut = blocks[: rows * side, : columns * side].astype(np.float64)
    return cut.reshape(rows, side, columns, side).mean(axis=(1, 3))


@dataclass(frozen=True)
class Content:
    """Cells that say nothing of compression, bool (rows, columns) each: flat, contour, badly exposed."""

    flat: np.ndarray
    contour: np.ndarray
    exposed: np.ndarray


def scene_content(rgb: np.ndarray, side: int, shape: tuple[int, int]) -> Content:
    """What the scene shows in each cell (section 3.2)."""
    height, width = rgb.shape[:2]
    small = cv2.resize(rgb, (TILE * TILES, TILE * TILES), interpolation=cv2.INTER_NEAREST)
    grey = np.floor(weighted_sum(small, (0.2125, 0.7154, 0.0721)))
    tiles = grey.reshape(TILES, TILE, TILES, TILE).swapaxes(1, 2).reshape(TILES, TILES, TILE * TILE)
    contrast = np.abs(tiles @ half_planes().T).max(axis=2) * 100 / 255
    contour = contrast >= contour_thresholds(contrast)
    size = width, height
    contrast, contour = (
        cv2.resize(plane.astype(np.float32), size, interpolation=cv2.INTER_NEAREST) for plane in (contrast, contour)
    )
    blocks = [cell_means(plane, BLOCK)[: height // BLOCK - 1, : width // BLOCK - 1] for plane in (contrast, contour)]
    brightness = cell_means(rgb.max(axis=2), side * BLOCK)[: shape[0], : shape[1]]
    return Content(
        flat=cell_means(blocks[0], side) <= NO_CONTENT,
        contour=cell_means(blocks[1] > 0.5, side) >= 0.5,
        exposed=(brightness >= OVEREXPOSED) | (brightness < UNDEREXPOSED),
    )


def half_planes() -> np.ndarray:
    """Templates of straight edges, float32 (60, 100): a tile times one is the mean of one side less the other's."""
    axis = np.arange(TILE) - (TILE - 1) / 2
    x, y = np.meshgrid(axis, axis)
    templates = []
    for orientation in np.arange(ORIENTATIONS) * np.pi / ORIENTATIONS:
        across = x * np.cos(orientation) + y * np.sin(orientation)
        for share in (np.arange(OFFSETS) + 0.5) / OFFSETS:
            above = across > np.quantile(across, share)
            templates.append(np.where(above, 1 / above.sum(), -1 / (~above).sum()).ravel())
    return np.array(templates, np.float32)


def contour_thresholds(contrast: np.ndarray) -> np.ndarray:
    """Contrast (60, 60) from which a tile is a contour: its surroundings' mean, more where the photo is soft.

    Surroundings are the 6x6 areas of 10x10 tiles, in six parts of the photo.
    """
    area = cell_means(contrast, TILE)
    part = area.reshape(2, 3, 3, 2).mean(axis=(1, 3))
    overall = area.mean()
    if overall < 10:
        part = np.maximum(part, overall)
    if overall < 5:
        part = np.minimum(part, 5)
    part = part.repeat(3, axis=0).repeat(2, axis=1)
    least = np.where(part < 5, part + 1, part)
    return np.where(area < part, least, area).repeat(TILE, axis=0).repeat(TILE, axis=1)


def grid_inconsistency(grids: Grids, content: Content, inverse: bool) -> np.ndarray:
    """Score of each cell, float64 (rows, columns): how little (inverse: how much) of the photo's grid it shows."""
    shape = content.flat.shape
    response = grids.response[:, : shape[0], : shape[1]]
    standard = grids.standard
    best = len(response) - 1
    # Cells without response on any grid.
    weak = (response < 0.2 * response.mean(axis=(1, 2), keepdims=True)).sum(axis=0).astype(np.float64)
    spread, weak = weak.std(), smooth(weak, cv2.BORDER_CONSTANT)
    strict = spread > 1.5 * weak.mean()
    homogeneous = standard == best and grids.distance.mean() <= 0.4
    ignored = homogeneous & (weak >= weak.mean() + (spread if strict else spread / 2))
    ignored |= content.exposed
    reference = response[grids.distance.argmax() if standard is None else standard]
    strength = unit_range(smooth(reference, cv2.BORDER_CONSTANT))
    chosen = response[best if not inverse or standard is None else standard]
    missing = unit_range(response.mean(axis=0) - chosen)
    neutral = 1.0 if inverse else 0.0
    low = missing < missing.mean()
    missing = np.where(ignored | (low & homogeneous), neutral, missing)
    weight = 1 - strength
    if not inverse:  # the smoothed strength is too low at the border, which would stand out
        border = np.ones(shape, bool)
        border[1:-1, 1:-1] = False
        weight = np.where(border, strength, weight)
    score = missing * weight
    usable = ~(content.flat | content.contour | content.exposed)
    if not usable.any():
        usable = ~(content.contour | content.exposed | (content.flat & ignored))
    smoothed = smooth(score, cv2.BORDER_CONSTANT)
    typical = smoothed[usable].mean() if usable.any() else smoothed.mean()
    only_flat = content.flat & ~content.contour & ~content.exposed
    score = np.where(content.exposed | (only_flat & ignored), typical, score)
    score = np.minimum(score, typical) if inverse else np.maximum(score, typical)
    score = smooth(score, cv2.BORDER_REFLECT)
    return -score if inverse else score


def smooth(cells: np.ndarray, border: int) -> np.ndarray:
    """Mean over 5x5 cells."""
    return cv2.boxFilter(cells, cv2.CV_64F, (SMOOTH, SMOOTH), borderType=border)


def unit_range(values: np.ndarray) -> np.ndarray:
    """Brought to 0..1 by minimum and maximum; 0 everywhere for a constant."""
    values = values - values.min()
    return values / values.max() if values.max() > 0 else values
