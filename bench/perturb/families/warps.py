"""Geometry that resamples, bilinear, in an image of the same size; what comes from outside is black and not scored."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from bench.perturb.step import PerturbationError, step

Move = Callable[[np.ndarray], np.ndarray]
FARTHEST = 32767  # pixels a side: OpenCV's coordinates have 16 bits here


@step("rotate", values="real", low=-180, high=180, identity=0, geometric=True, shown=(0.5, 2, 5, 10, 45))
def rotate(shape: tuple[int, int], degrees: float, rng: np.random.Generator) -> Move:
    """Turned anticlockwise about the centre; corners that leave the frame are lost.

    Level: angle, degrees
    Source: cv2.getRotationMatrix2D, cv2.warpAffine
    """
    centre = (shape[1] - 1) / 2, (shape[0] - 1) / 2
    return _affine(shape, cv2.getRotationMatrix2D(centre, degrees, 1))


@step("shear", values="real", low=-1, high=1, identity=0, geometric=True, shown=(0.02, 0.05, 0.1, 0.2, 0.5))
def shear(shape: tuple[int, int], slope: float, rng: np.random.Generator) -> Move:
    """Rows shifted sideways in proportion to their distance from the middle row.

    Level: slope, pixels sideways per row
    Source: cv2.warpAffine
    """
    return _affine(shape, np.array([[1, slope, -slope * (shape[0] - 1) / 2], [0, 1, 0]]))


@step("perspective", values="real", low=0, high=0.9, identity=0, geometric=True, shown=(0.05, 0.1, 0.2, 0.3, 0.5))
def perspective(shape: tuple[int, int], narrowing: float, rng: np.random.Generator) -> Move:
    """The upper edge made shorter and the lower one kept: the plane of the picture tilted back.

    Level: narrowing, share of the upper edge's length
    Source: cv2.getPerspectiveTransform, cv2.warpPerspective
    """
    _check(shape, 2)
    bottom, right = shape[0] - 1, shape[1] - 1
    inset = narrowing * right / 2
    before = np.array([[0, 0], [right, 0], [right, bottom], [0, bottom]], np.float32)
    after = np.array([[inset, 0], [right - inset, 0], [right, bottom], [0, bottom]], np.float32)
    matrix = cv2.getPerspectiveTransform(before, after)
    return lambda plane: cv2.warpPerspective(plane, matrix, shape[::-1], flags=cv2.INTER_LINEAR)


@step("lens", values="real", low=-0.5, high=0.5, identity=0, geometric=True, shown=(-0.2, -0.05, 0.02, 0.1, 0.3))
def lens(shape: tuple[int, int], distortion: float, rng: np.random.Generator) -> Move:
    """Radial distortion: a pixel at distance r of the centre (by half the diagonal) shows the point at r (1 + k r^2).

    Above 0 the picture is drawn together like a barrel, below 0 pulled out like a pincushion.

    Level: coefficient k, of r^2
    Source: Brown's model, first coefficient; cv2.remap
    """
    _check(shape, 1)
    y, x = (np.arange(side, dtype=np.float32) - np.float32((side - 1) / 2) for side in shape)
    squared = (y[:, None] ** 2 + x[None] ** 2) / max(1.0, (shape[0] ** 2 + shape[1] ** 2) / 4)
    factor = 1 + np.float32(distortion) * squared
    source_x = x[None] * factor + np.float32((shape[1] - 1) / 2)
    source_y = y[:, None] * factor + np.float32((shape[0] - 1) / 2)
    return lambda plane: cv2.remap(plane, source_x, source_y, cv2.INTER_LINEAR)


def _affine(shape: tuple[int, int], matrix: np.ndarray) -> Move:
    _check(shape, 1)
    return lambda plane: cv2.warpAffine(plane, matrix, shape[::-1], flags=cv2.INTER_LINEAR)


def _check(shape: tuple[int, int], least: int) -> None:
    if min(shape) < least or max(shape) > FARTHEST:
        raise PerturbationError(
            f"an image of {shape[1]} x {shape[0]} pixels cannot be warped; {least} to {FARTHEST} a side are possible"
        )
